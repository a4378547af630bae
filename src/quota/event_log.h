// The last events, numbered. Whoever appends holds the lock of a tree, so that the numbers follow
// the order of its steps; nobody who reads is waited for.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>

#include "mete/quota_event.h"

namespace mete {

class EventLog {
 public:
  explicit EventLog(std::size_t kept) : kept_(kept) {}

  void Append(Event event);  // gives it its number
  void Close();              // nobody waits any more

  std::uint64_t last() const;
  EventReader::Batch Take(std::uint64_t& next, std::size_t most);
  bool Wait(std::uint64_t next, Duration timeout);

 private:
  const std::size_t kept_;
  mutable std::mutex mutex_;
  std::condition_variable more_;
  std::deque<Event> events_;
  std::uint64_t last_ = 0;
  bool closed_ = false;
};

}  // namespace mete
