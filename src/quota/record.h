// What is kept of one account: four cache lines, of which a report touches three.
//
// Flows are kept as totals since the account was created, and each window as the total at which it
// began (its base). So a report adds once per resource, however many windows look at it; the
// lifetime figure is free; and ending a window is one store.
//
//   used in a window = total - base           an edge of it, as a total = base + amount
//
// `edge` is the smallest total at which anything at all would follow from a charge: a threshold, a
// limit, or an overflow. A report that stays below the edges of all accounts on its path, before
// their `look_at`, is three additions for each and nothing else (Ledger::ReportQuietly); whatever
// is not that takes the long way, which then recomputes the edges (Ledger::Watch).
//
// What not every account needs lies in an Extra, and what few need in a Rare behind it, each made
// when it is first needed.
//
// A record is guarded by the lock in the record of its root, the account without a parent; but for
// `root`, which says where that lock is. Records are never freed, only used again: a lookup may
// follow `root` of one that was removed, take a lock, and find by the name or the generation that
// it came too late (Ledger::Lock).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/parking_lock.h"
#include "mete/clock.h"
#include "mete/enforcer.h"
#include "mete/quota.h"
#include "quota/rate_limit.h"

namespace mete {

constexpr std::size_t IndexOf(Resource resource) { return static_cast<std::size_t>(resource); }
constexpr std::size_t IndexOf(LimitKind kind) { return static_cast<std::size_t>(kind); }

using RecordIndex = std::uint32_t;
inline constexpr RecordIndex kNoRecord = ~RecordIndex{0};

// The resources that every account counts in place.
enum Counter : std::uint8_t { kCpuCounter, kMemoryCounter, kTokenCounter, kCounterCount };

// A limit that is set, and what its policy has done about it.
struct Line {
  std::int64_t limit = 0;  // as entered; see EffectiveLimit
  std::uint32_t text = 0;  // in the TextPool
  LimitKind kind = LimitKind::kCpu;
  std::uint8_t armed = 0xff;  // bit i: threshold i was not reached yet; bit 7: the limit
  bool is_set : 1 = false;
  bool warned : 1 = false;  // PolicyState, but for the time of the warning
  bool acted : 1 = false;
  bool lifted : 1 = false;
  bool is_cause : 1 = false;  // of `action`
  QuotaAction action : 2 = QuotaAction::kWarn;
};
static_assert(sizeof(Line) == 16);

// A scope, and an id of up to 31 bytes in place; a longer one is in the Rare. Does not change while
// the account is in the table of names.
class Name {
 public:
  static constexpr std::size_t kMaxBytes = 31;

  // False: the id is too long, and has to be kept elsewhere.
  bool Set(QuotaScope scope, std::string_view id) noexcept {
    const bool fits = id.size() <= kMaxBytes;
    if (fits) std::memcpy(id_, id.data(), id.size());
    const std::size_t size = fits ? id.size() : kLong;
    size_and_scope_ = static_cast<std::uint8_t>(size | static_cast<unsigned>(scope) << kScopeShift);
    return fits;
  }
  QuotaScope scope() const noexcept {
    return static_cast<QuotaScope>(size_and_scope_ >> kScopeShift);
  }
  bool is_long() const noexcept { return size() == kLong; }
  std::string_view id() const noexcept { return {id_, size()}; }

 private:
  static constexpr int kScopeShift = 6;
  static constexpr std::size_t kLong = (1u << kScopeShift) - 1;
  std::size_t size() const noexcept { return size_and_scope_ & kLong; }

  char id_[kMaxBytes];
  std::uint8_t size_and_scope_ = 0;
};

// What few accounts need.
struct Rare {
  std::string long_name;
  std::vector<Line> lines;           // beyond those in the record
  std::vector<std::uint64_t> holds;  // open, of this account itself
  std::array<Time, kLimitKindCount> warned_at{};

