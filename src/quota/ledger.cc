#include "quota/ledger.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/quote.h"
#include "quota/restore.h"
#include "quota/window.h"

namespace mete {

Ledger::Ledger(ManagerConfig config_in, Thresholds thresholds_in, const Clock& clock_in)
    : config(std::move(config_in)),
      thresholds(thresholds_in),
      clock(clock_in),
      events(std::make_shared<EventLog>(config.events_kept)) {
  const Duration interval = config.usage_report_interval;
  const Time next = interval > Duration(0) ? clock.Now() + interval : Time::max();
  next_usage_report = next.time_since_epoch().count();
}

bool Ledger::Enter(Step& step, Target target) const {
  const std::uint64_t hash = HashOf(target.scope, target.id);
  return names.Find(hash, [&](RecordIndex index, RecordIndex above) {
    Prefetch(index);
    if (above != kNoRecord) Prefetch(above);
    Record& account = records[index];
    Lock(step, account);
    if ((account.flags & Record::kLive) != 0 && ScopeOf(account) == target.scope &&
        IdOf(account) == target.id) {
      SetPath(step, index);
      return true;
    }
    step.Leave();
    return false;
  });
}

// A clock that goes back is taken for one that stands still.
Time Ledger::Now() {
  std::int64_t now = clock.Now().time_since_epoch().count();
  std::int64_t seen = latest.load(std::memory_order_relaxed);
  while (now > seen && !latest.compare_exchange_weak(seen, now, std::memory_order_relaxed)) {
  }
  return Time(Duration(std::max(now, seen)));
}

void Ledger::Begin(Step& step, Access access) {
  step.now = Now();
  if (access == Access::kChange) NotePath(step);
  for (Record* account : step) EndWindows(step, *account);
}

void Ledger::Finish(Step& step) {
  for (Record* account : step) {
    Watch(*account, TermsOf(*account), thresholds);
    ScheduleRate(step, *account);
  }
}

void Ledger::Note(const Step& step, RecordIndex index) {
  if (writer) writer->unwritten().Note(step.root_index, index, records[index], step.now);
}

void Ledger::NotePath(const Step& step) const {
  if (writer == nullptr) return;
  RecordIndex index = step.index;
  for (Record* const account : step) {
    writer->unwritten().Note(step.root_index, index, *account, step.now);
    index = account->parent;
  }
}

bool Ledger::EnterToChange(Step& step, Target target) const {
  return EnterToChange(step, [&] { return Enter(step, target); });
}

std::uint64_t Ledger::BatchOf(const Step& step) const {
  return writer && writer->is_sync() ? writer->unwritten().BatchOf(step.root_index) : 0;
}

Result<void> Ledger::Await(std::uint64_t batch) const {
  return batch == 0 ? Result<void>() : writer->Await(batch);
}

Result<void> Ledger::Conclude(Step& step) const {
  const std::uint64_t batch = BatchOf(step);
  step.Leave();
  return Await(batch);
}

Result<void> Ledger::CheckStore() const {
  return writer ? writer->CheckAvailable() : Result<void>();
}

Error Ledger::NotFound(Target target) const {
  return {ErrorCode::kNotFound,
          std::string(NameOf(target.scope)) + ": no such quota: " + Quoted(target.id), Duration(0)};
}

void Ledger::Emit(Event event, const Step& step, const Record& target, const Record& account,
                  const Line* line) {
  event.time = step.now;
  event.wall_time = clock.WallNow();
  event.target = NameOf(target);
  event.account = NameOf(account);
  if (line != nullptr) {
    event.limit = line->kind;
    event.used = UsedOf(account, line->kind);
  }
  if (writer == nullptr) {
    events->Append(std::move(event));
  } else {
    // Noted before it has its number, so that a batch knows up to which it has all.
    const bool is_kept = event.kind != EventKind::kUsage;
    writer->unwritten().NoteTree(step.root_index, step.now);
    if (is_kept) writer->unwritten().NoteEventOf(step.root_index);
    event.sequence = events->Append(event);
    if (is_kept) writer->NoteEvent(step.root_index, std::move(event));
  }
  news.store(true, std::memory_order_relaxed);
  bell.Ring();
}

namespace {

// E2071 names the key.
Result<Thresholds> CheckConfig(const ManagerConfig& config) {
  const auto spans = std::array<std::pair<const char*, Duration>, 3>{
      {{"soft_grace_reported", config.soft_grace_reported},
       {"soft_grace_sampled", config.soft_grace_sampled},
       {"usage_report_interval", config.usage_report_interval}}};
  for (const auto& [name, span] : spans) {
    if (span >= Duration(0)) continue;
    return Fail(
        ErrorCode::kInvalidArgument,
        std::string(name) + ": negative; allowed: 0s and more, given " + FormatDuration(span));
  }
  if (config.window < kShortestWindow) {
    return Fail(ErrorCode::kInvalidArgument,
                "window: too short; allowed: 1s and more, given " + FormatDuration(config.window));
  }
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit>& limit = config.default_limits[info.kind];
    if (!limit || limit->amount >= 0) continue;
    return Fail(ErrorCode::kInvalidArgument, "default_limits." + std::string(info.name) +
                                                 ": negative; allowed: 0 and more, given " +
                                                 std::to_string(limit->amount));
  }
  if (config.store_timeout <= Duration(0)) {
    return Fail(ErrorCode::kInvalidArgument, "store_timeout: allowed: more than 0s, given " +
                                                 FormatDuration(config.store_timeout));
  }
  return Thresholds::Of(config.thresholds);
}

}  // namespace

