#include "agent/kernel_limits.h"

#include <unistd.h>

#include <algorithm>
#include <limits>

#include "mete/units.h"

namespace mete::agent {
namespace {

constexpr std::int64_t kLeastHeadroom = 64 << 20;

std::optional<std::int64_t> FiniteAmount(const std::optional<Limit>& limit) {
  if (!limit || limit->amount == kUnlimited) return std::nullopt;
  return limit->amount;
}

const Policy& PolicyOf(const PolicySet& policies, Resource resource) {
  return policies[static_cast<std::size_t>(resource)];
}

bool OnlyWarns(const Policy& policy) {
  return policy.mode == EnforcementMode::kWarnOnly || policy.action == QuotaAction::kWarn;
}

std::int64_t SumOrMax(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kUnlimited - 1 : sum;
}

bool HoldsOrSamples(const GradeInfo& info) {
  return info.grade != Grade::kAbsent && info.grade != Grade::kAdvisory;
}

// An action needs a way to carry it out, however well the usage is known.
GradeInfo Acting(GradeInfo counted, const Capabilities& host) {
  for (const GradeInfo* action : {&host.freeze, &host.kill}) {
    if (!HoldsOrSamples(*action)) return *action;
  }
  return counted;
}

// The kernel slows down, or mete turns the CPU down instead.
GradeInfo ThrottledMemory(const Capabilities& host) {
  if (!HoldsOrSamples(host.memory)) return host.memory;
  if (host.memory_slows) {
    return {host.memory.grade,
            "memory.high at the limit; the kernel's own limit a quarter (at "
            "least 64Mi) above"};
  }
  if (!HoldsOrSamples(host.cpu)) return host.cpu;
  return {Grade::kSampled,
          "read every 100 ms; then turned down to 50, 25, 10 % of its cpu; the "
          "kernel's own limit a quarter (at least 64Mi) above"};
}

}  // namespace

std::int64_t MemoryHeadroom(std::int64_t limit) { return std::max(limit / 4, kLeastHeadroom); }

KernelLimits KernelLimitsOf(const ResourceLimits& limits, const PolicySet& policies,
                            std::int64_t pids_max, Controllers controllers) {
  KernelLimits kernel;
  kernel.pids_max = pids_max;
  const bool hold_cpu = controllers.cpu && !OnlyWarns(PolicyOf(policies, Resource::kCpu));
  if (hold_cpu) kernel.cpu_nanocores = FiniteAmount(limits[LimitKind::kCpu]);
  const std::optional<std::int64_t> memory = FiniteAmount(limits[LimitKind::kMemory]);
  const Policy& policy = PolicyOf(policies, Resource::kMemory);
  if (!controllers.memory || !memory || OnlyWarns(policy)) return kernel;
  if (policy.action != QuotaAction::kTerminate) {
    // One page above the limit: only there is more used than allowed.
    kernel.memory_line = SumOrMax(*memory, sysconf(_SC_PAGESIZE));
    kernel.memory_max = SumOrMax(*memory, MemoryHeadroom(*memory));
  } else {
    kernel.memory_max = memory;
  }
  return kernel;
}

Result<void> CheckRange(LimitKind kind, const Limit& limit) {
  const bool is_cpu = kind == LimitKind::kCpu;
  if ((!is_cpu && kind != LimitKind::kMemory) || limit.amount == kUnlimited) return {};
  if (limit.amount < (is_cpu ? kMinCpuNanocores : kMinMemoryBytes)) {
    return Fail(ErrorCode::kInvalidArgument,
                "less than the kernel can hold, allowed: at least " +
                    (is_cpu ? "10m" : CanonicalBytes(kMinMemoryBytes)) + ", given: " + limit.text);
  }
  if (limit.amount > (is_cpu ? kMaxCpuNanocores : kMaxMemoryBytes)) {
    return Fail(ErrorCode::kInvalidArgument, "more than the kernel can hold, allowed: at most " +
                                                 (is_cpu ? FormatNanoDecimal(kMaxCpuNanocores)
                                                         : CanonicalBytes(kMaxMemoryBytes)) +
                                                 ", given: " + limit.text);
  }
  return {};
}

Result<void> CheckRanges(const ResourceLimits& limits) {
  for (const LimitInfo& info : AllLimits()) {
    if (!limits[info.kind]) continue;
    if (Result<void> good = CheckRange(info.kind, *limits[info.kind]); !good) {
      return Fail(good.error().code, std::string(info.name) + ": " + good.error().message);
    }
  }
  return {};
}

GradeInfo GradeOf(LimitKind kind, const Policy& policy, const Capabilities& host) {
  switch (kind) {
    case LimitKind::kCpu: return host.cpu;
    case LimitKind::kMemory: {
      if (OnlyWarns(policy)) {
        const Grade reading = host.memory_usage.grade;
        const bool is_read = reading == Grade::kKernel || reading == Grade::kSampled;
        return {is_read ? Grade::kSampled : reading, "read every 100 ms, warns only"};
      }
      GradeInfo grade = host.memory;
      if (policy.action == QuotaAction::kThrottle) return ThrottledMemory(host);
      if (policy.action == QuotaAction::kSuspend) {
        grade = Acting(grade, host);
        if (grade.grade == Grade::kKernel) {
          grade.how += ", a quarter (at least 64Mi) above the limit; suspended at the limit";
        }
      }
      return grade;
    }
    case LimitKind::kCpuSecondsPerHour: {
      const Grade reading = host.cpu_usage.grade;
      if (reading == Grade::kAbsent || reading == Grade::kAdvisory) return host.cpu_usage;
      constexpr std::string_view kWhen = "read when it could be used up, at least 2 ms apart";
      if (OnlyWarns(policy)) return {Grade::kSampled, std::string(kWhen) + ", warns only"};
      if (policy.action == QuotaAction::kThrottle) {
        if (!HoldsOrSamples(host.cpu)) return host.cpu;
        return {Grade::kSampled,
                std::string(kWhen) + "; then turned down to 50, 25, 10 % of its cpu"};
      }
      return Acting({Grade::kSampled, std::string(kWhen), "10 ms of every core"}, host);
    }
    case LimitKind::kGpuMemory:
    case LimitKind::kTokensPerHour:
    case LimitKind::kTokensPerDay:
    case LimitKind::kRequestsPerMinute:
    case LimitKind::kCostPerDay:
      if (OnlyWarns(policy))
        return {Grade::kReported, "counted when the agent reports, warns only"};
      if (policy.action == QuotaAction::kThrottle) {
        return {Grade::kReported, "counted when the agent reports; reservations wait"};
      }
      return Acting({Grade::kReported, "counted when the agent reports"}, host);
  }
  return {};
}

namespace {

bool DifferAt(std::size_t i, const ResourceLimits& a, const ResourceLimits& b) {
  return FiniteAmount(a.entries[i]) != FiniteAmount(b.entries[i]);
}

}  // namespace

bool Differ(const ResourceLimits& a, const ResourceLimits& b) {
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    if (DifferAt(i, a, b)) return true;
  }
  return false;
}

std::string ChangesText(const ResourceLimits& before, const ResourceLimits& after,
                        const PolicySet& policies, const Capabilities& host) {
  std::string text;
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    if (!DifferAt(i, before, after)) continue;
    const LimitInfo& info = InfoOf(static_cast<LimitKind>(i));
    text.append(text.empty() ? "" : ", ").append(info.name).append(" = ");
    if (!FiniteAmount(after.entries[i])) {
      text += "unlimited";
      continue;
    }
    const GradeInfo grade = GradeOf(info.kind, PolicyOf(policies, info.resource), host);
    const bool is_held = HoldsOrSamples(grade);
    text.append(after.entries[i]->text).append(" (").append(NameOf(grade.grade));
    text.append(is_held ? "" : ": " + grade.how).append(")");
  }
  return text;
}

}  // namespace mete::agent
