#include "quota/writer.h"

#include <algorithm>
#include <utility>

#include "base/futex.h"
#include "quota/ledger.h"

namespace mete {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kFirstRetry = milliseconds(100);
constexpr Duration kLastRetry = seconds(5);
constexpr Duration kForever = std::chrono::hours(1);  // then it looks again, and finds nothing
// In kNone, events are written early when there are so many.
constexpr std::size_t kMostEventsWaiting = 50'000;

std::int64_t SteadyNow() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

Writer::Writer(Ledger& ledger, std::unique_ptr<Store> store, const StoredMark& mark)
    : ledger_(ledger),
      store_(std::move(store)),
      durability_(ledger.config.durability),
      timeout_(ledger.config.store_timeout),
      boot_id_(ledger.clock.BootId()),
      unwritten_(bell_, ledger.look_at_disk, Ahead()),
      batch_number_(mark.batch),
      numbered_(mark.last_event) {
  status_.has_store = true;
  ledger_.holds.TakeForgotten();
  ledger_.keys.TakeForgotten();
}

Duration Writer::Ahead() const {
  switch (durability_) {
    case Durability::kSync: return Unwritten::kAlwaysLooks;
    case Durability::kBounded: return kLook;
    case Durability::kNone: break;
  }
  return Unwritten::kNeverLooks;
}

void Writer::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Writer::End() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  bell_.Ring();
  thread_.join();
}

void Writer::Run() {
  while (!stopping_) {
    const Duration wait = UntilNext();
    if (wait > Duration(0)) {
      bell_.Wait(wait);
    } else {
      WriteNext();
    }
  }
  // What could not be written the first time hardly can be now, but it costs nothing to ask.
  for (int failures = 0; failures < 2 && unwritten_.NextBatch() != 0;) {
    if (!WriteNext()) ++failures;
  }
}

Duration Writer::UntilNext() {
  const bool urged = urged_.exchange(false);
  if (unwritten_.NextBatch() == 0) return has_seen_ = false, kForever;
  const Steady::time_point now = Steady::now();
  if (!std::exchange(has_seen_, true)) first_seen_ = now;
  Duration wait = kForever;
  if (durability_ == Durability::kSync) wait = Duration(0);
  if (durability_ == Durability::kBounded) wait = first_seen_ + kPause - now;
  if (retry_pause_ > Duration(0)) wait = retry_at_ - now;
  return urged ? Duration(0) : wait;
}

bool Writer::WriteNext() {
  has_seen_ = false;
  cut_at_ = Steady::now();
  const Unwritten::List list = Cut();
  const StoreBatch& batch = batch_;
  // Numbers of events that are given out, kept or not, never come again.
  const bool is_empty = batch.mark.last_event == numbered_ && batch.removed.empty() &&
                        batch.quotas.empty() && batch.states.sizes.empty() && batch.holds.empty() &&
                        batch.ended_holds.empty() && batch.keys.empty() &&
                        batch.ended_keys.empty() && batch.events.empty();
  if (!is_empty) {
    const std::int64_t began = SteadyNow();
    write_began_ = began;
    const Result<void> result = store_->Write(batch);
    write_began_ = 0;
    const Duration took(SteadyNow() - began);
    {
      const std::lock_guard lock(mutex_);
      status_.last_write = took;
      status_.slowest_write = std::max(status_.slowest_write, took);
    }
    if (!result) return Fail(list.number, result.error()), false;
    ++batch_number_;
    numbered_ = batch.mark.last_event;
  }
  Succeed(list, is_empty);
  if (is_empty) return true;
  write_began_ = SteadyNow();
  store_->CatchUp();
  write_began_ = 0;
  return true;
}

void Writer::Succeed(const Unwritten::List& list, bool is_empty) {
  retry_pause_ = Duration(0);
  unwritten_.ForgetBatch(true);
  bool recovered = false;
  {
    const std::lock_guard lock(mutex_);
    if (!is_empty) ++status_.batches;
    recovered = !std::exchange(status_.available, true);
    if (recovered) {
      status_.unavailable_since = {};
      failing_from_ = 0;
      unwritten_.SetAhead(Ahead());
    }
  }
  if (durability_ != Durability::kNone) ledger_.events->Show(list.last_event);
  // What was put off is in the next one for certain.
  if (list.is_whole) {
    written_ = list.number;
  } else {
    if (last_good_ == list.number - 1) written_ = last_good_;
    urged_ = true;
  }
  last_good_ = list.number;
  has_seen_ = unwritten_.NextBatch() != 0;  // since the cut
  first_seen_ = cut_at_;
  WakeAll();
  if (recovered) {
    TellStore(EventKind::kStoreRecovered,
              events_dropped_ == 0 ? ""
                                   : "the oldest events were lost: " +
                                         std::to_string(std::exchange(events_dropped_, 0)));
  }
  if (std::exchange(shown_, list.last_event) == list.last_event) return;
  ledger_.news = true;
  ledger_.bell.Ring();
}