Result<std::unique_ptr<ResourceManager>> ResourceManager::Create(ManagerConfig config) {
  return Create(std::move(config), SystemClock::Instance(), nullptr);
}

Result<std::unique_ptr<ResourceManager>> ResourceManager::Create(ManagerConfig config,
                                                                 const Clock& clock) {
  return Create(std::move(config), clock, nullptr);
}

Result<std::unique_ptr<ResourceManager>> ResourceManager::Create(ManagerConfig config,
                                                                 const Clock& clock,
                                                                 std::unique_ptr<Store> store) {
  const Result<Thresholds> thresholds = CheckConfig(config);
  if (!thresholds) return std::unexpected(thresholds.error());
  config.events_kept = std::max<std::size_t>(config.events_kept, 1);
  auto ledger = std::make_unique<Ledger>(std::move(config), *thresholds, clock);
  std::vector<HoldId> orphans;
  if (store != nullptr) {
    Result<std::vector<HoldId>> restored = Restore(*ledger, std::move(store));
    if (!restored) return std::unexpected(restored.error());
    orphans = *std::move(restored);
  }
  std::unique_ptr<ResourceManager> manager(new ResourceManager(std::move(ledger)));
  for (const HoldId hold : orphans) manager->Abandon(hold);
  return manager;
}

ResourceManager::ResourceManager(std::unique_ptr<Ledger> ledger) noexcept
    : ledger_(std::move(ledger)) {}

ResourceManager::~ResourceManager() {
  Stop();
  if (ledger_->writer) ledger_->writer->End();
  ledger_->events->Close();
}

const Clock& ResourceManager::clock() const noexcept { return ledger_->clock; }

EventReader ResourceManager::Events() { return {ledger_->events, ledger_->events->last() + 1}; }

EventReader ResourceManager::EventsAfter(std::uint64_t sequence) {
  constexpr auto kLast = std::numeric_limits<std::uint64_t>::max();
  return {ledger_->events, sequence == kLast ? kLast : sequence + 1};
}

Result<void> ResourceManager::Flush() {
  return ledger_->writer ? ledger_->writer->Flush() : Result<void>();
}

StoreStatus ResourceManager::store_status() const {
  return ledger_->writer ? ledger_->writer->status() : StoreStatus();
}

}  // namespace mete
