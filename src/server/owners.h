// The processes that hold something of a ledger: who reserved, and who runs a target.
//
// Each is held by a pidfd, so that its number cannot come to mean another process. When it ends,
// its reservations are abandoned (rule 14) and its targets detached, which returns their levels
// (rule 13).
//
// Thread safety: every function may be called from any thread. The lock is never held while the
// manager is called, which may wait for a disk.
#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "agent/peer.h"
#include "base/unique_fd.h"
#include "mete/resource_manager.h"

namespace mete::server {

class Owners {
 public:
  // Of one process, so that it cannot fill the memory of the owner.
  static constexpr std::size_t kMostHolds = 4096;
  static constexpr Duration kUsualTtl = std::chrono::minutes(10);
  static constexpr Duration kLongestTtl = std::chrono::hours(24);

  static Result<std::unique_ptr<Owners>> Create(ResourceManager& manager);
  // What is attached is detached. Reservations stay, for as long as they may: with a store, they
  // can be settled with whoever opens it next.
  ~Owners();
  Owners(const Owners&) = delete;
  Owners& operator=(const Owners&) = delete;

  // Polls readable when a process has ended: then call Reap.
  int fd() const { return watched_.get(); }
  void Reap();

  // E2080: another living process runs it. E2071: nobody can tell who the caller is.
  Result<void> Attach(const agent::Peer& peer, Target target,
                      const ResourceManager::Running& running);
  // E2078: the caller does not run it.
  Result<void> Detach(const agent::Peer& peer, Target target);
  bool IsRunner(const agent::Peer& peer, Target target);
  std::optional<pid_t> RunnerOf(Target target);
  // Whether a process that runs a target has started the caller: then it is inside an agent.
  bool IsInsideAgent(const agent::Peer& peer);

  struct Grant {
    HoldId id = 0;
    Time expires{};
  };
  Result<Grant> Reserve(const agent::Peer& peer, Target target, const Amounts& amounts,
                        ReserveOptions options);
  // Of a hold that was made here.
  std::optional<TargetName> TargetOf(HoldId hold);
  void Forget(HoldId hold);

 private:
  struct Process {
    UniqueFd pidfd;
    std::set<HoldId> holds;
    std::set<std::string> targets;  // "agent/a1"
  };
  struct Hold {
    pid_t owner = 0;
    TargetName target;
    Time expires{};
  };
  struct Runner {
    pid_t pid = 0;
    TargetName target;
  };
  struct Left {  // what a process that ended leaves
    std::set<HoldId> holds;
    std::vector<TargetName> targets;
  };

  explicit Owners(ResourceManager& manager) : manager_(manager) {}
  Process* Find(const agent::Peer& peer);  // these REQUIRE: mutex_
  Result<Process*> Enter(const agent::Peer& peer);
  void LeaveIfIdle(pid_t pid);
  void Unwatch(const Process& process);
  Left Extract(pid_t pid);
  void ForgetExpired(Process& process);
  void End(const Left& left);

  ResourceManager& manager_;
  UniqueFd watched_;  // an epoll of pidfds
  std::mutex mutex_;
  std::map<pid_t, Process> processes_;
  std::map<HoldId, Hold> holds_;
  std::map<std::string, Runner> runners_;
};

}  // namespace mete::server
