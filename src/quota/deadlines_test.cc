#include "quota/deadlines.h"

#include <gtest/gtest.h>

namespace mete {
namespace {

using Kind = Deadlines::Kind;

Time At(std::int64_t second) { return Time(std::chrono::seconds(second)); }

TEST(Deadlines, ComeInTheOrderOfTheirTime) {
  Deadlines deadlines;
  EXPECT_FALSE(deadlines.next());
  EXPECT_TRUE(deadlines.Add({At(5), Kind::kHold, 1}));
  EXPECT_FALSE(deadlines.Add({At(7), Kind::kWindows, 2}));
  EXPECT_TRUE(deadlines.Add({At(3), Kind::kRate, 3}));
  EXPECT_EQ(deadlines.next(), At(3));
  EXPECT_FALSE(deadlines.TakeDue(At(3) - Duration(1)));
  EXPECT_EQ(deadlines.TakeDue(At(3))->id(), 3u);
  EXPECT_EQ(deadlines.TakeDue(At(7))->id(), 1u);
  const auto last = deadlines.TakeDue(At(7));
  ASSERT_TRUE(last);
  EXPECT_EQ(last->kind(), Kind::kWindows);
  EXPECT_FALSE(deadlines.TakeDue(At(7)));
}

// Whoever reserves and settles all day, each with a day to live.
TEST(Deadlines, OfHoldsThatAreOverDoNotPileUp) {
  Deadlines deadlines;
  constexpr std::uint64_t kHolds = 100'000;
  constexpr std::uint64_t kOpen = 1000;  // each hold is over when this many younger ones are there
  deadlines.Add({At(1), Kind::kWindows, 0});
  for (std::uint64_t id = 1; id <= kHolds; ++id) {
    deadlines.DropHolds([&](std::uint64_t other) { return other + kOpen < id; });
    deadlines.Add({At(2), Kind::kHold, id});
  }
  EXPECT_EQ(deadlines.TakeDue(At(1))->kind(), Kind::kWindows) << "only holds are dropped";
  std::uint64_t left = 0, open = 0;
  while (const auto due = deadlines.TakeDue(At(2))) {
    ++left;
    if (due->id() > kHolds - kOpen) ++open;
  }
  EXPECT_EQ(open, kOpen) << "none that is open";
  EXPECT_LE(left, 4096u);
}

}  // namespace
}  // namespace mete
