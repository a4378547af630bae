// Arithmetic over one record: what is used against a limit, where its edges are. No policy, no
// events, no other account. The caller holds the lock of the record's tree.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "mete/budget.h"
#include "quota/name_table.h"
#include "quota/record.h"
#include "quota/terms.h"

namespace mete {

// Totals stay so far below the end of int64 that a report below the edge cannot overflow.
inline constexpr std::int64_t kFarEdge = std::int64_t{1} << 62;
inline constexpr std::int64_t kQuietAmount = std::int64_t{1} << 61;

constexpr Duration kDay = std::chrono::hours(24);

constexpr std::optional<Counter> CounterOf(Resource resource) {
  switch (resource) {
    case Resource::kCpu: return kCpuCounter;
    case Resource::kMemory: return kMemoryCounter;
    case Resource::kTokens: return kTokenCounter;
    default: return std::nullopt;
  }
}
constexpr bool IsLevel(Resource resource) {
  return resource == Resource::kMemory || resource == Resource::kGpuMemory;
}
// Which of the two windows a limit looks at; a level and a rate have none.
constexpr bool IsInMainWindow(LimitKind kind) {
  return kind == LimitKind::kCpu || kind == LimitKind::kCpuSecondsPerHour ||
         kind == LimitKind::kTokensPerHour;
}
constexpr bool IsInDay(LimitKind kind) {
  return kind == LimitKind::kTokensPerDay || kind == LimitKind::kCostPerDay;
}

inline QuotaScope ScopeOf(const Record& record) { return record.name.scope(); }
inline std::string_view IdOf(const Record& record) {
  return record.name.is_long() ? std::string_view(record.extra->rare->long_name) : record.name.id();
}
TargetName NameOf(const Record& record);
inline std::uint64_t HashOf(const Record& record) { return HashOf(ScopeOf(record), IdOf(record)); }

inline Extra& ExtraOf(Record& record) {
  if (!record.extra) record.extra = std::make_unique<Extra>();
  return *record.extra;
}

inline Rare& RareOf(Record& record) {
  Extra& extra = ExtraOf(record);
  if (!extra.rare) extra.rare = std::make_unique<Rare>();
  return *extra.rare;
}
// Null, where there is none.
inline Rare* RareIn(const Record& record) {
  return record.extra ? record.extra->rare.get() : nullptr;
}

// The limits that are set, in the order of LimitKind.
template <class Function>
void ForEachLine(Record& record, Function&& function) {
  for (Line& line : record.lines) {
    if (!line.is_set) return;
    function(line);
  }
  Rare* const rare = RareIn(record);
  if (rare == nullptr) return;
  for (Line& line : rare->lines) function(line);
}
template <class Function>
void ForEachLineOf(Record& record, Resource resource, Function&& function) {
  ForEachLine(record, [&](Line& line) {
    if (InfoOf(line.kind).resource == resource) function(line);
  });
}
Line* FindLine(Record& record, LimitKind kind);
Line& AddLine(Record& record, LimitKind kind);  // REQUIRES: it is not there
void RemoveLine(Record& record, LimitKind kind);

// What is compared: `cpu` allows its cores for the length of the window (rule 5).
std::int64_t EffectiveLimit(const Line& line, const Terms& terms);
std::int64_t UsedOf(const Record& record, LimitKind kind);
inline std::int64_t HeldOf(const Record& record, Resource resource) {
  return record.extra ? record.extra->held[IndexOf(resource)] : 0;
}
// What is measured from outside, so that a report of it counts nothing (rule 15).
inline ResourceSet MeasuredOf(const Record& record) {
  return (record.flags & Record::kHasMeasured) != 0 ? RareIn(record)->measured : ResourceSet();
}
// Whether anything is held against it here: not `cpu` where the kernel holds the rate.
inline bool IsCompared(const Record& record, const Line& line) {
  return line.kind != LimitKind::kCpu || (record.flags & Record::kCpuHeld) == 0;
}
// When the window of a limit ends; Time::max() where it has none.
Time ResetAt(const Record& record, LimitKind kind, const Terms& terms);

// REQUIRES: a limit of requests.
inline void StartRate(Rare& rare, std::int64_t limit, Time now) {
  rare.rate.emplace(limit, InfoOf(LimitKind::kRequestsPerMinute).window, now);
  rare.rate_used = 0;
  rare.rate_due = Time::max();
  ++rare.rate_number;
}
// Null, where requests have no limit.
inline Rare* RateIn(const Record& record) {
  Rare* const rare = RareIn(record);
  return rare != nullptr && rare->rate ? rare : nullptr;
}

// What the account itself holds of a level, without those below it.
std::int64_t OwnLevel(const Record& record, Resource resource);
void SetOwnLevel(Record& record, Resource resource, std::int64_t level);

// The number that grows by every charge: a total, or a level.
std::int64_t TotalOf(const Record& record, Resource resource);
// REQUIRES: no overflow, and a level does not become negative.
void Add(Record& record, Resource resource, std::int64_t amount);

// Recomputes what the quiet report compares with.
void Watch(Record& record, const Terms& terms, const Thresholds& thresholds);

// Nothing, where it never ends.
std::optional<Duration> TimeToExhaustion(std::int64_t remaining, double per_second);

ResourceUsage WindowUsage(const Record& record);
ResourceUsage LifetimeUsage(const Record& record);

}  // namespace mete
