// Idempotency keys that were used (rule 17): an account's own, kept for 24 hours, but of all
// accounts at most kKeysKept; then the oldest are forgotten early.
//
// Thread safety: any thread; taken inside the lock of a tree, never the other way round. What
// happens to the keys of one account follows the lock of its tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mete/resource_manager.h"
#include "quota/record.h"

namespace mete {

// What is asked with a key, as a number: the same in every process and version. `kind` tells
// reports from reservations.
std::uint64_t ContentOf(std::uint64_t kind, const Amounts& amounts, std::uint64_t more);

class KeyBook {
 public:
  static constexpr Duration kKept = std::chrono::hours(24);
  static constexpr std::size_t kLongest = 255;

  struct Entry {
    std::uint64_t content = 0;
    HoldId hold = 0;
    Time time{};
  };
  using Name = std::pair<RecordIndex, std::string>;

  // E2071: too long.
  static Result<void> Check(std::string_view key);

  // What was asked with it; nothing, where it is new or too old.
  std::optional<Entry> Find(RecordIndex account, std::string_view key, Time now) const;
  std::optional<Entry> FindOfAnyAge(RecordIndex account, std::string_view key) const;
  // REQUIRES: times that do not fall.
  void Remember(RecordIndex account, std::string_view key, const Entry& entry);
  // All of an account's, which is removed.
  std::vector<std::string> Forget(RecordIndex account);

  // Those that were forgotten for their age or number since the last call. Kept from the first call
  // on.
  std::vector<Name> TakeForgotten();
  std::size_t size() const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const {
      return std::hash<std::string_view>()(key);
    }
  };
  struct Kept {
    Entry entry;
    std::uint64_t number = 0;  // of its place in the order
  };
  using Keys = std::unordered_map<std::string, Kept, Hash, std::equal_to<>>;
  struct Place {
    std::uint64_t number;
    Time time;
    Name name;
  };

  bool IsThere(const Place& place) const;
  void ForgetOld(Time now);

  mutable std::mutex mutex_;
  std::unordered_map<RecordIndex, Keys> accounts_;
  std::deque<Place> order_;  // the oldest first; some are gone already
  std::vector<Name> forgotten_;
  std::uint64_t last_ = 0;
  std::size_t size_ = 0;
  bool tells_ = false;
};

}  // namespace mete
