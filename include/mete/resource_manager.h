// ResourceManager: quotas for agents, sessions and tenants.
//
// Accounts form trees of at most three levels: tenant, session, agent. What is charged to one
// counts on everything above it, in one step. The rules that are referred to by number are those of
// docs/quotas.md.
//
//   auto manager = *ResourceManager::Create({});
//   manager->CreateQuota("agent-1", limits);
//   Result<Receipt> receipt = manager->ReportUsage("agent-1", Amounts().Set(Resource::kTokens,
//   1500));
//
// Decisions are made at once and in pure code; what they ask for (suspend, throttle, terminate) is
// carried out elsewhere: by an Enforcer on the thread of Start(), or by whoever calls TakeIntents.
// So a report never waits for an action.
//
// Thread safety: every function may be called from any thread. Operations within one tenant (or one
// account that has none) are one step each (rule 18); those of different tenants do not wait for
// each other, but for the moment in which an account is created or removed, or an event numbered.
//
// Errors: E2070 no such account, E2071 an argument, and what else a function names. After an error
// nothing was recorded or changed.
//
// Cost: a report of three resources through three levels costs 20 to 40 ns, ten times that where
// the accounts are not in the processor's cache; an account 256 bytes and its names' places.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mete/clock.h"
#include "mete/enforcer.h"
#include "mete/error.h"
#include "mete/quota.h"
#include "mete/quota_event.h"

namespace mete {

class Ledger;  // src/quota/ledger.h
class Store;   // mete/store.h

// cpu "2", memory "2Gi", tokens_per_hour "100000".
ResourceLimits DefaultLimits();

// With a store: when a report, and whatever else changes something, is answered. A report that has
// to wait for the disk does so outside of all locks.
enum class Durability : std::uint8_t {
  kSync,     // on disk; nothing that was answered is lost in a crash
  kBounded,  // recorded in memory, which is never more than 100 ms ahead of the disk
  kNone,     // recorded in memory; written when the manager ends
};
std::string_view NameOf(Durability durability) noexcept;  // "bounded"
std::optional<Durability> FindDurability(std::string_view name) noexcept;

struct ManagerConfig {
  ResourceLimits default_limits = DefaultLimits();  // of agents; see rule 2
  PolicySet policies = DefaultPolicies();
  std::vector<int> thresholds = {80, 95};  // per cent, rising, 1..100, at most seven
  Duration soft_grace_reported{0};         // rule 10
  Duration soft_grace_sampled = std::chrono::seconds(5);
  Duration window = std::chrono::hours(1);  // the main one; >= 1 s
  // Between two records of usage (EventKind::kUsage) of the targets that changed; 0: none.
  Duration usage_report_interval = std::chrono::seconds(60);
  std::size_t events_kept = 4096;                // for readers that fall behind
  Durability durability = Durability::kBounded;  // with a store
  // How long something waits for a disk that does not answer: then a report in kSync is E2079, in
  // kBounded it is answered as not durable. > 0
  Duration store_timeout = std::chrono::seconds(5);
};

struct QuotaOptions {
  std::optional<TargetName> parent;  // a session or tenant; of a session: a tenant
  std::array<std::optional<Policy>, kResourceCount> policies;  // unset: the configured one
  std::optional<Duration> window;                              // the main one; >= 1 s
  bool exist_ok = false;  // an account that is there is answered unchanged, not refused
};

// Why a target is held back.
struct Cause {
  TargetName account;                             // the target, or what is above it
  std::optional<LimitKind> limit = std::nullopt;  // of `account`; unset: an operator
  QuotaAction action = QuotaAction::kSuspend;
  friend bool operator==(const Cause&, const Cause&) = default;
};

// One limit and what stands against it.
struct LimitUsage {
  LimitKind kind = LimitKind::kCpu;
  Limit limit{};
  // What is compared: `cpu` allows its cores for the length of the window, in nanoseconds.
  std::int64_t effective = kUnlimited;
  std::int64_t used = 0;
  std::int64_t held = 0;           // reserved and not settled; rates: 0, what is reserved is used
  std::int64_t peak = 0;           // levels: in this window
  std::optional<Time> reset_at{};  // windows
  Duration elapsed{0};             // windows: since it began
  bool violated = false;