void Writer::Fail(std::uint64_t number, const Error& error) {
  retry_pause_ = std::clamp(retry_pause_ * 2, kFirstRetry, kLastRetry);
  retry_at_ = Steady::now() + retry_pause_;
  NoteAgain();
  unwritten_.ForgetBatch(false);
  SetUnavailable(error.ToString());
  failed_ = number;
  WakeAll();
}

void Writer::SetUnavailable(const std::string& error) {
  {
    const std::lock_guard lock(mutex_);
    status_.error = error;
    if (!std::exchange(status_.available, false)) return;
    status_.unavailable_since = ledger_.clock.WallNow();
    failing_from_ = SteadyNow();
    // From now on everyone looks, and finds that it is so.
    unwritten_.SetAhead(Unwritten::kAlwaysLooks);
  }
  ledger_.events->Show(EventLog::kAll);
  TellStore(EventKind::kStoreUnavailable, error);
  WakeAll();
}

void Writer::TellStore(EventKind kind, const std::string& detail) {
  Event event{.kind = kind, .time = ledger_.Now(), .wall_time = ledger_.clock.WallNow()};
  event.detail = store_->name() + (detail.empty() ? "" : ": " + detail);
  const Time now = event.time;
  unwritten_.NoteEvent(std::move(event), now,
                       [&](const Event& one) { return ledger_.events->Append(one); });
  ledger_.news = true;
  ledger_.bell.Ring();
}

void Writer::NoteEvent(RecordIndex root, Event event) {
  unwritten_.ChangesOf(root).events.push_back(std::move(event));
  const std::size_t waiting = events_waiting_.fetch_add(1, std::memory_order_relaxed);
  if (durability_ == Durability::kNone && waiting == kMostEventsWaiting) Urge();
}

void Writer::Urge() {
  urged_ = true;
  bell_.Ring();
}

void Writer::WakeAll() {
  news_.fetch_add(1);
  FutexWakeAll(news_);
}

bool Writer::IsAvailable() {
  const std::int64_t began = write_began_;
  if (began != 0 && SteadyNow() - began >= timeout_.count()) {
    SetUnavailable("store: has not answered for " + FormatDuration(timeout_));
  }
  const std::lock_guard lock(mutex_);
  return status_.available;
}

Result<void> Writer::CheckAvailable() {
  if (IsAvailable()) return {};
  const std::lock_guard lock(mutex_);
  return mete::Fail(ErrorCode::kStoreUnavailable,
                    "store: cannot be written, and therefore nothing "
                    "new can be promised: " +
                        store_->name() + ": " + status_.error);
}

bool Writer::MustWait() const {
  if (durability_ != Durability::kBounded) return false;
  const std::int64_t from = ledger_.look_at_disk.load(std::memory_order_relaxed);
  if (from == Unwritten::kAlwaysLooks.count()) return false;  // it is unavailable
  return (ledger_.clock.Now() - (kAhead - kLook)).time_since_epoch().count() >= from;
}

void Writer::AwaitRoom() {
  for (;;) {
    const std::uint32_t seen = news_;
    if (!MustWait() || !IsAvailable()) return;
    Urge();
    FutexWait(news_, seen, timeout_ / 4 + milliseconds(1));
  }
}

Result<void> Writer::Await(std::uint64_t batch) {
  const std::int64_t now = SteadyNow();
  for (;;) {
    const std::uint32_t seen = news_;
    if (written_ >= batch) return {};
    const std::int64_t failing_from = failing_from_;
    const std::int64_t from = failing_from != 0 ? std::min(failing_from, now) : now;
    const std::int64_t left = from + timeout_.count() - SteadyNow();
    if (left <= 0) break;
    FutexWait(news_, seen, Duration(left));
  }
  IsAvailable();
  const std::lock_guard lock(mutex_);
  return mete::Fail(ErrorCode::kStoreUnavailable,
                    "store: recorded, but not on disk within " + FormatDuration(timeout_) +
                        "; safe to ask again only with a key: " + store_->name() + ": " +
                        status_.error);
}

Result<void> Writer::Flush() {
  const std::uint64_t next = unwritten_.NextBatch();
  const std::uint64_t batch = next != 0 ? next : unwritten_.last_batch();
  if (written_ >= batch) return {};
  Urge();
  const std::int64_t until = SteadyNow() + timeout_.count();
  for (;;) {
    const std::uint32_t seen = news_;
    if (written_ >= batch) return {};
    const std::int64_t left = until - SteadyNow();
    if (failed_ >= batch || left <= 0) break;
    FutexWait(news_, seen, Duration(left));
  }
  IsAvailable();
  const std::lock_guard lock(mutex_);
  return mete::Fail(ErrorCode::kStoreUnavailable,
                    "store: could not be written: " + store_->name() + ": " + status_.error);
}

StoreStatus Writer::status() {
  IsAvailable();
  const std::lock_guard lock(mutex_);
  StoreStatus status = status_;
  if (const std::int64_t since = unwritten_.since(); since != Unwritten::kNone) {
    status.oldest_unwritten = std::max(ledger_.clock.Now() - Time(Duration(since)), Duration(0));
  }
  return status;
}

}  // namespace mete
