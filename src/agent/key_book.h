// Idempotency keys: a request that is sent again with its key counts once (rule 17).
//
// Kept in memory for 24 hours, and at most kMostKeys of them: an agent that reports ten times a
// second fills that in under three hours, and then the oldest are forgotten early. A client sends
// again within seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "agent/key_text.h"
#include "mete/clock.h"

namespace mete::agent {

class KeyBook {
 public:
  static constexpr Duration kKept = std::chrono::hours(24);
  static constexpr std::size_t kMostKeys = 100'000;
  static constexpr std::size_t kLongestKey = agent::kLongestKey;

  struct Entry {
    std::size_t content = 0;   // hash of the request
    std::uint64_t result = 0;  // the caller's to use: the id of a hold
  };

  // What is known of the key; a content other than `entry.content` is another request.
  std::optional<Entry> Find(std::string_view key, Time now);
  void Remember(std::string_view key, Entry entry, Time now);

  std::size_t size() const { return entries_.size(); }

 private:
  void Forget(Time now);

  std::unordered_map<std::string, Entry> entries_;
  std::deque<std::pair<Time, std::string>> order_;  // the oldest first
};

}  // namespace mete::agent
