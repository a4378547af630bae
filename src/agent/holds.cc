#include "agent/holds.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <string>
#include <utility>

namespace mete::agent {

HoldOwners::~HoldOwners() {
  for (const auto& [pid, owner] : owners_) loop_.Remove(owner.pidfd.get());
}

Result<HoldOwners::Grant> HoldOwners::Reserve(const Amounts& amounts, std::optional<Duration> ttl,
                                              const Peer& peer, std::string_view key) {
  if (ttl.value_or(kUsualTtl) > kLongestTtl) {
    return Fail(ErrorCode::kInvalidArgument, "ttl_seconds: allowed: at most 86400");
  }
  if (holds_.size() >= kMostHolds) ForgetExpired();
  if (holds_.size() >= kMostHolds) {
    return Fail(ErrorCode::kLimitExceeded,
                "too many holds are open, allowed: " + std::to_string(kMostHolds));
  }
  Result<Owner*> owner = OwnerOf(peer);
  if (!owner) return std::unexpected(owner.error());
  const Duration lives = ttl.value_or(kUsualTtl);
  Result<HoldId> reserved = agent_.account().Reserve(amounts, {.ttl = lives, .key = key});
  if (!reserved) {
    if ((*owner)->holds.empty()) OwnerEnded(peer.pid);
    return std::unexpected(reserved.error());
  }
  if (const auto known = holds_.find(*reserved); known != holds_.end()) {
    if ((*owner)->holds.empty()) OwnerEnded(peer.pid);
    return Grant{known->first, known->second.expires};
  }
  const Grant grant{*reserved, agent_.clock().Now() + lives};
  holds_[grant.id] = Hold{peer.pid, grant.expires};
  (*owner)->holds.insert(grant.id);
  return grant;
}

Result<HoldOwners::Owner*> HoldOwners::OwnerOf(const Peer& peer) {
  auto known = owners_.find(peer.pid);
  if (known != owners_.end()) {
    if (IsAlive(known->second.pidfd)) return &known->second;
    OwnerEnded(peer.pid);
  }
  Owner owner;
  if (IsAlive(peer.pidfd)) owner.pidfd.reset(fcntl(peer.pidfd.get(), F_DUPFD_CLOEXEC, 0));
  if (!owner.pidfd) {
    return Fail(ErrorCode::kInvalidArgument, "a hold needs a living process as its owner");
  }
  const pid_t pid = peer.pid;
  auto ended = [this, pid](std::uint32_t) { OwnerEnded(pid); };
  if (Result<void> added = loop_.Add(owner.pidfd.get(), EPOLLIN, ended); !added) {
    return std::unexpected(added.error());
  }
  return &(owners_[pid] = std::move(owner));
}

void HoldOwners::OwnerEnded(pid_t pid) {
  auto node = owners_.extract(pid);
  if (node.empty()) return;
  loop_.Remove(node.mapped().pidfd.get());
  for (const HoldId id : node.mapped().holds) {
    agent_.account().Abandon(id);
    holds_.erase(id);
  }
}

Result<Settlement> HoldOwners::Settle(HoldId id, const Amounts& actual) {
  Result<Settlement> settlement = agent_.account().Settle(id, actual);
  if (settlement) Forget(id);
  return settlement;
}

Result<void> HoldOwners::Release(HoldId id) {
  Result<void> released = agent_.account().Release(id);
  if (released) Forget(id);
  return released;
}

void HoldOwners::Forget(HoldId id) {
  auto node = holds_.extract(id);
  if (node.empty()) return;
  auto owner = owners_.find(node.mapped().owner);
  if (owner == owners_.end()) return;
  owner->second.holds.erase(id);
  if (owner->second.holds.empty()) OwnerEnded(owner->first);
}

// The manager has ended them, or does so at its next deadline.
void HoldOwners::ForgetExpired() {
  const Time now = agent_.clock().Now();
  for (auto hold = holds_.begin(); hold != holds_.end();) {
    const auto [id, expires] = std::pair(hold->first, hold->second.expires);
    ++hold;
    if (expires <= now) Forget(id);
  }
}

}  // namespace mete::agent
