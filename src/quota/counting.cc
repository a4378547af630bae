#include "quota/counting.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "budget/watch.h"
#include "quota/policy.h"

namespace mete {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::min();

std::int64_t AddSaturated(std::int64_t a, std::int64_t b) {
  return a > kUnlimited - b ? kUnlimited : a + b;
}

// The total at which the windows of a limit began; of a level, 0.
std::int64_t BaseOf(const Record& record, LimitKind kind) {
  switch (kind) {
    case LimitKind::kCpu:
    case LimitKind::kCpuSecondsPerHour: return record.cpu_base;
    case LimitKind::kTokensPerHour: return record.tokens_base;
    case LimitKind::kTokensPerDay: return record.tokens_day_base;
    case LimitKind::kCostPerDay: return record.extra ? record.extra->cost_base : 0;
    default: return 0;
  }
}

// Whether a violating charge would be answered.
bool MayAct(const Line& line, EnforcementMode mode) {
  const bool done = line.acted || line.lifted;
  switch (mode) {
    case EnforcementMode::kHard: return !done;
    case EnforcementMode::kSoftThenHard: return !line.warned || !done;
    case EnforcementMode::kWarnOnly: return !line.warned;
  }
  return true;
}

// The smallest use above the present one from which anything follows; 0: already this one.
std::int64_t NextEdge(const Line& line, std::int64_t used, std::int64_t limit, EnforcementMode mode,
                      const Thresholds& thresholds) {
  if (used > limit) return MayAct(line, mode) ? 0 : kUnlimited;
  std::int64_t next = limit + 1;
  const auto percents = thresholds.percents();
  for (std::size_t i = 0; i < percents.size() && limit > 0; ++i) {
    if (((line.armed >> i) & 1) != 0) {
      next = std::min(next, watch::ThresholdAmount(limit, percents[i]));
    }
  }
  return next;
}

// The smallest level from which nothing re-arms and nothing ends.
std::int64_t LowEdge(const Line& line, std::int64_t limit, const Thresholds& thresholds) {
  std::int64_t low = kNever;
  const auto percents = thresholds.percents();
  for (std::size_t i = 0; i < percents.size(); ++i) {
    if (((line.armed >> i) & 1) == 0) {
      low = std::max(low, watch::RearmAmount(limit, percents[i]) + 1);
    }
  }
  const bool limit_raised = ((line.armed >> watch::kLimitBit) & 1) == 0;
  if (limit_raised) low = std::max(low, watch::RearmAmount(limit, 100) + 1);
  if (line.warned || line.lifted) low = std::max(low, RearmLevel(limit) + 1);
  if (line.acted || line.is_cause) low = std::max(low, limit + 1);
  return low;
}

template <class Function>
void RewriteLines(Record& record, Function&& change) {
  std::vector<Line> lines;
  ForEachLine(record, [&](Line& line) { lines.push_back(line); });
  change(lines);
  record.lines = {};
  std::copy_n(lines.begin(), std::min(lines.size(), record.lines.size()), record.lines.begin());
  if (lines.size() > record.lines.size()) {
    RareOf(record).lines.assign(lines.begin() + record.lines.size(), lines.end());
  } else if (Rare* const rare = RareIn(record)) {
    rare->lines.clear();
  }
}

}  // namespace

TargetName NameOf(const Record& record) { return {ScopeOf(record), std::string(IdOf(record))}; }

Line* FindLine(Record& record, LimitKind kind) {
  Line* found = nullptr;
  ForEachLine(record, [&](Line& line) {
    if (line.kind == kind) found = &line;
  });
  return found;
}

Line& AddLine(Record& record, LimitKind kind) {
  RewriteLines(record, [&](std::vector<Line>& lines) {
    Line added;
    added.kind = kind;
    added.is_set = true;
    const auto after = std::find_if(lines.begin(), lines.end(),
                                    [&](const Line& line) { return line.kind > kind; });
    lines.insert(after, added);
  });
  return *FindLine(record, kind);
}

void RemoveLine(Record& record, LimitKind kind) {
  RewriteLines(record, [&](std::vector<Line>& lines) {
    std::erase_if(lines, [&](const Line& line) { return line.kind == kind; });
  });
}

std::int64_t EffectiveLimit(const Line& line, const Terms& terms) {
  if (line.kind != LimitKind::kCpu) return line.limit;
  __extension__ using Int128 = __int128;
  const Int128 allowed = static_cast<Int128>(line.limit) * terms.window.count() / 1'000'000'000;
  // One below "unlimited", so that there is a total that passes it.
  return static_cast<std::int64_t>(std::min<Int128>(allowed, kUnlimited - 1));
}

std::int64_t UsedOf(const Record& record, LimitKind kind) {
  if (kind == LimitKind::kRequestsPerMinute) {
    const Rare* const rare = RateIn(record);
    return rare == nullptr ? 0 : rare->rate_used;
  }
  return TotalOf(record, InfoOf(kind).resource) - BaseOf(record, kind);
}

Time ResetAt(const Record& record, LimitKind kind, const Terms& terms) {
  const auto end = [](Time start, Duration length) {
    return start > Time::max() - length ? Time::max() : start + length;
  };
  if (IsInMainWindow(kind)) return end(record.main_start, terms.window);
  if (IsInDay(kind)) return end(record.day_start, kDay);
  return Time::max();
}

