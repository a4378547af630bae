#include "server/event_feed.h"

#include <utility>

#include "server/workers.h"

namespace mete::server {

EventFeed::EventFeed(ResourceManager& manager, std::uint64_t last, std::function<void()> wake)
    : manager_(manager), wake_(std::move(wake)), last_(last) {
  thread_ = StartThread([this, last] { Run(last); });
}

EventFeed::~EventFeed() {
  ending_ = true;
  ++rearmed_;
  rearmed_.notify_all();
  thread_.join();
}

void EventFeed::Rearm(std::uint64_t last) {
  last_ = last;
  ++rearmed_;
  rearmed_.notify_all();
}

void EventFeed::Run(std::uint64_t last) {
  std::uint64_t seen = 0;
  while (!ending_) {
    EventReader reader = manager_.EventsAfter(last);
    while (!ending_ && !reader.Wait(kRound)) {
    }
    if (ending_) return;
    wake_();
    rearmed_.wait(seen);
    seen = rearmed_;
    last = last_;
  }
}

}  // namespace mete::server
