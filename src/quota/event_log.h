// The last events, numbered. Whoever appends holds the lock of a tree, so that the numbers follow
// the order of its steps; nobody who reads is waited for.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mete/quota_event.h"

namespace mete {

class EventLog {
 public:
  explicit EventLog(std::size_t kept) : kept_(kept) {}

  void Append(Event event);  // gives it its number
  void Close();              // nobody waits any more

  std::uint64_t last() const;  // the number of the last one
  EventReader::Batch Take(std::uint64_t& next, std::size_t most);
  bool Wait(std::uint64_t next, Duration timeout);

 private:
  // An event without what most events have not; its number follows from its place.
  struct Kept {
    explicit Kept(Event&& event);
    Event Restore(std::uint64_t sequence) const;

    EventKind kind;
    std::uint8_t percent;
    std::optional<LimitKind> limit;
    Time time;
    WallTime wall_time;
    TargetName target;
    std::unique_ptr<TargetName> account;  // if it is not the target
    std::int64_t used;
    std::int64_t amount;
    std::int64_t windows;
    std::unique_ptr<std::string> detail;
    std::unique_ptr<ResourceUsage> usage;
  };

  const std::size_t kept_;
  mutable std::mutex mutex_;
  std::condition_variable more_;
  std::deque<Kept> events_;
  std::uint64_t last_ = 0;
  bool closed_ = false;
};

}  // namespace mete
