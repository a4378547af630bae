// HTTP over a Unix socket, on the loop, with a bound on everything that a caller can take: number
// of connections, bytes of a request, bytes of unread answers, idle time.
//
// A full server takes no new connection until one closes or has been idle for a second; then the
// longest idle one makes room. So a program that opens a thousand connections slows down only those
// who want to connect to the same socket, and by seconds at most.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

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
  };
  // Called for each complete request. The answer is sent, as far as the socket takes it, before the
  // loop goes on to anything else.
  using Handler = std::function<wire::HttpResponse(const wire::HttpRequest&, const Peer&)>;

  static constexpr std::size_t kMostRequestBytes = 65536;

  // Makes the socket with mode 0600, in the place of a stale one. `loop` and `clock` outlive it.
  static Result<std::unique_ptr<SocketServer>> Listen(Loop& loop, const Clock& clock,
                                                      Options options, Handler handler);
  ~SocketServer();  // closes all connections and removes the socket's file
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;

  // Closes what was idle too long, and lets waiting callers in.
  void Tend();
  std::optional<Time> NextDeadline() const;

  std::size_t connections() const { return connections_.size(); }

 private:
  struct Connection {
    UniqueFd socket;
    Peer peer;
    wire::RequestParser parser;
    std::size_t request_bytes = 0;  // since the last complete request
    std::string unsent;
    bool closing = false;  // once everything is sent
    bool watching_output = false;
    Time active;
  };
  using Place = std::list<Connection>::iterator;

  SocketServer(Loop& loop, const Clock& clock, Options options, Handler handler);
  void SetAccepting(bool accepting);
  bool MayMakeRoom() const;
  void Accept();
  void OnEvents(Place place, std::uint32_t events);
  bool Receive(Connection& connection);  // false: close it
  bool Answer(Connection& connection, std::string_view bytes);
  bool Send(Connection& connection);
  void Close(Place place);

  Loop& loop_;
  const Clock& clock_;
  Options options_;
  Handler handler_;
  UniqueFd listener_;
  bool accepting_ = false;
  Time paused_at_;
  std::list<Connection> connections_;  // the longest idle one first
};

}  // namespace mete::agent