  std::optional<RateLimit> rate;  // while there is a limit
  std::uint32_t rate_number = 0;  // from 1: a limit that was removed and set again is another
  std::int64_t rate_used = 0;     // what has not drained yet, when it was last looked at
  Time rate_due = Time::max();    // of the deadline that waits for it to drain

  // Causes above this agent that an operator lifted for it, until they end.
  struct Lifted {
    RecordIndex account;
    LimitKind limit;
  };
  std::vector<Lifted> lifted;

  ResourceSet measured;
  int failures = 0;  // in a row, of `failed`, which is tried again at `retry_at`
  Verb failed = Verb::kSuspend;
  Time retry_at{};
};

// What every account with others below it needs, and every one that reserves.
struct Extra {
  std::vector<RecordIndex> children;                // in no order; each knows its place
  std::array<std::int64_t, kResourceCount> held{};  // of this account and all below

  // Of a session or tenant: the levels that were reported of itself, beside those below it.
  std::int64_t own_memory = 0;
  std::int64_t own_gpu_memory = 0;

  std::int64_t gpu_memory = 0;
  std::int64_t gpu_peak = 0;
  std::int64_t gpu_peak_before = 0;
  std::int64_t requests = 0;
  std::int64_t requests_base = 0;  // main window
  std::int64_t cost = 0;
  std::int64_t cost_base = 0;       // day
  std::int64_t cost_main_base = 0;  // main window
  std::unique_ptr<Rare> rare;
};

struct alignas(64) Record {
  enum Flag : std::uint32_t {
    kLive = 1u << 2,
    kChanged = 1u << 3,  // since the last record of usage
    kRunning = 1u << 4,
    kCpuHeld = 1u << 5,      // by the kernel: `cpu` is not compared
    kHasMeasured = 1u << 6,  // see Rare::measured
    kOperatorSuspend = 1u << 7,
    kOperatorTerminate = 1u << 8,
    // Own causes, of limits and of the operator.
    kThrottle = 1u << 9,
    kSuspend = 1u << 10,
    kTerminate = 1u << 11,
    kHasLifted = 1u << 12,  // see Rare::lifted
    // What the enforcer has brought about.
    kIsThrottled = 1u << 13,
    kIsSuspended = 1u << 14,
    kIsTerminated = 1u << 15,
    kQueued = 1u << 16,        // waits to be given out as an intent
    kInFlight = 1u << 17,      // was given out
    kDayIsTighter = 1u << 18,  // `ceiling` of the tokens is that of tokens_per_day
    kRestarted = 1u << 19,     // since the intent in flight was given out
    // With a store, see unwritten.h.
    kUnwritten = 1u << 20,       // something of it is not on disk yet
    kUnwrittenQuota = 1u << 21,  // so is what it was asked for
  };

  // Read and written by every report.
  ParkingLock lock;  // of the tree, where this is its root
  std::atomic<RecordIndex> root{0};
  RecordIndex parent = kNoRecord;
  std::uint32_t flags = 0;
  std::array<std::int64_t, kCounterCount> total{};
  std::array<std::int64_t, kCounterCount> edge{};

  // As a total: where the tightest limit is reached, holds taken off.
  std::array<std::int64_t, kCounterCount> ceiling{};
  Time look_at{};             // before it, no window ends, and no violation of a rate
  std::int64_t low_edge = 0;  // memory: below it, something re-arms or ends
  std::int64_t peak = 0;      // memory, in the main window
  std::int64_t cpu_base = 0;  // main window
  std::int64_t tokens_base = 0;

  Name name;
  Time main_start{};
  Time day_start{};
  std::int64_t tokens_day_base = 0;
  std::unique_ptr<Extra> extra;

  std::array<Line, 3> lines;     // the first ones; more are in the Rare
  std::int64_t peak_before = 0;  // memory, the highest of earlier windows
  std::uint32_t place = 0;       // among the parent's children
  std::uint16_t generation = 0;
  std::uint16_t terms = 0;  // which, see terms.h
};
static_assert(sizeof(Record) == 256);

}  // namespace mete
