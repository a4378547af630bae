#include "server/owners.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/descendants.h"
#include "agent/quota_json.h"

namespace mete::server {
namespace {

std::string KeyOf(Target target) { return agent::PathOf({target.scope, std::string(target.id)}); }

}  // namespace

Result<std::unique_ptr<Owners>> Owners::Create(ResourceManager& manager) {
  std::unique_ptr<Owners> owners(new Owners(manager));
  owners->watched_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!owners->watched_) {
    return Fail(ErrorCode::kSystem, std::string("epoll_create1: ") + std::strerror(errno));
  }
  return owners;
}

Owners::~Owners() {
  for (const auto& [key, runner] : runners_) {
    [[maybe_unused]] const auto detached = manager_.Detach(runner.target);
  }
}

Owners::Process* Owners::Find(const agent::Peer& peer) {
  const auto found = processes_.find(peer.pid);
  return found != processes_.end() && agent::IsAlive(found->second.pidfd) ? &found->second
                                                                          : nullptr;
}

Result<Owners::Process*> Owners::Enter(const agent::Peer& peer) {
  if (Process* process = Find(peer)) return process;
  UniqueFd pidfd;
  // One that has ended and was not reaped keeps its entry: its number is not free for so long, as
  // far as anyone can have got hold of it within a round of the loop.
  if (agent::IsAlive(peer.pidfd) && !processes_.contains(peer.pid)) {
    pidfd.reset(fcntl(peer.pidfd.get(), F_DUPFD_CLOEXEC, 0));
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<std::uint64_t>(peer.pid);
  if (!pidfd || epoll_ctl(watched_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) != 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "this needs a living process that the ledger's owner can see, pid: " +
                    std::to_string(peer.pid));
  }
  Process& process = processes_[peer.pid];
  process.pidfd = std::move(pidfd);
  return &process;
}

void Owners::LeaveIfIdle(pid_t pid) {
  const auto found = processes_.find(pid);
  if (found == processes_.end()) return;
  if (!found->second.holds.empty() || !found->second.targets.empty()) return;
  Unwatch(found->second);
  processes_.erase(found);
}

// Closing would not do: the caller's connection has a descriptor of the same open file.
void Owners::Unwatch(const Process& process) {
  epoll_ctl(watched_.get(), EPOLL_CTL_DEL, process.pidfd.get(), nullptr);
}

Owners::Left Owners::Extract(pid_t pid) {
  Left left;
  auto node = processes_.extract(pid);
  if (node.empty()) return left;
  Unwatch(node.mapped());
  left.holds = std::move(node.mapped().holds);
  for (const HoldId hold : left.holds) holds_.erase(hold);
  for (const std::string& key : node.mapped().targets) {
    auto runner = runners_.extract(key);
    if (!runner.empty()) left.targets.push_back(std::move(runner.mapped().target));
  }
  return left;
}

void Owners::End(const Left& left) {
  for (const HoldId hold : left.holds) manager_.Abandon(hold);
  for (const TargetName& target : left.targets) {
    [[maybe_unused]] const auto detached = manager_.Detach(target);  // or it was removed
  }
}

void Owners::Reap() {
  std::array<epoll_event, 64> events;
  const int count =
      epoll_wait(watched_.get(), events.data(), static_cast<int>(events.size()), /*timeout=*/0);
  for (int i = 0; i < count; ++i) {
    Left left;
    {
      const std::lock_guard lock(mutex_);
      left = Extract(static_cast<pid_t>(events[static_cast<std::size_t>(i)].data.u64));
    }
    End(left);
  }
}

Result<void> Owners::Attach(const agent::Peer& peer, Target target,
                            const ResourceManager::Running& running) {
  const std::string key = KeyOf(target);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = runners_.find(key);
        found != runners_.end() && found->second.pid != peer.pid) {
      return Fail(ErrorCode::kInUse,
                  key + " is run by another process, pid: " + std::to_string(found->second.pid));
    }
    Result<Process*> process = Enter(peer);
    if (!process) return std::unexpected(process.error());
    (*process)->targets.insert(key);
    runners_[key] = {peer.pid, {target.scope, std::string(target.id)}};
  }
  Result<void> attached = manager_.Attach(target, running);
  const std::lock_guard lock(mutex_);
  const auto found = runners_.find(key);
  const bool is_ours = found != runners_.end() && found->second.pid == peer.pid;
  if (attached && is_ours) return attached;
  // The caller ended meanwhile, and Reap came before the manager knew of it.
  if (attached) {
    [[maybe_unused]] const auto detached = manager_.Detach(target);
    return attached;
  }
  if (is_ours) {
    runners_.erase(found);
    if (const auto process = processes_.find(peer.pid); process != processes_.end()) {
      process->second.targets.erase(key);
      LeaveIfIdle(peer.pid);
    }
  }
  return attached;
}

