#include "quota/event_log.h"

#include <algorithm>
#include <utility>

namespace mete {

EventLog::Kept::Kept(Event&& event)
    : kind(event.kind),
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

Event EventLog::Kept::Restore(std::uint64_t sequence) const {
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

void EventLog::Append(Event event) {
  {
    const std::lock_guard lock(mutex_);
    ++last_;
    events_.emplace_back(std::move(event));
    if (events_.size() > kept_) events_.pop_front();
  }
  more_.notify_all();
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

EventReader::Batch EventLog::Take(std::uint64_t& next, std::size_t most) {
  EventReader::Batch batch;
  const std::lock_guard lock(mutex_);
  const std::uint64_t first = last_ + 1 - events_.size();
  if (next < first) batch.missed = first - std::exchange(next, first);
  if (next > last_) return batch;
  const std::uint64_t end = next + std::min<std::uint64_t>(most, last_ + 1 - next);
  batch.events.reserve(end - next);
  for (; next < end; ++next) batch.events.push_back(events_[next - first].Restore(next));
  return batch;
}

bool EventLog::Wait(std::uint64_t next, Duration timeout) {
  std::unique_lock lock(mutex_);
  more_.wait_for(lock, timeout, [&] { return last_ >= next || closed_; });
  return last_ >= next;
}

EventReader::EventReader(std::shared_ptr<EventLog> log, std::uint64_t next)
    : log_(std::move(log)), next_(next) {}

EventReader::Batch EventReader::Take(std::size_t most) { return log_->Take(next_, most); }

bool EventReader::Wait(Duration timeout) { return log_->Wait(next_, timeout); }

}  // namespace mete
