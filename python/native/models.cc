#include "models.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "amounts.h"
#include "awaitable.h"
#include "engine.h"

namespace mete::python {
namespace {

using namespace nb::literals;

// A class or function of mete._models.
nb::object Model(const char* name) {
  static const nb::object* module = new nb::object(nb::module_::import_("mete._models"));
  return module->attr(name);
}

nb::object Text(std::string_view text) { return nb::str(text.data(), text.size()); }

template <class Named>
nb::object Word(Named value) {
  return Text(NameOf(value));
}

nb::object Seconds(Duration span) {
  return nb::float_(std::chrono::duration<double>(span).count());
}

nb::object Moment(WallTime time) { return Model("moment")(time.time_since_epoch().count()); }

nb::object Amount(Resource resource, std::int64_t amount) {
  nb::object made = nb::steal(ToPython(resource, amount));
  if (!made.is_valid()) throw nb::python_error();
  return made;
}

// A limit, or what is left of it. What was used is never unlimited, though it may be as much.
nb::object Bound(Resource resource, std::int64_t amount) {
  return amount == kUnlimited ? nb::object(nb::none()) : Amount(resource, amount);
}

nb::object AmountsOf(const Amounts& amounts) {
  nb::dict shown;
  for (const Field& field : kFields) {
    if (!amounts.Has(field.resource)) continue;
    shown[field.name] = Amount(field.resource, amounts.Get(field.resource));
  }
  return shown;
}

// As it was entered: a count that was written as a number is one again.
nb::object Entered(const LimitInfo& info, const Limit& limit) {
  if (limit.text.empty()) return nb::none();
  const bool counted = info.resource == Resource::kTokens || info.resource == Resource::kRequests;
  if (counted && limit.text.find_first_not_of("0123456789") == std::string::npos) {
    return nb::int_(limit.amount);
  }
  return Text(limit.text);
}

// Those that are set, and always the three that every quota was described by: None is unlimited.
nb::object LimitsOf(const ResourceLimits& limits) {
  nb::dict shown;
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit>& limit = limits[info.kind];
    const bool always = info.kind == LimitKind::kCpu || info.kind == LimitKind::kMemory ||
                        info.kind == LimitKind::kTokensPerHour;
    if (limit || always) {
      shown[Text(info.name)] = limit ? Entered(info, *limit) : nb::object(nb::none());
    }
  }
  return shown;
}

nb::object PoliciesOf(const PolicySet& policies) {
  nb::dict shown;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    shown[Word(static_cast<Resource>(i))] =
        Model("Policy")("mode"_a = Model("EnforcementMode")(Word(policies[i].mode)),
                        "action"_a = Model("QuotaAction")(Word(policies[i].action)));
  }
  return shown;
}

double InUnit(Resource resource, double base) {
  if (resource == Resource::kMemory || resource == Resource::kGpuMemory) return base / (1 << 20);
  return resource == Resource::kCpu || resource == Resource::kCost ? base / 1e9 : base;
}

nb::object WindowOf(const LimitUsage& window, Duration wall_offset) {
  const LimitInfo& info = InfoOf(window.kind);
  const auto amount = [&](std::int64_t value) { return Amount(info.resource, value); };
  const std::optional<Duration> left = window.time_to_exhaustion();
  nb::object reset_at = nb::none();
  if (window.reset_at) {
    reset_at = Moment(WallTime(window.reset_at->time_since_epoch() + wall_offset));
  }
  return Model("LimitUsage")(
      "limit"_a = Text(info.name), "entered"_a = Entered(info, window.limit),
      "allowed"_a = Bound(info.resource, window.effective), "used"_a = amount(window.used),
      "held"_a = amount(window.held), "peak"_a = amount(window.peak),
      "remaining"_a = Bound(info.resource, window.remaining()), "reset_at"_a = reset_at,
      "violated"_a = window.violated, "load"_a = window.load(),
      "rate_per_second"_a = InUnit(info.resource, window.rate_per_second()),
      "time_to_exhaustion"_a = left ? Seconds(*left) : nb::object(nb::none()));
}

nb::object LimitName(const std::optional<LimitKind>& limit) {
  return limit ? Text(InfoOf(*limit).name) : nb::object(nb::none());
}

nb::object CausesOf(const std::vector<Cause>& causes) {
  nb::list shown;
  for (const Cause& cause : causes) {
    shown.append(Model("Cause")("account"_a = TextOfName(cause.account),
                                "limit"_a = LimitName(cause.limit),
                                "action"_a = Model("QuotaAction")(Word(cause.action))));
  }
  return shown;
}

nb::object UsageAs(const char* model, const ResourceUsage& usage) {
  return Model(model)(
      "cpu_seconds"_a = Amount(Resource::kCpu, usage.cpu_ns),
      "memory_mb"_a = Amount(Resource::kMemory, usage.memory_bytes),
      "memory_peak_mb"_a = Amount(Resource::kMemory, usage.memory_peak_bytes),
      "gpu_memory_mb"_a = Amount(Resource::kMemory, usage.gpu_memory_bytes),
      "gpu_memory_peak_mb"_a = Amount(Resource::kMemory, usage.gpu_memory_peak_bytes),
      "tokens_consumed"_a = usage.tokens_consumed, "requests"_a = usage.requests,
      "cost"_a = Amount(Resource::kCost, usage.cost_nano));
}

