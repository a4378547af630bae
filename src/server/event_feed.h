// Tells a loop that there are events: a thread that waits for them, for as long as anyone follows.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "mete/resource_manager.h"

namespace mete::server {

class EventFeed {
 public:
  // `wake` is called on the feed's thread when there is something after `last`; then it waits until
  // Rearm says what was taken. The manager outlives it.
  EventFeed(ResourceManager& manager, std::uint64_t last, std::function<void()> wake);
  ~EventFeed();  // takes up to kRound
  EventFeed(const EventFeed&) = delete;
  EventFeed& operator=(const EventFeed&) = delete;

  // From any thread.
  void Rearm(std::uint64_t last);

 private:
  // Nobody can end a reader's wait, so it is cut into rounds.
  static constexpr Duration kRound = std::chrono::milliseconds(50);

  void Run(std::uint64_t last);

  ResourceManager& manager_;
  std::function<void()> wake_;
  std::atomic<std::uint64_t> rearmed_{0};  // counts calls of Rearm, and the end
  std::atomic<std::uint64_t> last_{0};
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace mete::server