Result<void> Owners::Detach(const agent::Peer& peer, Target target) {
  const std::string key = KeyOf(target);
  {
    const std::lock_guard lock(mutex_);
    const auto found = runners_.find(key);
    if (found == runners_.end() || found->second.pid != peer.pid) {
      return Fail(ErrorCode::kNotPermitted, "only who attached it detaches it: " + key);
    }
    runners_.erase(found);
    if (const auto process = processes_.find(peer.pid); process != processes_.end()) {
      process->second.targets.erase(key);
      LeaveIfIdle(peer.pid);
    }
  }
  return manager_.Detach(target);
}

bool Owners::IsRunner(const agent::Peer& peer, Target target) {
  const std::lock_guard lock(mutex_);
  const auto found = runners_.find(KeyOf(target));
  return found != runners_.end() && found->second.pid == peer.pid && Find(peer) != nullptr;
}

std::optional<pid_t> Owners::RunnerOf(Target target) {
  const std::lock_guard lock(mutex_);
  const auto found = runners_.find(KeyOf(target));
  if (found == runners_.end()) return std::nullopt;
  return found->second.pid;
}

// Orphans come to the runner, which is their subreaper, and so stay its descendants.
bool Owners::IsInsideAgent(const agent::Peer& peer) {
  std::set<pid_t> runners;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, runner] : runners_) runners.insert(runner.pid);
  }
  return std::ranges::any_of(runners, [&](pid_t runner) {
    return peer.pid != runner && agent::DescendsFrom(peer.pid, runner);
  });
}

Result<Owners::Grant> Owners::Reserve(const agent::Peer& peer, Target target,
                                      const Amounts& amounts, ReserveOptions options) {
  options.ttl = options.ttl.value_or(kUsualTtl);
  if (*options.ttl > kLongestTtl) {
    return Fail(ErrorCode::kInvalidArgument, "ttl_seconds: allowed: at most 86400");
  }
  {
    const std::lock_guard lock(mutex_);
    if (Process* process = Find(peer); process && process->holds.size() >= kMostHolds) {
      ForgetExpired(*process);
      if (process->holds.size() >= kMostHolds) {
        return Fail(ErrorCode::kLimitExceeded, "too many holds of one process are open, allowed: " +
                                                   std::to_string(kMostHolds));
      }
    }
  }
  Result<Reservation> reserved = manager_.Reserve(target, amounts, options);
  if (!reserved) return std::unexpected(reserved.error());
  const HoldId id = reserved->Detach();
  const std::lock_guard lock(mutex_);
  // The same key again: it stays with its first owner.
  if (const auto known = holds_.find(id); known != holds_.end()) {
    return Grant{id, known->second.expires};
  }
  Result<Process*> process = Enter(peer);
  if (!process) {
    manager_.Abandon(id);
    return std::unexpected(process.error());
  }
  const Time expires = manager_.clock().Now() + *options.ttl;
  (*process)->holds.insert(id);
  holds_[id] = {peer.pid, {target.scope, std::string(target.id)}, expires};
  return Grant{id, expires};
}

std::optional<TargetName> Owners::TargetOf(HoldId hold) {
  const std::lock_guard lock(mutex_);
  const auto found = holds_.find(hold);
  if (found == holds_.end()) return std::nullopt;
  return found->second.target;
}

void Owners::Forget(HoldId hold) {
  const std::lock_guard lock(mutex_);
  auto node = holds_.extract(hold);
  if (node.empty()) return;
  const pid_t owner = node.mapped().owner;
  if (const auto process = processes_.find(owner); process != processes_.end()) {
    process->second.holds.erase(hold);
    LeaveIfIdle(owner);
  }
}

// The manager has ended them, or does so at its next deadline.
void Owners::ForgetExpired(Process& process) {
  const Time now = manager_.clock().Now();
  std::erase_if(process.holds, [&](HoldId id) {
    const auto found = holds_.find(id);
    if (found != holds_.end() && found->second.expires > now) return false;
    if (found != holds_.end()) holds_.erase(found);
    return true;
  });
}

}  // namespace mete::server
