// What is behind a ResourceManager: the accounts, and one step over one of their trees.
//
// Every operation is a Step: it finds an account, holds the lock of its tree for as long as the
// step lasts, first ends what ended by now on the account's path to the root, and leaves the edges
// of that path recomputed. There is one lock per tree, and a step holds one; beneath it come the
// short locks of the event log, the deadlines, the intents and the holds. Above it is one mutex for
// creating and removing accounts.
//
//   accounts_mutex_  >  Record::lock of one root  >  mutexes inside EventLog, Deadlines, ..
//
// The order of one step, which is also the order of its events: what ended by now, account by
// account upwards (windows in the order of their limits, then what resumed); then for each named
// resource, in the order of the enumeration, account by account upwards, each of its limits:
// thresholds rising, the violation, the policy's answer.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "mete/enforcer.h"
#include "mete/resource_manager.h"
#include "quota/bell.h"
#include "quota/counting.h"
#include "quota/deadlines.h"
#include "quota/event_log.h"
#include "quota/hold_book.h"
#include "quota/intent_queue.h"
#include "quota/key_book.h"
#include "quota/name_table.h"
#include "quota/record.h"
#include "quota/slab.h"
#include "quota/terms.h"
#include "quota/text_pool.h"
#include "quota/writer.h"

namespace mete {

constexpr std::uint64_t DeadlineId(RecordIndex index, std::uint16_t generation) {
  return std::uint64_t{generation} << 32 | index;
}

inline constexpr std::uint32_t kCauseFlags =
    Record::kThrottle | Record::kSuspend | Record::kTerminate;

// E2071: a negative amount, or limit.
Result<void> CheckSigns(const Amounts& amounts);
Result<void> CheckLimits(const ResourceLimits& limits);

std::string ToString(const Cause& cause);  // "tokens_per_hour of session s"

// The account's own causes, from its lines and its operator, into its flags.
void KeepCauseFlags(Record& account);

// From the causes (Record::kThrottle, ..) before and after what the receipt is about.
void SetState(Receipt& receipt, std::uint32_t before, std::uint32_t now);

// Whether a step changes something; one that only looks may still end windows.
enum class Access : std::uint8_t { kChange, kLook };

class Ledger {
 public:
  Ledger(ManagerConfig config, Thresholds thresholds, const Clock& clock);

  // An account and what is above it, under the lock of their tree.
  class Step {
   public:
    Step() = default;
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;
    ~Step() { Leave(); }
    void Leave() {
      if (root != nullptr) std::exchange(root, nullptr)->lock.unlock();
    }

    Record& leaf() const { return *path[0]; }
    Record* const* begin() const { return path.data(); }
    Record* const* end() const { return path.data() + size; }

    Record* root = nullptr;
    RecordIndex root_index = kNoRecord;
    RecordIndex index = kNoRecord;  // of the leaf
    std::size_t size = 0;
    std::array<Record*, 3> path;
    Time now{};
  };

  // Reaching accounts (ledger.cc)

  void Lock(Step& step, Record& account) const;
  void SetPath(Step& step, RecordIndex index) const;
  void Prefetch(RecordIndex index) const;
  // Locks the tree and sets the path; false if there is no such account.
  bool Enter(Step& step, Target target) const;
  bool Enter(Step& step, RecordIndex index, std::uint16_t generation) const;
  bool Enter(Step& step, const QuotaHandle& handle) const;
  bool EnterAny(Step& step, RecordIndex index) const;  // whoever has it now
  Time Now();
  // Takes the time, and ends what ended by then on the path.
  void Begin(Step& step, Access access = Access::kChange);
  // Recomputes the edges of the path: what every step that changed something ends with.
  void Finish(Step& step);
  Error NotFound(Target target) const;
  const Terms& TermsOf(const Record& account) const { return terms[account.terms]; }
  template <class Function>
  void ForEachBelow(Record& account, Function&& function);  // agents and sessions
  // With a store: before something is changed. An account of the step's tree, or all of its path.
  void Note(const Step& step, RecordIndex index);
  void NotePath(const Step& step) const;
  // The same as Enter for what changes something: waits first, while memory is as far ahead of the
  // disk as it may be.
  template <class Reach>
  bool EnterToChange(Step& step, Reach&& reach) const;
  bool EnterToChange(Step& step, Target target) const;
  // What a change ends with: leaves, and in kSync waits until it is on disk. In parts: the batch
  // that has it, or 0 where nobody waits.
  Result<void> Conclude(Step& step) const;
  std::uint64_t BatchOf(const Step& step) const;
  Result<void> Await(std::uint64_t batch) const;
  Result<void> CheckStore() const;  // E2079: it cannot be written
  void Emit(Event event, const Step& step, const Record& target, const Record& account,
            const Line* line);

