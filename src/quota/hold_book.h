// The open holds, and the answers to those that were settled lately.
//
// Thread safety: any thread; taken inside the lock of a tree, never the other way round.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "mete/resource_manager.h"
#include "quota/rate_limit.h"
#include "quota/record.h"

namespace mete {

struct OpenHold {
  RecordIndex account = kNoRecord;
  std::uint16_t generation = 0;
  Amounts reserved{};
  std::array<RateLimit::Slot, 3> slots{};  // of requests: account, and those above it
  std::array<std::uint32_t, 3> rates{};    // which of the rate limits there: Extra::rate_number
};

class HoldBook {
 public:
  static constexpr std::size_t kSettledKept = 4096;

  HoldId Open(OpenHold hold) {
    const std::lock_guard lock(mutex_);
    open_.emplace(++last_, std::move(hold));
    return last_;
  }

  std::optional<OpenHold> Find(HoldId id) const {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(id);
    if (found == open_.end()) return std::nullopt;
    return found->second;
  }

  // False if somebody else did.
  bool Close(HoldId id) {
    const std::lock_guard lock(mutex_);
    return open_.erase(id) == 1;
  }

  // At once, so that whoever settles it too finds the hold or the answer.
  void Settle(HoldId id, const Settlement& answer) {
    const std::lock_guard lock(mutex_);
    open_.erase(id);
    settled_.emplace(id, answer);
    order_.push_back(id);
    if (order_.size() <= kSettledKept) return;
    settled_.erase(order_.front());
    order_.pop_front();
  }

  std::optional<Settlement> AnswerOf(HoldId id) const {
    const std::lock_guard lock(mutex_);
    const auto found = settled_.find(id);
    if (found == settled_.end()) return std::nullopt;
    return found->second;
  }

 private:
  mutable std::mutex mutex_;
  HoldId last_ = 0;
  std::unordered_map<HoldId, OpenHold> open_;
  std::unordered_map<HoldId, Settlement> settled_;
  std::deque<HoldId> order_;
};

}  // namespace mete
