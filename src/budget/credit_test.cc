#include "mete/credit.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

namespace mete {
namespace {

constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kMiB = 1024 * kKiB;
constexpr BudgetKind kLevel = BudgetKind::kLevel;

TEST(CreditTest, SpendsWhatItReservedWithoutMovingTheTree) {
  SharedBudget root(kLevel, 64 * kMiB);
  Budget leaf(kLevel, kNoLimit, &root);
  Credit credit(leaf);
  ASSERT_TRUE(credit.TryCharge(100));
  const std::int64_t in_tree = root.charged();
  EXPECT_EQ(in_tree, 100 + Credit::kDefaultQuantum);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(credit.TryCharge(100));
  EXPECT_EQ(root.charged(), in_tree);
  const BudgetSnapshot shot = root.snapshot();
  EXPECT_EQ(shot.used, 101 * 100) << "used and credited are told apart";
  EXPECT_EQ(shot.credited, in_tree - 101 * 100);
  EXPECT_EQ(leaf.snapshot().credited, shot.credited);
}

TEST(CreditTest, ReturnsWhatIsUnspentAndLeavesWhatIsUsed) {
  SharedBudget root(kLevel, 64 * kMiB);
  {
    Credit credit(root);
    ASSERT_TRUE(credit.TryCharge(1000));
    credit.Flush();
    EXPECT_EQ(root.charged(), 1000);
    EXPECT_EQ(credit.available(), 0);
    ASSERT_TRUE(credit.TryCharge(1000));
  }
  EXPECT_EQ(root.charged(), 2000);
  root.Uncharge(2000);
  EXPECT_EQ(root.charged(), 0);
}

TEST(CreditTest, KeepsAtMostTwoQuantaOfWhatComesBack) {
  SharedBudget root(kLevel, 64 * kMiB);
  Credit credit(root);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(credit.TryCharge(4 * kKiB));
  for (int i = 0; i < 1000; ++i) {
    credit.Uncharge(4 * kKiB);
    ASSERT_LE(credit.available(), 2 * Credit::kDefaultQuantum);
  }
  EXPECT_EQ(root.snapshot().used, 0);
  EXPECT_EQ(root.charged(), credit.available());
}

TEST(CreditTest, TheQuantumShrinksWithTheHeadRoom) {
  SharedBudget root(kLevel, kMiB);
  Credit credit(root);
  ASSERT_TRUE(root.TryCharge(kMiB - 256 * kKiB));
  ASSERT_TRUE(credit.TryCharge(1));
  EXPECT_EQ(credit.available(), 32 * kKiB) << "an eighth of the head-room";
  credit.Flush();
  Credit second(root);
  ASSERT_TRUE(credit.TryCharge(kKiB));
  EXPECT_LE(credit.available(), 16 * kKiB) << "shared by two";
}

TEST(CreditTest, SmallLimitsGetNoneAndStayExact) {
  SharedBudget root(kLevel, 16 * kKiB);
  Credit credit(root);
  for (int i = 1; i <= 16; ++i) {
    ASSERT_TRUE(credit.TryCharge(kKiB));
    EXPECT_EQ(root.charged(), i * kKiB);
  }
  const Charged refused = credit.TryCharge(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().budget, &root);
  EXPECT_EQ(refused.error().charged, 16 * kKiB);
  credit.Uncharge(16 * kKiB);
  EXPECT_EQ(root.snapshot().used, 0);
}

TEST(CreditTest, ARefusalFirstTakesIdleCreditBack) {
  SharedBudget root(kLevel, 2 * kMiB);
  Budget one(kLevel, kNoLimit, &root), two(kLevel, kNoLimit, &root);
  Credit idle(one), busy(two);
  ASSERT_TRUE(idle.TryCharge(1));
  const std::int64_t unspent = idle.available();
  ASSERT_GT(unspent, 0);
  ASSERT_TRUE(busy.TryCharge(2 * kMiB - 1)) << "to the last byte";
  EXPECT_EQ(idle.available(), 0);
  EXPECT_EQ(root.charged(), 2 * kMiB);
  EXPECT_FALSE(busy.TryCharge(1));
  EXPECT_FALSE(idle.TryCharge(1));
  busy.Uncharge(2 * kMiB - 1);
  idle.Uncharge(1);
  EXPECT_EQ(root.snapshot().used, 0);
}

TEST(CreditTest, PlainChargesAndHoldsTakeItBackToo) {
  SharedBudget root(kLevel, kMiB);
  Budget leaf(kLevel, kNoLimit, &root);
  Credit credit(leaf);
  ASSERT_TRUE(credit.TryCharge(1));
  EXPECT_TRUE(root.TryCharge(kMiB - 1));
  root.Uncharge(kMiB - 1);
  credit.Flush();
  ASSERT_TRUE(credit.TryCharge(1));
  auto hold = leaf.Reserve(kMiB - 2);
  ASSERT_TRUE(hold);
  EXPECT_EQ(root.held(), kMiB - 2);
  hold->Release();
  leaf.Uncharge(2);
}

TEST(CreditTest, CreditElsewhereInTheTreeIsLeftAlone) {
  SharedBudget root(kLevel, kNoLimit);
  SharedBudget left(kLevel, kMiB, &root), right(kLevel, kMiB, &root);
  Credit on_left(left), on_right(right);
  ASSERT_TRUE(on_left.TryCharge(1));
  ASSERT_TRUE(on_right.TryCharge(1));
  const std::int64_t unspent = on_right.available();
  EXPECT_FALSE(left.TryCharge(kMiB));
  EXPECT_EQ(on_left.available(), 0);
  EXPECT_EQ(on_right.available(), unspent);
}

TEST(CreditTest, MovesWithItsStock) {
  SharedBudget root(kLevel, 64 * kMiB);
  Credit first(root);
  ASSERT_TRUE(first.TryCharge(1));
  const std::int64_t unspent = first.available();
  Credit second(std::move(first));
  EXPECT_EQ(second.available(), unspent);
  ASSERT_TRUE(second.TryCharge(10));
  EXPECT_EQ(root.snapshot().credited, unspent - 10);
}

TEST(CreditDeathTest, OneThatWasMovedFromCannotBeUsed) {
  SharedBudget root(kLevel, kMiB);
  Credit first(root);
  Credit second(std::move(first));
  EXPECT_DEATH((void)first.TryCharge(1), "linked_");
}

TEST(CreditTest, EdgeAmounts) {
  SharedBudget root(kLevel, 64 * kMiB);
  Credit credit(root);
  EXPECT_TRUE(credit.TryCharge(0));
  EXPECT_EQ(root.charged(), 0);
  EXPECT_EQ(credit.TryCharge(-1).error().reason, Refusal::Reason::kNegative);
  EXPECT_EQ(credit.TryCharge(kNoLimit).error().reason, Refusal::Reason::kLimit);
  ASSERT_TRUE(credit.TryCharge(1));
  EXPECT_EQ(credit.TryCharge(kNoLimit).error().budget, &root);
  EXPECT_EQ(root.snapshot().used, 1);
  SharedBudget unlimited(kLevel);
  Credit all(unlimited);
  ASSERT_TRUE(all.TryCharge(kNoLimit)) << "credit never stands in the way of the last unit";
  EXPECT_EQ(all.TryCharge(1).error().reason, Refusal::Reason::kOverflow);
}

// The bar of the project: with a limit of 1 MiB per thread, idle threads included, nobody is
// refused before 98 % is truly used.
TEST(CreditTest, FirstRefusalComesLate) {
  for (const int threads : {2, 8, 64}) {
    const std::int64_t limit = threads * kMiB;
    SharedBudget root(kLevel, limit);
    std::vector<Credit> idle;
    idle.reserve(static_cast<std::size_t>(threads));
    for (int i = 0; i < threads; ++i) {
      idle.emplace_back(root);
      ASSERT_TRUE(idle.back().TryCharge(1));
    }
    std::int64_t used = threads;
    while (idle[0].TryCharge(136)) used += 136;
    EXPECT_GE(used * 100, limit * 98) << threads;
    EXPECT_LE(used, limit);
    EXPECT_GT(used + 136, limit) << "in fact only when it does not fit";
  }
}

TEST(CreditTest, ThreadsWithCreditNeverPassTheLimitAndLeaveNothing) {
  constexpr int kThreads = 4;
  SharedBudget root(kLevel, 3 * kMiB);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&root, t] {
      SharedBudget session(kLevel, kNoLimit, &root);
      Credit credit(session);
      std::vector<std::int64_t> mine;
      std::uint64_t random = 88172645463325252u + static_cast<std::uint64_t>(t);
      for (int i = 0; i < 20'000; ++i) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        const auto amount = static_cast<std::int64_t>(random % 4096);
        if ((random >> 32 & 1) != 0 && credit.TryCharge(amount)) {
          mine.push_back(amount);
        } else if (!mine.empty()) {
          credit.Uncharge(mine.back());
          mine.pop_back();
        }
        ASSERT_LE(root.charged(), 3 * kMiB);
      }
      for (const std::int64_t amount : mine) credit.Uncharge(amount);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(root.charged(), 0);
  EXPECT_EQ(root.snapshot().credited, 0);
}

}  // namespace
}  // namespace mete
