#include "quota/event_log.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace mete {

EventLog::Kept::Kept(Event&& event)
    : sequence(event.sequence),
      kind(event.kind),
      percent(static_cast<std::uint8_t>(event.percent)),
      limit(event.limit),
      time(event.time),
      wall_time(event.wall_time),
      target(std::move(event.target)),
      used(event.used),
      amount(event.amount),
      windows(event.windows) {
  if (event.account != target) account = std::make_unique<TargetName>(std::move(event.account));
  if (!event.detail.empty()) detail = std::make_unique<std::string>(std::move(event.detail));
  if (event.usage != ResourceUsage{}) usage = std::make_unique<ResourceUsage>(event.usage);
}

Event EventLog::Kept::Restore() const {
  Event event{.sequence = sequence,
              .kind = kind,
              .time = time,
              .wall_time = wall_time,
              .target = target,
              .account = account ? *account : target,
              .limit = limit,
              .percent = percent,
              .used = used,
              .amount = amount,
              .windows = windows};
  if (detail) event.detail = *detail;
  if (usage) event.usage = *usage;
  return event;
}

std::uint64_t EventLog::Append(Event event) {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    event.sequence = number = ++last_;
    events_.emplace_back(std::move(event));
    if (events_.size() > kept_) events_.pop_front();
  }
  more_.notify_all();
  return number;
}

void EventLog::Show(std::uint64_t up_to) {
  {
    const std::lock_guard lock(mutex_);
    shown_ = up_to;
  }
  more_.notify_all();
}

void EventLog::Restore(Event event) {
  const std::lock_guard lock(mutex_);
  METE_CHECK(event.sequence > last_);
  last_ = event.sequence;
  events_.emplace_back(std::move(event));
  if (events_.size() > kept_) events_.pop_front();
}

void EventLog::GoOnAfter(std::uint64_t last) {
  const std::lock_guard lock(mutex_);
  last_ = std::max(last_, last);
}

void EventLog::Close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  more_.notify_all();
}

std::uint64_t EventLog::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::deque<EventLog::Kept>::const_iterator EventLog::Find(std::uint64_t next) const {
  const auto found = std::lower_bound(
      events_.begin(), events_.end(), next,
      [](const Kept& kept, std::uint64_t number) { return kept.sequence < number; });
  return found != events_.end() && found->sequence > shown_ ? events_.end() : found;
}

EventReader::Batch EventLog::Take(std::uint64_t& next, std::size_t most) {
  EventReader::Batch batch;
  const std::lock_guard lock(mutex_);
  const std::uint64_t first = events_.empty() ? last_ + 1 : events_.front().sequence;
  if (next < first) batch.missed = first - std::exchange(next, first);
  const auto from = Find(next);
  const auto end = std::partition_point(
      from, events_.cend(), [this](const Kept& kept) { return kept.sequence <= shown_; });
  const auto there = static_cast<std::size_t>(end - from);
  batch.events.reserve(std::min(most, there));
  for (auto at = from; at != end && batch.events.size() < most; ++at) {
    batch.events.push_back(at->Restore());
    next = at->sequence + 1;
  }
  return batch;
}

bool EventLog::Wait(std::uint64_t next, Duration timeout) {
  std::unique_lock lock(mutex_);
  const auto is_there = [&] { return Find(next) != events_.end(); };
  more_.wait_for(lock, timeout, [&] { return is_there() || closed_; });
  return is_there();
}

EventReader::EventReader(std::shared_ptr<EventLog> log, std::uint64_t next)
    : log_(std::move(log)), next_(next) {}

EventReader::Batch EventReader::Take(std::size_t most) { return log_->Take(next_, most); }

bool EventReader::Wait(Duration timeout) { return log_->Wait(next_, timeout); }

}  // namespace mete
