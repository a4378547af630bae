// HTTP over a Unix socket, on the loop, with a bound on everything that a caller can take: number
// of connections, bytes of a request, bytes of unread answers, idle time.
//
// A full server takes no new connection until one closes or has been idle for a second; then the
// longest idle one makes room. So a program that opens a thousand connections slows down only those
// who want to connect to the same socket, and by seconds at most.
//
// A request may also be answered later (Taker): its connection is not read from until then, keeps
// its place, and is closed when the caller goes. An answer may stay open: what is written to it
// then is sent as it comes.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "agent/loop.h"
#include "agent/peer.h"
#include "base/unique_fd.h"
#include "mete/clock.h"
#include "mete/error.h"
#include "wire/http.h"

namespace mete::agent {

class SocketServer {
 public:
  struct Options {
    std::string path = {};
    std::size_t most_connections = 256;
    Duration idle = std::chrono::seconds(30);
    std::optional<uid_t> owner = std::nullopt;  // who may connect, in place of the caller
  };
  // Called for each complete request. The answer is sent, as far as the socket takes it, before the
  // loop goes on to anything else.
  using Handler = std::function<wire::HttpResponse(const wire::HttpRequest&, const Peer&)>;

  // A request that is to be answered later; never used again.
  using Ticket = std::uint64_t;
  // The same, or nothing: then Answer or Push is called, on the thread of the loop. The caller's
  // identity may be kept.
  using Taker = std::function<std::optional<wire::HttpResponse>(
      Ticket, wire::HttpRequest&&, const std::shared_ptr<const Peer>&)>;

  static constexpr std::size_t kMostRequestBytes = 65536;
  // Of an open answer; a reader that leaves more than this unread is closed.
  static constexpr std::size_t kMostUnsentBytes = std::size_t{1} << 20;

  // Makes the socket with mode 0600, in the place of a stale one; the path may be longer than the
  // 107 bytes of a socket address. `loop` and `clock` outlive it.
  static Result<std::unique_ptr<SocketServer>> Listen(Loop& loop, const Clock& clock,
                                                      Options options, Handler handler);
  static Result<std::unique_ptr<SocketServer>> ListenLater(Loop& loop, const Clock& clock,
                                                           Options options, Taker taker);
  ~SocketServer();  // closes all connections and removes the socket's file
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;

  // Closes what was idle too long, and lets waiting callers in.
  void Tend();
  std::optional<Time> NextDeadline() const;

  // These do nothing for a caller that has gone.
  void Answer(Ticket ticket, const wire::HttpResponse& response);
  // A part of an answer without an end. False: the caller has gone, or does not read.
  bool Push(Ticket ticket, std::string_view bytes);

  std::size_t connections() const { return connections_.size() + held_.size(); }

 private:
  struct Connection {
    UniqueFd socket;
    std::shared_ptr<const Peer> peer;
    wire::RequestParser parser;
    std::size_t request_bytes = 0;  // since the last complete request
    std::string unsent;
    bool closing = false;  // once everything is sent
    Ticket ticket = 0;     // of the request that waits for its answer, and then is in held_
    std::uint32_t watched = 0;
    Time active;
  };
  using Place = std::list<Connection>::iterator;

  SocketServer(Loop& loop, const Clock& clock, Options options, Taker taker);
  Result<void> Bind();
  bool IsFull() const { return connections() >= options_.most_connections; }
  void SetAccepting(bool accepting);
  bool MayMakeRoom() const;
  void Accept();
  void OnEvents(Place place, std::uint32_t events);
  bool Receive(Place place);  // false: close it
  bool Take(Place place, std::string_view bytes);
  bool Send(Connection& connection);
  void Watch(Connection& connection);
  void Close(Place place);

  Loop& loop_;
  const Clock& clock_;
  Options options_;
  Taker taker_;
  UniqueFd listener_;
  bool accepting_ = false;
  Time paused_at_;
  std::list<Connection> connections_;  // the longest idle one first
  std::list<Connection> held_;         // whose requests wait for their answer
  std::unordered_map<Ticket, Place> tickets_;
  Ticket last_ticket_ = 0;
};

}  // namespace mete::agent