Policy PolicyFrom(nb::handle pair) {
  Policy policy;
  policy.mode = FindMode(TextOf("mode", pair[0])).value_or(policy.mode);
  policy.action = FindAction(TextOf("action", pair[1])).value_or(policy.action);
  return policy;
}

}  // namespace

nb::object ModelOf(const ResourceQuota& quota, const Clock& clock) {
  const Duration offset = clock.WallNow().time_since_epoch() - clock.Now().time_since_epoch();
  nb::list windows;
  for (const LimitUsage& window : quota.windows) windows.append(WindowOf(window, offset));
  return Model("ResourceQuota")(
      "scope"_a = Model("QuotaScope")(Word(quota.target.scope)),
      "target_id"_a = Text(quota.target.id), "limits"_a = LimitsOf(quota.limits),
      "usage"_a = UsageAs("QuotaUsage", quota.usage), "reset_at"_a = Moment(quota.reset_at),
      "parent"_a = quota.parent ? TextOfName(*quota.parent) : nb::object(nb::none()),
      "policy"_a = PoliciesOf(quota.policies), "windows"_a = windows,
      "causes"_a = CausesOf(quota.causes), "suspended"_a = quota.suspended,
      "throttled"_a = quota.throttled, "terminated"_a = quota.terminated);
}

nb::object ModelOf(const ResourceUsage& usage) { return UsageAs("ResourceUsage", usage); }

nb::object ModelOf(const Settlement& settlement) {
  nb::object receipt = nb::steal(NewReceipt(settlement.receipt));
  if (!receipt.is_valid()) throw nb::python_error();
  return Model("Settlement")("receipt"_a = receipt, "used"_a = AmountsOf(settlement.used),
                             "above_hold"_a = AmountsOf(settlement.above_hold));
}

nb::object ModelOf(const Event& event, std::uint64_t missed) {
  nb::object used = nb::none();
  nb::object amount = nb::none();
  if (event.limit) {
    const Resource resource = InfoOf(*event.limit).resource;
    used = Amount(resource, event.used);
    const bool is_use = event.kind == EventKind::kSettledAboveHold;
    amount = is_use ? Amount(resource, event.amount) : Bound(resource, event.amount);
  }
  // What happens to the store happens to none.
  const nb::object none = Text("");
  const nb::object target = event.target.id.empty() ? none : TextOfName(event.target);
  const nb::object account = event.account.id.empty() ? none : TextOfName(event.account);
  const bool carries_usage = event.kind == EventKind::kUsage || event.kind == EventKind::kRemoved;
  return Model("Event")(
      "sequence"_a = event.sequence, "kind"_a = Model("EventKind")(Word(event.kind)),
      "time"_a = Moment(event.wall_time), "target"_a = target, "account"_a = account,
      "limit"_a = LimitName(event.limit), "percent"_a = event.percent, "used"_a = used,
      "amount"_a = amount, "windows"_a = event.windows, "detail"_a = Text(event.detail),
      "usage"_a = carries_usage ? ModelOf(event.usage) : nb::object(nb::none()),
      "missed"_a = missed);
}

nb::object TextOfName(const TargetName& name) {
  return Text(std::string(NameOf(name.scope)) + "/" + name.id);
}

TargetName NameFrom(const char* argument, nb::handle object) {
  const std::string_view text = TextOf(argument, object);
  const std::size_t slash = text.find('/');
  const auto scope = FindScope(text.substr(0, slash));
  if (slash == std::string_view::npos || !scope) {
    const std::string given = Shown(object.ptr());
    if (!given.empty()) {
      RaiseInvalid(std::string(argument) +
                   ": a scope, '/' and an id, such as \"session/s1\", is allowed, not " + given);
    }
    throw nb::python_error();
  }
  return {*scope, std::string(text.substr(slash + 1))};
}

ResourceLimits LimitsFrom(const nb::dict& given, const std::string& where) {
  ResourceLimits limits;
  for (const auto& [name, value] : given) {
    const std::string_view key = TextOf("limits", name);
    const std::optional<LimitKind> kind = FindLimit(key);
    if (!kind) {
      RaiseInvalid("limits: no such limit: " + std::string(key.substr(0, 80)));
      throw nb::python_error();
    }
    if (value.is_none()) {
      limits[*kind] = Limit{};
      continue;
    }
    Result<Limit> limit = ParseLimit(*kind, TextOf("limits", value));
    if (!limit) {
      limit.error().message.insert(0, where);
      Throw(limit.error());
    }
    limits[*kind] = *std::move(limit);
  }
  return limits;
}

std::vector<std::pair<Resource, Policy>> PoliciesFrom(const nb::dict& given) {
  std::vector<std::pair<Resource, Policy>> policies;
  for (const auto& [name, pair] : given) {
    for (std::size_t i = 0; i < kResourceCount; ++i) {
      const auto resource = static_cast<Resource>(i);
      if (NameOf(resource) == TextOf("policy", name))
        policies.emplace_back(resource, PolicyFrom(pair));
    }
  }
  return policies;
}

Amounts AmountsFrom(const nb::dict& given) {
  Amounts amounts;
  for (const auto& [name, value] : given) {
    if (value.is_none()) continue;
    const Field* field = FindField(name.ptr());
    if (field == nullptr || !SetAmount(amounts, *field, value.ptr())) throw nb::python_error();
  }
  return amounts;
}

}  // namespace mete::python