  std::int64_t remaining() const noexcept;  // kUnlimited, or 0 and more
  // What a fleet would be scaled by. Used over limit: 0.8, more than 1 when violated, 0 where
  // unlimited; used per second of this window; and how long the rest lasts at that rate, where it
  // ends at all.
  double load() const noexcept;
  double rate_per_second() const noexcept;
  std::optional<Duration> time_to_exhaustion() const noexcept;
};

struct ResourceQuota {
  TargetName target;
  std::optional<TargetName> parent;
  ResourceLimits limits;  // those that are set, as entered
  PolicySet policies;
  QuotaUsage usage;                 // in the main window
  WallTime reset_at;                // when that ends
  std::vector<LimitUsage> windows;  // every limit that is set, in the order of LimitKind
  std::vector<Cause> causes;        // the target runs freely when there are none
  bool suspended = false;
  bool throttled = false;
  bool terminated = false;
};

// What a report answers.
struct Receipt {
  ResourceSet recorded;  // named and counted
  ResourceSet measured;  // named, but measured from outside, and therefore not counted (rule 15)
  bool suspended = false;
  bool throttled = false;
  bool terminated = false;
  bool action_pending = false;  // this report made a policy ask for something new
  bool replayed = false;        // its key was used before: nothing was counted again
  bool durable = true;          // with a store: false while that cannot be written
  Duration retry_after{0};      // requests: until the next one fits; 0 if it does, or never will
  Duration elapsed{0};          // of the target's main window
  // Of the recorded resources: what the target has used in its main window (of levels, what it
  // holds now); and of all limits on its path the one that leaves the least, and what it leaves.
  std::array<std::int64_t, kResourceCount> used{};
  std::array<std::int64_t, kResourceCount> limit{};
  std::array<std::int64_t, kResourceCount> remaining{};

  // As in LimitUsage: how much of that limit is taken (at most 1), used per second, and how long
  // the rest lasts at that rate.
  double load(Resource resource) const noexcept;
  double rate_per_second(Resource resource) const noexcept;
  std::optional<Duration> time_to_exhaustion(Resource resource) const noexcept;
};

struct Settlement {
  Receipt receipt;
  Amounts used;        // what was counted
  Amounts above_hold;  // the part of it that nothing had been reserved for
};

using HoldId = std::uint64_t;

// An idempotency key counts for 24 hours, also over a restart, but at most kKeysKept of them: 1 to
// 255 bytes; one account's are its own. With another content it is E2071 (rule 17).
inline constexpr std::size_t kKeysKept = 100'000;

struct ReportOptions {
  Source source = Source::kReported;
  std::string_view key{};  // empty: none
};

struct ReserveOptions {
  std::optional<Duration> ttl;  // the last resort: then the hold ends as if its owner had died
  std::string_view key{};       // the second time answers with the same hold, if that is still open
};

// How the store is doing.
struct StoreStatus {
  bool has_store = false;
  bool available = true;         // false from the first write that failed
  WallTime unavailable_since{};  // while it is not
  std::string error{};           // the last one
  Duration oldest_unwritten{0};  // how long ago what is not on disk yet was recorded
  std::uint64_t batches = 0;     // written since the manager was made
  Duration last_write{0}, slowest_write{0};
};

// The owner of a hold, in this process. Ends it when destroyed: released, but for `cost`, which may
// have been spent, and is charged in full (rule 14). Move-only; not for two threads at a time.
class Reservation {
 public:
  Reservation() noexcept = default;
  Reservation(Reservation&& other) noexcept
      : manager_(std::exchange(other.manager_, nullptr)), id_(other.id_) {}
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  // Uses `actual`; what was reserved and is not named was used as reserved. More than was reserved
  // is never refused (rule 14). E2070: it is over, because of its time to live or its account.
  Result<Settlement> Settle(const Amounts& actual);
  Result<void> Release();

  // From now on whoever has the id is the owner, also in a later process where there is a store; a
  // hold without a time to live then has 24 hours from the restart on.
  HoldId Detach() noexcept;
  // From now on whoever has the id is the owner, until this process ends: for those that keep
  // account of their holds themselves.
  HoldId Keep() noexcept { return manager_ = nullptr, id_; }
  HoldId id() const noexcept { return id_; }
  explicit operator bool() const noexcept { return manager_ != nullptr; }

 private:
  friend class ResourceManager;
  Reservation(class ResourceManager* manager, HoldId id) noexcept : manager_(manager), id_(id) {}

  class ResourceManager* manager_ = nullptr;
  HoldId id_ = 0;
};

// An account that was looked up once. Stays E2070 when the account is removed, also if another one
// gets its name.
class QuotaHandle {
 public:
  QuotaHandle() noexcept = default;

 private:
  friend class ResourceManager;
  friend class Ledger;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  std::uint32_t index_ = kNone;
  std::uint32_t above_ = kNone;
  std::uint32_t root_ = kNone;
  std::uint16_t generation_ = 0;
};

class ResourceManager {
 public:
  static constexpr std::size_t kMaxIdBytes = 255;

  // E2071 names the key of the configuration. `clock` outlives the manager.
  static Result<std::unique_ptr<ResourceManager>> Create(ManagerConfig config = {});
  static Result<std::unique_ptr<ResourceManager>> Create(ManagerConfig config, const Clock& clock);
  // Goes on with what the store has; E2079: what is there cannot be read. Has a thread that writes.
  static Result<std::unique_ptr<ResourceManager>> Create(ManagerConfig config, const Clock& clock,
                                                         std::unique_ptr<Store> store);
  ~ResourceManager();  // writes what is left to write. REQUIRES: no Reservation is left

