// What is stored, as rows of the database: docs/durability.md has their columns.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "mete/store.h"
#include "store/connection.h"

namespace mete::store {

// How many rows a table has, and the sum of their sums: kept by each write, compared by each load,
// so that a row which is lost, doubled or of an older time is found as one with other bytes is.
struct TableTotal {
  std::int64_t rows = 0;
  std::uint64_t sum = 0;

  void Add(std::uint64_t row) noexcept { ++rows, sum += row; }
  void Drop(std::uint64_t row) noexcept { --rows, sum -= row; }
  friend bool operator==(const TableTotal&, const TableTotal&) = default;
};

// Events are a chain instead: the sum of each starts from that of the one before, so that the last
// ones are known to be all there without reading the others.
struct EventTotal {
  std::int64_t rows = 0;
  std::uint64_t before = 0;  // the sum that the first one starts from
  std::uint64_t last = 0;    // that of the last one; without any, `before`

  friend bool operator==(const EventTotal&, const EventTotal&) = default;
};

// The row of the table `mark`: where the database stands.
struct MarkRow {
  StoredMark mark;
  TableTotal quotas, usage, holds, keys;
  EventTotal events;
  bool is_copy = false;  // a backup that nobody has opened as a state folder's database
  std::uint64_t sum = 0;
};

// A table each, so that a row of one is none of another.
inline constexpr std::uint64_t kQuotaSeed = 1, kUsageSeed = 2, kHoldSeed = 3, kKeySeed = 4,
                               kMarkSeed = 5;

// What the texts in the rows mean, found once per distinct text.
class TextCache {
 public:
  // The amount of a limit that was entered so; null: it is not one.
  const std::int64_t* AmountOf(LimitKind kind, std::string_view text);
  const PolicySet* PoliciesOf(std::string_view text);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept;
  };
  template <class Value>
  using Map = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;

  std::array<Map<std::int64_t>, kLimitKindCount> amounts_;
  Map<PolicySet> policies_;
};

// Each writes or reads a whole row; false: it is not as it was written. A `*_sum` is the sum of the
// row that was read.
std::uint64_t WriteQuota(RowWriter& row, const StoredQuota& quota);
bool ReadQuota(RowReader& row, TextCache& texts, StoredQuota& quota);
std::uint64_t WriteHold(RowWriter& row, const StoredHold& hold);
bool ReadHold(RowReader& row, StoredHold& hold);
std::uint64_t WriteKey(RowWriter& row, const StoredKey& key);
bool ReadKey(RowReader& row, StoredKey& key);
std::uint64_t WriteEvent(RowWriter& row, const Event& event);
bool ReadEvent(RowReader& row, Event& event);
std::uint64_t WriteMark(RowWriter& row, const MarkRow& mark);
bool ReadMark(RowReader& row, MarkRow& mark);

}  // namespace mete::store
