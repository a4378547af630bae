#include "agent/holds.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace mete::agent {

HoldBook::~HoldBook() {
  for (const auto& [pid, owner] : owners_) loop_.Remove(owner.pidfd.get());
}

Result<HoldBook::Grant> HoldBook::Reserve(const Amounts& amounts, std::optional<Duration> ttl,
                                          const Peer& peer) {
  if (ttl.value_or(kUsualTtl) > kLongestTtl) {
    return Fail(ErrorCode::kInvalidArgument, "ttl_seconds: allowed: at most 86400");
  }
  if (holds_.size() >= kMostHolds) {
    return Fail(ErrorCode::kLimitExceeded,
                "too many holds are open, allowed: " + std::to_string(kMostHolds));
  }
  Result<Owner*> owner = OwnerOf(peer);
  if (!owner) return std::unexpected(owner.error());
  const Time now = agent_.clock().Now();
  Result<Account::HoldId> id = agent_.account().Reserve(amounts, now);
  if (!id) {
    if ((*owner)->holds.empty()) OwnerEnded(peer.pid);
    return std::unexpected(id.error());
  }
  const Time expires = now + ttl.value_or(kUsualTtl);
  holds_[*id] = Hold{peer.pid, amounts, expires};
  by_expiry_.emplace(expires, *id);
  (*owner)->holds.insert(*id);
  return Grant{*id, expires};
}

Result<HoldBook::Owner*> HoldBook::OwnerOf(const Peer& peer) {
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

void HoldBook::OwnerEnded(pid_t pid) {
  auto node = owners_.extract(pid);
  if (node.empty()) return;
  loop_.Remove(node.mapped().pidfd.get());
  for (Account::HoldId id : node.mapped().holds) GiveUp(id);
}

Result<Receipt> HoldBook::Settle(Account::HoldId id, const Amounts& actual) {
  Result<Receipt> receipt = agent_.account().Settle(id, actual, agent_.clock().Now());
  if (receipt) Forget(id);
  return receipt;
}

Result<void> HoldBook::Release(Account::HoldId id) {
  Result<void> released = agent_.account().Release(id, agent_.clock().Now());
  if (released) Forget(id);
  return released;
}

std::optional<Time> HoldBook::ExpiryOf(Account::HoldId id) const {
  auto hold = holds_.find(id);
  if (hold == holds_.end()) return std::nullopt;
  return hold->second.expires;
}

void HoldBook::Forget(Account::HoldId id) {
  auto node = holds_.extract(id);
  if (node.empty()) return;
  by_expiry_.erase({node.mapped().expires, id});
  auto owner = owners_.find(node.mapped().owner);
  if (owner == owners_.end()) return;
  owner->second.holds.erase(id);
  if (owner->second.holds.empty()) OwnerEnded(owner->first);
}

void HoldBook::GiveUp(Account::HoldId id) {
  auto hold = holds_.find(id);
  if (hold == holds_.end()) return;
  const std::optional<std::int64_t> cost = hold->second.amounts[Resource::kCost];
  if (cost) {
    Amounts spent = hold->second.amounts;
    for (std::optional<std::int64_t>& amount : spent.by_resource) {
      if (amount) amount = 0;
    }
    spent[Resource::kCost] = cost;
    [[maybe_unused]] Result<Receipt> settled = Settle(id, spent);
  } else {
    [[maybe_unused]] Result<void> released = Release(id);
  }
  Forget(id);
}

void HoldBook::Expire() {
  const Time now = agent_.clock().Now();
  while (!by_expiry_.empty() && by_expiry_.begin()->first <= now) {
    GiveUp(by_expiry_.begin()->second);
  }
}

std::optional<Time> HoldBook::NextDeadline() const {
  if (by_expiry_.empty()) return std::nullopt;
  return by_expiry_.begin()->first;
}

}  // namespace mete::agent