std::int64_t OwnLevel(const Record& record, Resource resource) {
  if (ScopeOf(record) == QuotaScope::kAgent) return TotalOf(record, resource);
  if (!record.extra) return 0;
  return resource == Resource::kMemory ? record.extra->own_memory : record.extra->own_gpu_memory;
}

void SetOwnLevel(Record& record, Resource resource, std::int64_t level) {
  if (ScopeOf(record) == QuotaScope::kAgent) return;
  (resource == Resource::kMemory ? ExtraOf(record).own_memory : ExtraOf(record).own_gpu_memory) =
      level;
}

std::int64_t TotalOf(const Record& record, Resource resource) {
  if (const auto counter = CounterOf(resource)) return record.total[*counter];
  if (!record.extra) return 0;
  switch (resource) {
    case Resource::kGpuMemory: return record.extra->gpu_memory;
    case Resource::kRequests: return record.extra->requests;
    default: return record.extra->cost;
  }
}

void Add(Record& record, Resource resource, std::int64_t amount) {
  if (const auto counter = CounterOf(resource)) {
    record.total[*counter] += amount;
    if (counter == kMemoryCounter) record.peak = std::max(record.peak, record.total[*counter]);
    return;
  }
  if (amount == 0) return;
  Extra& extra = ExtraOf(record);
  switch (resource) {
    case Resource::kGpuMemory:
      extra.gpu_memory += amount;
      extra.gpu_peak = std::max(extra.gpu_peak, extra.gpu_memory);
      break;
    case Resource::kRequests: extra.requests += amount; break;
    default: extra.cost += amount; break;
  }
}

void Watch(Record& record, const Terms& terms, const Thresholds& thresholds) {
  record.edge.fill(kFarEdge);
  record.ceiling.fill(kUnlimited);
  record.low_edge = kNever;
  record.flags &= ~std::uint32_t{Record::kDayIsTighter};
  ForEachLine(record, [&](Line& line) {
    const Resource resource = InfoOf(line.kind).resource;
    const auto counter = CounterOf(resource);
    if (!counter || !IsCompared(record, line)) return;
    const std::int64_t base = BaseOf(record, line.kind);
    const std::int64_t limit = EffectiveLimit(line, terms);
    const std::int64_t used = UsedOf(record, line.kind);
    const std::int64_t next = NextEdge(line, used, limit, terms.of(resource).mode, thresholds);
    std::int64_t& edge = record.edge[*counter];
    edge = std::min(edge, next == 0 ? kNever : AddSaturated(base, next));
    std::int64_t& ceiling = record.ceiling[*counter];
    if (AddSaturated(base, limit) < ceiling) {
      ceiling = AddSaturated(base, limit);
      if (line.kind == LimitKind::kTokensPerDay) record.flags |= Record::kDayIsTighter;
    }
    if (counter == kMemoryCounter) {
      record.low_edge = std::max(record.low_edge, LowEdge(line, limit, thresholds));
    }
  });
  for (const Resource resource : {Resource::kCpu, Resource::kMemory, Resource::kTokens}) {
    std::int64_t& ceiling = record.ceiling[*CounterOf(resource)];
    if (ceiling != kUnlimited) ceiling -= HeldOf(record, resource);
  }
  record.look_at = std::min(ResetAt(record, LimitKind::kTokensPerHour, terms),
                            ResetAt(record, LimitKind::kTokensPerDay, terms)) -
                   Clock::kCoarseLag;
}

std::optional<Duration> TimeToExhaustion(std::int64_t remaining, double per_second) {
  if (remaining == kUnlimited || per_second <= 0) return std::nullopt;
  const double nanoseconds = static_cast<double>(remaining) / per_second * 1e9;
  if (nanoseconds >= 9e18) return std::nullopt;  // 285 years
  return Duration(static_cast<std::int64_t>(nanoseconds));
}

ResourceUsage WindowUsage(const Record& record) {
  ResourceUsage usage{.cpu_ns = record.total[kCpuCounter] - record.cpu_base,
                      .memory_bytes = record.total[kMemoryCounter],
                      .memory_peak_bytes = record.peak,
                      .tokens_consumed = record.total[kTokenCounter] - record.tokens_base};
  if (record.extra) {
    usage.gpu_memory_bytes = record.extra->gpu_memory;
    usage.gpu_memory_peak_bytes = record.extra->gpu_peak;
    usage.requests = record.extra->requests - record.extra->requests_base;
    usage.cost_nano = record.extra->cost - record.extra->cost_main_base;
  }
  return usage;
}

ResourceUsage LifetimeUsage(const Record& record) {
  ResourceUsage usage{.cpu_ns = record.total[kCpuCounter],
                      .memory_bytes = record.total[kMemoryCounter],
                      .memory_peak_bytes = std::max(record.peak, record.peak_before),
                      .tokens_consumed = record.total[kTokenCounter]};
  if (record.extra) {
    usage.gpu_memory_bytes = record.extra->gpu_memory;
    usage.gpu_memory_peak_bytes = std::max(record.extra->gpu_peak, record.extra->gpu_peak_before);
    usage.requests = record.extra->requests;
    usage.cost_nano = record.extra->cost;
  }
  return usage;
}

}  // namespace mete
