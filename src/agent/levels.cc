#include "agent/levels.h"

#include <utility>

#include "agent/kernel_limits.h"

namespace mete::agent {

KernelLimits LevelLimitsOf(const ResourceQuota& level, Controllers controllers) {
  return KernelLimitsOf(level.limits, level.policies, KernelLimits{}.pids_max, controllers);
}

void PlaceBelow(const std::vector<ResourceQuota>& above, AgentConfig* config) {
  for (const ResourceQuota& level : above) {
    const bool is_tenant = level.target.scope == QuotaScope::kTenant;
    (is_tenant ? config->tenant : config->session) = level.target.id;
    (is_tenant ? config->levels.tenant : config->levels.session) =
        LevelLimitsOf(level, config->controllers);
  }
}

LevelWatch::LevelWatch(Host& host, Agent& agent)
    : host_(host), agent_(agent), next_(agent.clock().Now()) {
  const AgentConfig& config = agent.config();
  if (!config.tenant.empty()) {
    tenant_ = {GroupNameOf({config.tenant}), config.levels.tenant.value_or(KernelLimits{}), {}, {}};
  }
  if (!config.session.empty()) {
    session_ = {GroupNameOf({config.tenant, config.session}),
                config.levels.session.value_or(KernelLimits{}),
                {},
                {}};
  }
}

void LevelWatch::Tell(std::string* told, const std::string& what, const Result<void>& result) {
  std::string text = result ? std::string() : what + ": " + result.error().ToString();
  if (!text.empty() && text != *told) agent_.history().AddNotice(text);
  *told = std::move(text);
}

void LevelWatch::Tend() {
  const Time now = agent_.clock().Now();
  if (now < next_) return;
  next_ = now + kInterval;
  Tell(&trouble_, "the limits of what it is below cannot be held", agent_.group().RestoreAbove());
  // While nobody keeps the accounts, they are as they were; who looks after that tells of it.
  const Result<std::vector<ResourceQuota>> above = agent_.account().Above();
  if (!above) return;
  // From the top down: on v1 a group holds no more than the one above it.
  for (auto level = above->rbegin(); level != above->rend(); ++level) {
    std::optional<Level>& known = level->target.scope == QuotaScope::kTenant ? tenant_ : session_;
    if (known) Follow(*known, *level);
  }
}

void LevelWatch::Follow(Level& level, const ResourceQuota& quota) {
  const KernelLimits wanted = LevelLimitsOf(quota, agent_.config().controllers);
  const std::string name = quota.target.ToString();
  if (level.limits && Differ(*level.limits, quota.limits)) {
    agent_.history().AddNotice(
        "limits of " + name + " changed: " +
        ChangesText(*level.limits, quota.limits, quota.policies, agent_.config().host));
  }
  level.limits = quota.limits;
  if (wanted == level.held) return;
  Tell(&level.trouble, "limits of " + name + " not held yet", Hold(level, wanted));
}

// Everything but a memory limit below what is in use, which waits until less is.
Result<void> LevelWatch::Hold(Level& level, const KernelLimits& wanted) {
  Result<std::unique_ptr<Group>> group = host_.Find(level.group);
  if (!group) return std::unexpected(group.error());
  KernelLimits written = wanted;
  Result<void> set = (*group)->SetLimits(written);
  if (!set && set.error().code == ErrorCode::kUpdateFailed) {
    written.memory_max = level.held.memory_max;
    if (Result<void> others = (*group)->SetLimits(written); !others) return others;
  } else if (!set) {
    return set;
  }
  if (written != level.held) {
    level.held = written;
    agent_.SetLevels(Held());
  }
  return set;
}

LevelLimits LevelWatch::Held() const {
  LevelLimits held;
  held.ledger = agent_.config().levels.ledger;
  if (tenant_) held.tenant = tenant_->held;
  if (session_) held.session = session_->held;
  return held;
}

}  // namespace mete::agent