  // An id is 1 to kMaxIdBytes bytes of UTF-8 without '/', and without control characters of any
  // kind. E2076: exists already (unless exist_ok). E2071: also a parent that does not exist, or
  // whose scope is not above.
  Result<ResourceQuota> CreateQuota(Target target, const ResourceLimits& limits = {},
                                    const QuotaOptions& options = {});
  Result<ResourceQuota> GetQuota(Target target);
  // In the order of their creation, or near it.
  std::vector<ResourceQuota> ListQuotas(std::optional<QuotaScope> scope = std::nullopt);
  // Set entries change, unset ones stay (rules 2, 11). E2073 says why not.
  Result<ResourceQuota> UpdateQuota(Target target, const ResourceLimits& limits);
  // Zeroes the windows, clears warnings and the account's own causes (rule 8).
  Result<ResourceQuota> ResetQuota(Target target);
  // Removes the account; nothing happens if there is none. E2080: it has children, or runs; with
  // `cascade` they go too.
  Result<void> CleanupQuota(Target target, bool cascade = false);

  // Records what happened; never refused for a limit (rule 3). Flows are added, levels are set.
  // E2071: a negative amount, a sum that would pass 63 bits.
  Result<Receipt> ReportUsage(Target target, const Amounts& amounts,
                              Source source = Source::kReported);
  Result<Receipt> ReportUsage(QuotaHandle handle, const Amounts& amounts,
                              Source source = Source::kReported);
  // With a key: counts once. E2079 (kSync): recorded, but it is not known whether it is on disk;
  // the same again with its key is safe, without one it counts twice.
  Result<Receipt> ReportUsage(Target target, const Amounts& amounts, const ReportOptions& options);
  Result<QuotaHandle> Resolve(Target target);
  // Since the account was created; a reset leaves it.
  Result<ResourceUsage> GetUsage(Target target);

  // All or nothing over the named resources and the whole path. E2072 names the account and the
  // limit that refused, or what suspends or ends the target, for which nothing at all can be
  // reserved; E2077 the time to retry.
  Result<Reservation> Reserve(Target target, const Amounts& amounts,
                              const ReserveOptions& options = {});
  // As Reservation's; a second settle of one hold answers as the first did.
  Result<Settlement> Settle(HoldId hold, const Amounts& actual);
  Result<void> Release(HoldId hold);
  void Abandon(HoldId hold) noexcept;  // its owner has died

  // By an operator. A resume answers E2072 and names what else holds the target back; `override`
  // lifts those causes, for this target, until their next window or raise (rule 12).
  Result<void> Suspend(Target target);
  Result<void> Resume(Target target, bool override_causes = false);
  Result<void> Terminate(Target target);
  Result<bool> IsThrottled(Target target);
  // Lifts the causes of throttling until their next window or raise.
  Result<void> ClearThrottle(Target target);

  // Whoever runs the target says so: it cannot be removed while it runs, and what is `measured`
  // from outside is not counted when the target reports it (rule 15). `cpu_held`: the kernel holds
  // the rate, so that `cpu` makes no budget of seconds (rule 5).
  struct Running {
    ResourceSet measured;
    bool cpu_held = false;
  };
  Result<void> Attach(Target target, const Running& running);
  // It ended: its levels are given back (rule 13).
  Result<void> Detach(Target target);

  // Windows, rates and holds end by time. Every operation first ends what its own path has to; the
  // rest is done here, by whoever owns the loop.
  std::optional<Time> NextDeadline() const;
  void Advance();

  // Waits until everything up to now is on disk; E2079: it cannot be. Nothing without a store.
  Result<void> Flush();
  StoreStatus store_status() const;

  // From the next event on, or from the one after `sequence`, as far as it is kept. With a store,
  // an event is given out once it is on disk, so that no reader sees one that a crash takes back.
  EventReader Events();
  EventReader EventsAfter(std::uint64_t sequence);

  // What is to be done now, each given out once until it is finished.
  std::vector<Intent> TakeIntents(std::size_t most = 256);
  void FinishIntent(const Intent& intent, const Result<void>& result);

  // One thread that calls Advance in time and, with an enforcer, carries out the intents. `wake` is
  // called there when there are new events or intents; it must not block for long.
  // REQUIRES: not started. Both outlive Stop(), which the destructor calls.
  void Start(Enforcer* enforcer = nullptr, std::function<void()> wake = {});
  void Stop();

  const Clock& clock() const noexcept;

 private:
  friend class Reservation;
  explicit ResourceManager(std::unique_ptr<Ledger> ledger) noexcept;
  void Detach(HoldId hold) noexcept;
  void Drop(HoldId hold);
  void CarryOut(Enforcer& enforcer);

  std::unique_ptr<Ledger> ledger_;
};

}  // namespace mete
