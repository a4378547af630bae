#include "cli/limit_flags.h"

#include <string>

namespace mete::cli {
namespace {

// "suspend", or "suspend:hard".
Result<Policy> ParseTokenPolicy(std::string_view text) {
  Policy policy{EnforcementMode::kSoftThenHard, QuotaAction::kSuspend};
  const std::size_t colon = text.find(':');
  const std::optional<QuotaAction> action = FindAction(text.substr(0, colon));
  const bool known = action.has_value();
  bool good = known;
  if (known) policy.action = *action;
  if (known && *action == QuotaAction::kWarn) policy.mode = EnforcementMode::kWarnOnly;
  if (known && colon != text.npos) {
    const std::optional<EnforcementMode> mode = FindMode(text.substr(colon + 1));
    good = mode && *mode != EnforcementMode::kWarnOnly && *action != QuotaAction::kWarn;
    if (good) policy.mode = *mode;
  }
  if (good) return policy;
  return Fail(ErrorCode::kInvalidArgument,
              "must be warn, throttle, suspend or terminate, the last three also with :hard or "
              ":soft_then_hard (the default)");
}

Policy& PolicyOf(PolicySet& policies, Resource resource) {
  return policies[static_cast<std::size_t>(resource)];
}

}  // namespace

Result<void> CheckTokenPolicy(const Flag&, std::string_view value) {
  if (Result<Policy> policy = ParseTokenPolicy(value); !policy) {
    return std::unexpected(policy.error());
  }
  return {};
}

bool WriteLimits(wire::JsonWriter& json, const Flags& flags) {
  bool any = false;
  for (const LimitInfo& info : AllLimits()) {
    std::string flag(info.name);
    for (char& c : flag) c = c == '_' ? '-' : c;
    const std::optional<std::string_view> value = flags.Get(flag);
    if (!value) continue;
    if (!any) json.Key("limits").BeginObject();
    any = true;
    json.Key(info.name);
    *value == "unlimited" ? json.Null() : json.String(*value);
  }
  if (any) json.EndObject();
  return any;
}

PolicySet PoliciesOf(const Flags& flags) {
  PolicySet policies = DefaultPolicies();
  // Suspending frees no memory, and nobody may be there to raise the limit.
  PolicyOf(policies, Resource::kMemory).action = QuotaAction::kTerminate;
  // Too many requests wait in their reservations; freezing the agent would not undo any.
  PolicyOf(policies, Resource::kRequests).action = QuotaAction::kThrottle;
  if (auto action = flags.Get("on-cpu")) {
    PolicyOf(policies, Resource::kCpu).action = *FindAction(*action);
  }
  if (auto action = flags.Get("on-memory")) {
    PolicyOf(policies, Resource::kMemory).action = *FindAction(*action);
  }
  PolicyOf(policies, Resource::kTokens) =
      *ParseTokenPolicy(flags.Get("on-tokens").value_or("suspend"));
  return policies;
}

void WritePolicies(wire::JsonWriter& json, const Flags& flags, QuotaScope scope) {
  const PolicySet policies = PoliciesOf(flags);
  json.Key("policy").BeginObject();
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    const bool given = (resource == Resource::kCpu && flags.Has("on-cpu")) ||
                       (resource == Resource::kMemory && flags.Has("on-memory")) ||
                       (resource == Resource::kTokens && flags.Has("on-tokens"));
    if (scope != QuotaScope::kAgent && !given) continue;
    json.Key(NameOf(resource)).BeginObject();
    json.Field("mode", NameOf(policies[i].mode));
    json.Field("action", NameOf(policies[i].action)).EndObject();
  }
  json.EndObject();
}

}  // namespace mete::cli
