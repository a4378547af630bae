// Whose the reservations of an agent's processes are.
//
// A hold belongs to the process that asked for it, held by a pidfd: when that process ends, however
// it ends, its holds are abandoned (rule 14). Their time to live is the manager's business.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "agent/agent.h"
#include "agent/loop.h"
#include "agent/peer.h"
#include "mete/error.h"

namespace mete::agent {

class HoldOwners {
 public:
  // So that an agent cannot fill the memory of mete.
  static constexpr std::size_t kMostHolds = 4096;
  static constexpr Duration kUsualTtl = std::chrono::minutes(10);
  static constexpr Duration kLongestTtl = std::chrono::hours(24);

  // Both outlive it.
  HoldOwners(Loop& loop, Agent& agent) : loop_(loop), agent_(agent) {}
  ~HoldOwners();
  HoldOwners(const HoldOwners&) = delete;
  HoldOwners& operator=(const HoldOwners&) = delete;

  struct Grant {
    HoldId id;
    Time expires;
  };
  // E2072, E2077: a limit refused. E2071: the time to live is too long, or the owner is gone. With
  // a key that was used before: the hold that it made, while that is open.
  Result<Grant> Reserve(const Amounts& amounts, std::optional<Duration> ttl, const Peer& owner,
                        std::string_view key = {});
  Result<Settlement> Settle(HoldId id, const Amounts& actual);
  Result<void> Release(HoldId id);

 private:
  struct Owner {
    UniqueFd pidfd;
    std::set<HoldId> holds;
  };
  struct Hold {
    pid_t owner;
    Time expires;
  };

  Result<Owner*> OwnerOf(const Peer& peer);
  void OwnerEnded(pid_t pid);
  void Forget(HoldId id);
  void ForgetExpired();

  Loop& loop_;
  Agent& agent_;
  std::map<HoldId, Hold> holds_;   // open, but for some whose time is over
  std::map<pid_t, Owner> owners_;  // an entry goes before its number can name another process
};

}  // namespace mete::agent