  // Accounts that come and go (accounts.cc)

  Result<std::uint16_t> InternTerms(const QuotaOptions& options);
  Result<void> Insert(Target target, const ResourceLimits& limits, const QuotaOptions& options,
                      std::uint16_t terms_index, ResourceQuota& made, std::uint64_t& batch);
  Result<void> Remove(Step& step, Record& account, bool cascade);
  void Forget(Step& step, Record& account);

  // Limits and windows (limits.cc)

  void SetLimit(Step& step, Record& account, LimitKind kind, const Limit& limit);
  void Reset(Step& step, Record& account);
  void EndWindows(Step& step, Record& account);

  // Recording (report.cc)

  bool ReportQuietly(Step& step, const Amounts& amounts, Receipt& receipt) const;
  // Everything that is not quiet. `reach` enters the account.
  template <class Reach>
  Result<Receipt> ReportWithCare(Step& step, const Amounts& amounts, const ReportOptions& options,
                                 Reach&& reach);
  Result<Receipt> ReportOnce(Step& step, const Amounts& amounts, const ReportOptions& options);
  Result<Receipt> Report(Step& step, const Amounts& amounts, Source source);
  // E2071: a sum on the path would pass 63 bits.
  Result<void> CheckRise(const Step& step, const Amounts& rise, std::int64_t admitted = 0) const;
  // Adds to the whole path. `admitted`: of requests, what their rates have counted already, but no
  // total.
  // REQUIRES: CheckRise, or a level that falls.
  void Count(Step& step, Resource resource, std::int64_t amount, std::int64_t admitted = 0);
  void FillFigures(const Step& step, Receipt& receipt) const;

  // Reservations (holds.cc)

  bool EnterHold(Step& step, HoldId id, std::optional<OpenHold>& hold) const;
  Result<HoldId> HoldOnce(Step& step, const Amounts& amounts, const ReserveOptions& options);
  Result<HoldId> Hold(Step& step, const Amounts& amounts, const ReserveOptions& options);
  Result<Settlement> Settle(Step& step, HoldId id, const OpenHold& hold, const Amounts& actual);
  void Release(Step& step, HoldId id, const OpenHold& hold);
  Settlement AnswerOf(Step& step, const SettledHold& hold);
  void NoteHold(const Step& step, HoldId id);

  // Idempotency keys (report.cc)

  // E2071: used before for something else.
  static constexpr std::uint64_t kReportContent = 1, kHoldContent = 2;
  Result<std::optional<KeyBook::Entry>> FindKey(const Step& step, std::string_view key,
                                                std::uint64_t content);
  void KeepKey(const Step& step, std::string_view key, KeyBook::Entry entry);
  void NoteKey(const Step& step, RecordIndex account, std::string key);
  Result<void> CheckRoom(const Step& step, const Amounts& amounts) const;
  std::optional<Error> RefusalOf(const Step& step, Record& account, const Line& line,
                                 std::int64_t asked) const;
  void GiveBack(Step& step, HoldId id, const OpenHold& hold, std::int64_t requests_used);
  void NoteExcess(Step& step, Resource resource, std::int64_t excess);

  // Policy (policy_steps.cc)

  // After something was charged against the limit, or it was changed. `violating`: whether that is
  // a charge that the policy answers if more is used than the limit.
  void Look(Step& step, Record& account, Line& line, bool violating, Duration grace);
  void LookUpwards(Step& step, Resource resource, bool violating, Duration grace);
  void RaiseEdges(Step& step, Record& account, Line& line);

  // Causes (causes.cc)

  // The index of an account on the path.
  RecordIndex IndexIn(const Step& step, const Record& account) const;
  // line: of the account; null: the operator's suspension.
  void AddCause(Step& step, Record& account, Line* line, QuotaAction action);
  void EndCause(Step& step, Record& account, Line* line, QuotaAction action);
  // Record::kThrottle, kSuspend and kTerminate, own and from above, but for what was lifted.
  std::uint32_t HeldBack(const Record& account) const;
  std::vector<Cause> CausesOf(Record& account) const;
  void Inherit(Step& step, Record& agent);  // one that is new below its ancestors' causes
  void Lift(Step& step, Record& account, QuotaAction action);

  // Intents (intents.cc)

  void QueueIntent(Record& agent, RecordIndex index);

