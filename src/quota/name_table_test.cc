#include "quota/name_table.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace mete {
namespace {

// A table whose indexes have hashes of the test's choosing.
struct Fixture {
  NameTable table;
  std::map<std::uint32_t, std::uint64_t> hashes;

  auto HashOfIndex() {
    return [this](std::uint32_t index) { return hashes.at(index); };
  }
  void Insert(std::uint64_t hash, std::uint32_t index, std::uint32_t above = NameTable::kNone) {
    hashes[index] = hash;
    table.Insert(hash, index, above, HashOfIndex());
  }
  void Erase(std::uint32_t index) {
    table.Erase(hashes.at(index), index, HashOfIndex());
    hashes.erase(index);
  }
  // The account above, of one that is found.
  std::optional<std::uint32_t> Find(std::uint32_t index, std::uint64_t hash) const {
    std::uint32_t found_above = 0;
    const bool found = table.Find(hash, [&](std::uint32_t candidate, std::uint32_t above) {
      found_above = above;
      return candidate == index;
    });
    if (!found) return std::nullopt;
    return found_above;
  }
};

TEST(NameTable, FindsWhatWasInsertedAndNothingElse) {
  Fixture names;
  EXPECT_FALSE(names.Find(0, 0).has_value());
  names.Insert(7, 0);
  names.Insert(~std::uint64_t{0}, NameTable::kMaxIndex, NameTable::kMaxIndex);
  names.Insert(0, 1, 0);
  EXPECT_EQ(names.Find(0, 7), NameTable::kNone);
  EXPECT_EQ(names.Find(NameTable::kMaxIndex, ~std::uint64_t{0}), NameTable::kMaxIndex);
  EXPECT_EQ(names.Find(1, 0), 0u);
  EXPECT_FALSE(names.Find(1, 7).has_value());
  names.Erase(1);
  EXPECT_FALSE(names.Find(1, 0).has_value());
  EXPECT_EQ(names.Find(0, 7), NameTable::kNone);
}

// Entries of one place, of neighbouring places, and around the end of the table.
TEST(NameTable, ClosesItsGapsHoweverTheyWereMade) {
  std::mt19937 random(1);
  for (int game = 0; game < 200; ++game) {
    Fixture names;
    const std::uint64_t places = 1 + random() % 8;
    for (int step = 0; step < 200; ++step) {
      const auto index = static_cast<std::uint32_t>(random() % 40);
      if (names.hashes.contains(index)) {
        names.Erase(index);
      } else {
        // The last places of a table of any size up to 2^16, and the first.
        const std::uint64_t place = 0xfffc + random() % places;
        names.Insert((std::uint64_t{random()} & 3) << 62 | place, index, index + 1);
      }
      for (std::uint32_t one = 0; one < 40; ++one) {
        const auto there = names.hashes.find(one);
        if (there == names.hashes.end()) continue;
        ASSERT_EQ(names.Find(one, there->second), one + 1) << "game " << game;
      }
    }
    for (std::uint32_t one = 0; one < 40; ++one) {
      if (names.hashes.contains(one)) names.Erase(one);
    }
    for (std::uint64_t place = 0xfff0; place < 0x10010; ++place) {
      EXPECT_FALSE(names.table.Find(place, [](std::uint32_t, std::uint32_t) { return true; }));
    }
  }
}

TEST(NameTable, GrowsToHoldAll) {
  Fixture names;
  constexpr std::uint32_t kCount = 100'000;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    names.Insert(HashOf(QuotaScope::kAgent, "agent-" + std::to_string(i)), i, i / 2);
  }
  std::size_t looked_at = 0;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    const bool found =
        names.table.Find(names.hashes[i], [&](std::uint32_t one, std::uint32_t above) {
          ++looked_at;
          return one == i && above == i / 2;
        });
    ASSERT_TRUE(found);
  }
  // Sixteen bits of the hash tell apart what stands side by side: hardly one look too many.
  EXPECT_LT(looked_at, kCount + kCount / 1000);
  for (std::uint32_t i = 0; i < kCount; i += 2) names.Erase(i);
  for (std::uint32_t i = 1; i < kCount; i += 2) {
    ASSERT_EQ(names.Find(i, names.hashes[i]), i / 2);
  }
}

TEST(NameTable, TheHashLooksAtEveryByteTheLengthAndTheScope) {
  std::set<std::uint64_t> seen;
  std::size_t hashed = 0;
  const auto add = [&](QuotaScope scope, const std::string& id) {
    seen.insert(HashOf(scope, id));
    ++hashed;
  };
  for (std::size_t size = 0; size <= 40; ++size) {
    const std::string same(size, 'x');
    add(QuotaScope::kAgent, same);
    for (std::size_t i = 0; i < size; ++i) {
      for (const char c : {'y', ' ', '\xff'}) {
        std::string one = same;
        one[i] = c;
        add(QuotaScope::kAgent, one);
      }
    }
  }
  add(QuotaScope::kSession, "");
  add(QuotaScope::kTenant, "");
  EXPECT_EQ(seen.size(), hashed);
  EXPECT_EQ(HashOf(QuotaScope::kAgent, {}), HashOf(QuotaScope::kAgent, ""));
}

// The low bits place an entry: names that count up must spread over all of them.
TEST(NameTable, TheHashSpreadsNamesThatAreAlike) {
  constexpr int kPlaces = 1 << 10, kNames = kPlaces * 64;
  for (const char* stem : {"agent-", "a", "tenant-0001/session-000001-agent-"}) {
    std::vector<int> at(kPlaces);
    for (int i = 0; i < kNames; ++i) {
      ++at[HashOf(QuotaScope::kAgent, stem + std::to_string(i)) % kPlaces];
    }
    for (const int count : at) {
      EXPECT_GT(count, 24);  // 64, five times its deviation
      EXPECT_LT(count, 104);
    }
  }
}

}  // namespace
}  // namespace mete
