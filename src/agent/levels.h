// The session and the tenant of an agent: what the kernel holds for the sum of all that is below
// them, while the agent runs.
//
// Their groups come and go with the agents in them, so whoever runs an agent looks after them: each
// owner of one writes the same limits, which are the ledger's, when they have changed there, and
// sees that nothing is held more loosely than that. Several do so at the same time, and each of
// them may be killed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/host.h"
#include "mete/clock.h"
#include "mete/resource_manager.h"

namespace mete::agent {

// What the kernel is to hold for all of a session or tenant.
KernelLimits LevelLimitsOf(const ResourceQuota& level, Controllers controllers);

// What an agent is below (Account::Above), as it is to be started.
void PlaceBelow(const std::vector<ResourceQuota>& above, AgentConfig* config);

class LevelWatch {
 public:
  // How long a limit that was changed is not held yet, at most.
  static constexpr Duration kInterval = std::chrono::seconds(1);

  // REQUIRES: the agent is below something, and its group was made. Both outlive this.
  LevelWatch(Host& host, Agent& agent);

  // When due: one question to whoever keeps the accounts for each level, and a few reads of the
  // groups. What changes, and what cannot be held, is told in the agent's history.
  void Tend();
  Time NextDeadline() const { return next_; }

 private:
  struct Level {
    std::string group;
    KernelLimits held;  // as the kernel was told last
    std::optional<ResourceLimits> limits;
    std::string trouble;  // told already
  };

  void Follow(Level& level, const ResourceQuota& quota);
  Result<void> Hold(Level& level, const KernelLimits& wanted);
  void Tell(std::string* told, const std::string& what, const Result<void>& result);
  LevelLimits Held() const;

  Host& host_;
  Agent& agent_;
  std::optional<Level> tenant_, session_;
  std::string trouble_;
  Time next_;
};

}  // namespace mete::agent