  // Reading (reading.cc)

  LimitUsage UsageOf(const Step& step, const Record& account, const Line& line) const;
  ResourceQuota QuotaOf(const Step& step, Record& account) const;

  // Time (advance.cc)

  void Schedule(Time at, Deadlines::Kind kind, std::uint64_t id);
  void ScheduleRate(const Step& step, Record& account);
  void Due(const Deadlines::Entry& due);  // all kinds but holds
  void ReportUsageOfAll();

  const ManagerConfig config;
  const Thresholds thresholds;
  const Clock& clock;

  std::mutex accounts_mutex;         // creating and removing
  Slab<Record, 8192, 2048> records;  // chunks of 2 MiB
  std::vector<RecordIndex> free_records;
  std::atomic<RecordIndex> record_count{0};
  NameTable names;
  TextPool texts;
  TermsPool terms;

  // With a store: memory may be so far ahead of the disk that whoever changes something has to
  // look, from this time of the coarse clock on (Unwritten::SetAhead); and the flag of records
  // that are noted. Without: never, and none.
  std::atomic<std::int64_t> look_at_disk{std::numeric_limits<std::int64_t>::max()};
  std::uint32_t noted_flag = 0;

  std::shared_ptr<EventLog> events;
  Deadlines deadlines;
  IntentQueue intents;
  HoldBook holds;
  KeyBook keys;
  std::atomic<std::int64_t> latest{0};  // the time of a step is never before an earlier one's
  std::atomic<std::int64_t> next_usage_report;

  Bell bell;
  std::thread thread;
  std::atomic<bool> stopping{false};
  std::atomic<bool> news{false};  // events or intents since the thread last woke somebody

  std::unique_ptr<Writer> writer;  // with a store
};

// The tree may change between reading where its lock is and having it.
inline void Ledger::Lock(Step& step, Record& account) const {
  for (;;) {
    const RecordIndex root = account.root.load(std::memory_order_acquire);
    step.root = &records[root];
    step.root->lock.lock();
    if (account.root.load(std::memory_order_relaxed) == root) [[likely]]
      return;
    step.Leave();
  }
}

inline void Ledger::SetPath(Step& step, RecordIndex index) const {
  step.index = index;
  step.size = 0;
  do {
    Record& account = records[index];
    step.path[step.size++] = &account;
    step.root_index = index;
    index = account.parent;
  } while (index != kNoRecord);
}

// Of a hundred thousand accounts hardly one is in the processor's cache. So its lines, and those of
// the account above, are asked for at once, and not each when the one before has come.
inline void Ledger::Prefetch(RecordIndex index) const {
  const char* const line = reinterpret_cast<const char*>(&records[index]);
  __builtin_prefetch(line, 1);
  __builtin_prefetch(line + 64, 1);
  __builtin_prefetch(line + 128);
}

inline bool Ledger::EnterAny(Step& step, RecordIndex index) const {
  Record& account = records[index];
  Lock(step, account);
  if ((account.flags & Record::kLive) == 0) return step.Leave(), false;
  SetPath(step, index);
  return true;
}

inline bool Ledger::Enter(Step& step, RecordIndex index, std::uint16_t generation) const {
  if (!EnterAny(step, index)) return false;
  if (step.leaf().generation != generation) return step.Leave(), false;
  return true;
}

// Takes the lock where it was when the handle was made: an account stays in its tree for as long as
// it has its generation.
inline bool Ledger::Enter(Step& step, const QuotaHandle& handle) const {
  Prefetch(handle.index_);
  if (handle.above_ != kNoRecord) Prefetch(handle.above_);
  Record& account = records[handle.index_];
  step.root = &records[handle.root_];
  step.root->lock.lock();
  if (account.root.load(std::memory_order_relaxed) != handle.root_ ||
      (account.flags & Record::kLive) == 0 || account.generation != handle.generation_) {
    return step.Leave(), false;
  }
  SetPath(step, handle.index_);
  return true;
}

template <class Reach>
bool Ledger::EnterToChange(Step& step, Reach&& reach) const {
  while (reach()) {
    if (writer == nullptr || !writer->MustWait()) return true;
    step.Leave();
    writer->AwaitRoom();
  }
  return false;
}

template <class Function>
void Ledger::ForEachBelow(Record& account, Function&& function) {
  if (!account.extra) return;
  for (const RecordIndex index : account.extra->children) {
    Record& child = records[index];
    function(child, index);
    ForEachBelow(child, function);
  }
}

}  // namespace mete
