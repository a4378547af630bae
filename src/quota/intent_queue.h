// Agents whose causes ask for something that was not done yet, in the order in which they were
// found, and what was given out to whoever does it.
//
// Thread safety: any thread; taken inside the lock of a tree, never the other way round.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "mete/enforcer.h"
#include "quota/record.h"

namespace mete {

class IntentQueue {
 public:
  struct InFlight {
    RecordIndex account = kNoRecord;
    std::uint16_t generation = 0;
    Verb verb = Verb::kSuspend;
  };

  void Push(RecordIndex account) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(account);
  }

  std::optional<RecordIndex> Pop() {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return std::nullopt;
    const RecordIndex account = waiting_.front();
    waiting_.pop_front();
    return account;
  }

  bool empty() const {
    const std::lock_guard lock(mutex_);
    return waiting_.empty();
  }

  std::uint64_t GiveOut(const InFlight& intent) {
    const std::lock_guard lock(mutex_);
    given_out_.emplace(++last_, intent);
    return last_;
  }

  // Nothing, if it was finished before.
  std::optional<InFlight> TakeBack(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = given_out_.find(id);
    if (found == given_out_.end()) return std::nullopt;
    const InFlight intent = found->second;
    given_out_.erase(found);
    return intent;
  }

 private:
  mutable std::mutex mutex_;
  std::deque<RecordIndex> waiting_;
  std::unordered_map<std::uint64_t, InFlight> given_out_;
  std::uint64_t last_ = 0;
};

}  // namespace mete
