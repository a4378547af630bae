// The reservations of an agent's processes, each with an owner and a last day.
//
// A hold belongs to the process that asked for it, held by a pidfd: when that process ends, however
// it ends, its holds are released. Money is the exception (rule 14): whoever reserved it may have
// spent it and died before saying so, therefore a lost hold of `cost` is charged in full.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "agent/agent.h"
#include "agent/loop.h"
#include "agent/peer.h"
#include "mete/error.h"
#include "quota/account.h"

namespace mete::agent {

class HoldBook {
 public:
  static constexpr std::size_t kMostHolds = 4096;
  static constexpr Duration kUsualTtl = std::chrono::minutes(10);
  static constexpr Duration kLongestTtl = std::chrono::hours(24);

  // Both outlive the book.
  HoldBook(Loop& loop, Agent& agent) : loop_(loop), agent_(agent) {}
  ~HoldBook();
  HoldBook(const HoldBook&) = delete;
  HoldBook& operator=(const HoldBook&) = delete;

  struct Grant {
    Account::HoldId id;
    Time expires;
  };
  // E2072, E2077: a limit refused. E2071: the time to live is too long, or the owner is gone.
  Result<Grant> Reserve(const Amounts& amounts, std::optional<Duration> ttl, const Peer& owner);
  Result<Receipt> Settle(Account::HoldId id, const Amounts& actual);
  Result<void> Release(Account::HoldId id);
  std::optional<Time> ExpiryOf(Account::HoldId id) const;  // nothing: it is over

  // Gives up the holds whose time is over.
  void Expire();
  std::optional<Time> NextDeadline() const;

  std::size_t size() const { return holds_.size(); }

 private:
  struct Owner {
    UniqueFd pidfd;
    std::set<Account::HoldId> holds;
  };
  struct Hold {
    pid_t owner;
    Amounts amounts;
    Time expires;
  };

  Result<Owner*> OwnerOf(const Peer& peer);
  void OwnerEnded(pid_t pid);
  void Forget(Account::HoldId id);
  void GiveUp(Account::HoldId id);

  Loop& loop_;
  Agent& agent_;
  std::map<Account::HoldId, Hold> holds_;
  std::set<std::pair<Time, Account::HoldId>> by_expiry_;
  std::map<pid_t, Owner> owners_;  // an entry goes before its number can name another process
};

}  // namespace mete::agent
