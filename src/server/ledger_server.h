// The owner of a ledger on a Unix socket: HTTP in, calls of the ResourceManager, JSON out, and
// events as they come (Server-Sent Events). docs/http.md lists the requests.
//
// LedgerServer works in the loop of a program that has one; LedgerThread brings its own. Only
// processes of the same user, and root, may connect.
//
// The loop never waits for a disk: with a store, what changes something is done on other threads.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "agent/loop.h"
#include "agent/socket_server.h"
#include "mete/resource_manager.h"
#include "server/event_feed.h"
#include "server/ledger_api.h"
#include "server/workers.h"

namespace mete::server {

struct LedgerOptions {
  std::string path;         // of the socket
  std::string ledger_name;  // for GET /v1/status: the folder, or "memory"
  std::string durability{};
  PolicySet policies = DefaultPolicies();  // as the manager is configured
  std::size_t most_connections = 256;
  std::size_t most_followers = 64;
  std::size_t workers = 32;  // that wait for a disk together, and share its writes
  Duration idle = std::chrono::seconds(30);
  // Ends windows, rates and holds in time; where nobody else does (ResourceManager::Start), and the
  // manager's clock is the machine's.
  bool advances = true;
};

class LedgerServer {
 public:
  // The loop and the manager outlive it. kSystem: the socket cannot be made.
  static Result<std::unique_ptr<LedgerServer>> Listen(agent::Loop& loop, ResourceManager& manager,
                                                      LedgerOptions options);
  // Removes the socket, and ends what it has begun to do.
  ~LedgerServer();
  LedgerServer(const LedgerServer&) = delete;
  LedgerServer& operator=(const LedgerServer&) = delete;

  // What is due: after each round of the loop.
  void Tend();
  std::optional<Time> NextDeadline() const;

  const std::string& path() const { return options_.path; }
  // For requests of this process itself, from any thread.
  LedgerApi& api() { return *api_; }
  std::size_t connections() const { return sockets_->connections(); }

 private:
  struct Follower {
    agent::SocketServer::Ticket ticket = 0;
    std::optional<TargetName> target;
    EventReader reader;
    std::uint64_t last = 0;
  };

  LedgerServer(agent::Loop& loop, ResourceManager& manager, LedgerOptions options);
  std::optional<wire::HttpResponse> Take(agent::SocketServer::Ticket ticket,
                                         wire::HttpRequest&& request,
                                         const std::shared_ptr<const agent::Peer>& peer);
  std::optional<wire::HttpResponse> Follow(agent::SocketServer::Ticket ticket,
                                           const EventsQuery& query);
  bool Feed(Follower& follower);
  void FeedAll();
  void KeepAlive();

  agent::Loop& loop_;
  ResourceManager& manager_;
  LedgerOptions options_;
  const SystemClock clock_{};
  std::unique_ptr<Owners> owners_;
  std::unique_ptr<Mailbox> mailbox_;
  std::unique_ptr<LedgerApi> api_;
  std::unique_ptr<agent::SocketServer> sockets_;
  std::list<Follower> followers_;
  std::list<Follower> starting_;  // whose answer begins with the next round
  Time kept_alive_{};
  std::unique_ptr<EventFeed> feed_;   // while there are followers
  std::unique_ptr<Workers> workers_;  // the first to end: what it does uses the rest
};

class LedgerThread {
 public:
  static Result<std::unique_ptr<LedgerThread>> Start(ResourceManager& manager,
                                                     LedgerOptions options);
  ~LedgerThread();
  LedgerThread(const LedgerThread&) = delete;
  LedgerThread& operator=(const LedgerThread&) = delete;

  LedgerApi& api() { return *api_; }

 private:
  LedgerThread() = default;
  void Run();

  std::unique_ptr<agent::Loop> loop_;
  std::unique_ptr<Mailbox> mailbox_;
  std::unique_ptr<LedgerServer> server_;
  LedgerApi* api_ = nullptr;  // the server's
  bool ending_ = false;       // of the thread
  std::thread thread_;
};

}  // namespace mete::server
