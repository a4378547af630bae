// The core under real threads, 2 to 64 of them; run under ThreadSanitizer too. What was granted is
// counted outside of the core: added after a grant, taken off before it is given back, so that the
// outside count is never more than what is truly in use.
//
// METE_TEST_SEED=n varies the operations.
#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "mete/budget.h"
#include "mete/credit.h"

namespace mete {
namespace {

constexpr BudgetKind kLevel = BudgetKind::kLevel;
constexpr BudgetKind kFlow = BudgetKind::kFlow;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kOperations = 60'000;  // of all threads of a test together
#else
constexpr int kOperations = 600'000;
#endif

std::uint64_t Seed() {
  const char* text = std::getenv("METE_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}

// Runs body(thread, random) on so many threads, which begin together.
template <class Body>
void RunThreads(int count, Body&& body) {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937_64 random(Seed() * 1000 + static_cast<std::uint64_t>(i));
      ready.fetch_add(1);
      while (ready.load() < count) sched_yield();
      body(i, random);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Tenant, two sessions, four leaves; each node with what was granted on it, counted outside.
struct Tree {
  SharedBudget tenant;
  std::array<SharedBudget, 2> sessions;
  std::array<Budget, 4> leaves;
  std::array<std::atomic<std::int64_t>, 7> granted{};

  explicit Tree(BudgetKind kind)
      : tenant(kind, 5'000),
        sessions{{SharedBudget(kind, 3'000, &tenant), SharedBudget(kind, 4'000, &tenant)}},
        leaves{{Budget(kind, 1'000, &sessions[0]), Budget(kind, 2'500, &sessions[0]),
                Budget(kind, 2'000, &sessions[1]), Budget(kind, kNoLimit, &sessions[1])}} {}

  // The indices in `granted` of a leaf and of the nodes above it.
  static std::array<std::size_t, 3> Path(std::size_t leaf) { return {0, 1 + leaf / 2, 3 + leaf}; }
  const Budget& Node(std::size_t index) const {
    if (index == 0) return tenant;
    return index < 3 ? sessions[index - 1] : leaves[index - 3];
  }

  void AfterGrant(std::size_t leaf, std::int64_t amount) {
    for (const std::size_t index : Path(leaf)) {
      const std::int64_t now = granted[index].fetch_add(amount) + amount;
      ASSERT_LE(now, Node(index).limit()) << "node " << index;
    }
  }
  void BeforeReturn(std::size_t leaf, std::int64_t amount) {
    for (const std::size_t index : Path(leaf)) granted[index].fetch_sub(amount);
  }
  void ExpectEmpty() const {
    for (std::size_t index = 0; index < granted.size(); ++index) {
      const BudgetSnapshot shot = Node(index).snapshot();
      EXPECT_EQ(shot.charged, 0) << "node " << index;
      EXPECT_EQ(shot.held, 0) << "node " << index;
      EXPECT_EQ(shot.credited, 0) << "node " << index;
      EXPECT_LE(shot.peak, shot.limit) << "node " << index;
      EXPECT_EQ(granted[index].load(), 0) << "node " << index;
    }
  }
};

// What a thread has of a leaf, some of it used and some on hold.
class Worker {
 public:
  Worker(Tree& tree, std::size_t leaf) : tree_(tree), leaf_(leaf), budget_(tree.leaves[leaf]) {}

  void Do(std::mt19937_64& random) {
    const auto amount = static_cast<std::int64_t>(random() % 400);
    switch (random() % 5) {
      case 0:
        if (budget_.TryCharge(amount)) Keep(amount);
        break;
      case 1:
        if (used_ > 0) GiveBack(std::min(amount, used_));
        break;
      case 2:
        if (auto hold = budget_.Reserve(amount); hold && !hold_) {
          tree_.AfterGrant(leaf_, amount);
          hold_ = std::move(*hold);
        }  // or it ends at once
        break;
      case 3: EndHold(amount); break;
      default: EXPECT_GE(budget_.snapshot().charged, used_);
    }
  }
  void Finish() {
    EndHold(0);
    GiveBack(used_);
  }

 private:
  void Keep(std::int64_t amount) {
    tree_.AfterGrant(leaf_, amount);
    used_ += amount;
  }
  void GiveBack(std::int64_t amount) {
    tree_.BeforeReturn(leaf_, amount);
    budget_.Uncharge(amount);
    used_ -= amount;
  }
  void EndHold(std::int64_t amount) {
    if (!hold_) return;
    const std::int64_t used = std::min(amount, hold_.amount());
    tree_.BeforeReturn(leaf_, hold_.amount() - used);
    ASSERT_TRUE(hold_.Settle(used).has_value());
    used_ += used;
  }

  Tree& tree_;
  std::size_t leaf_;
  Budget& budget_;
  std::int64_t used_ = 0;
  Hold hold_;
};

TEST(RaceTest, WhatIsGrantedNeverPassesALimitAndNothingIsLeft) {
  for (const int threads : {2, 4, 16, 64}) {
    Tree tree(kLevel);
    RunThreads(threads, [&](int thread, std::mt19937_64& random) {
      Worker worker(tree, static_cast<std::size_t>(thread) % 4);
      for (int i = 0; i < kOperations / threads; ++i) worker.Do(random);
      worker.Finish();
    });
    tree.ExpectEmpty();
  }
}

// As above through credit, which comes, moves and goes.
TEST(RaceTest, CreditNeverPassesALimitAndLeavesNothing) {
  for (const int threads : {2, 4, 16, 64}) {
    Tree tree(kLevel);
    std::atomic<int> refused{0};
    RunThreads(threads, [&](int thread, std::mt19937_64& random) {
      const std::size_t leaf = static_cast<std::size_t>(thread) % 4;
      std::optional<Credit> credit;
      std::int64_t used = 0;
      for (int i = 0; i < kOperations / threads; ++i) {
        if (!credit) credit.emplace(tree.leaves[leaf], 64);
        const auto amount = static_cast<std::int64_t>(random() % 100);
        const std::uint64_t what = random() % 64;
        if (what == 0) {
          credit.reset();
        } else if (what == 1) {
          std::optional<Credit> moved(std::move(*credit));
          credit.reset();
          credit.emplace(std::move(*moved));
        } else if (what == 2) {
          credit->Flush();
        } else if (what == 3) {
          EXPECT_GE(tree.tenant.snapshot().charged, used);
        } else if (what % 2 == 0 && used > 0) {
          const std::int64_t back = std::min(amount, used);
          tree.BeforeReturn(leaf, back);
          credit->Uncharge(back);
          used -= back;
        } else if (credit->TryCharge(amount)) {
          tree.AfterGrant(leaf, amount);
          used += amount;
        } else {
          refused.fetch_add(1, std::memory_order_relaxed);
        }
      }
      if (!credit) credit.emplace(tree.leaves[leaf], 64);
      tree.BeforeReturn(leaf, used);
      credit->Uncharge(used);
    });
    EXPECT_TRUE(threads < 16 || refused.load() > 0) << "the limits were never reached";
    tree.ExpectEmpty();
  }
}

// A limit holds for every charge that begins after it was set. In even turns it stands; in odd ones
// it is being set, and the larger of the two may hold. Only charges within one turn are judged.
TEST(RaceTest, LimitsChangeWhileThreadsCharge) {
  for (const int threads : {2, 8, 32}) {
    SharedBudget root(kLevel, 1'000);
    Budget leaf(kLevel, kNoLimit, &root);
    std::atomic<std::int64_t> granted{0};
    std::atomic<std::int64_t> allowed{1'000};
    std::atomic<std::uint64_t> turn{0};
    std::atomic<bool> done{false};
    std::atomic<int> judged{0};
    std::thread setter([&] {
      std::mt19937_64 random(Seed());
      std::int64_t limit = 1'000;
      // On a busy machine a charge rarely fits between two changes of the limit.
      for (int i = 0; i < 100 || (judged.load() == 0 && i < 20'000); ++i) {
        const auto next = static_cast<std::int64_t>(random() % 2'000);
        turn.fetch_add(1);
        allowed.store(std::max(limit, next));
        root.SetLimit(next);
        allowed.store(next);
        turn.fetch_add(1);
        limit = next;
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      done.store(true);
    });
    RunThreads(threads, [&](int, std::mt19937_64& random) {
      Credit credit(leaf, 16);
      std::int64_t used = 0;
      while (!done.load()) {
        const auto amount = static_cast<std::int64_t>(1 + random() % 50);
        if (random() % 2 == 0 && used > 0) {
          const std::int64_t back = std::min(used, amount);
          granted.fetch_sub(back);
          credit.Uncharge(back);
          used -= back;
          continue;
        }
        const std::uint64_t began = turn.load();
        const std::int64_t most = allowed.load();
        if (random() % 2 == 0 ? credit.TryCharge(amount) : leaf.TryCharge(amount)) {
          const std::int64_t now = granted.fetch_add(amount) + amount;
          used += amount;
          if (began % 2 == 0 && turn.load() == began) {
            EXPECT_LE(now, most);
            judged.fetch_add(1);
          }
        }
      }
      granted.fetch_sub(used);
      credit.Uncharge(used);
    });
    setter.join();
    EXPECT_GT(judged.load(), 0);
    EXPECT_EQ(root.charged(), 0);
    EXPECT_EQ(leaf.charged(), 0);
  }
}

struct Taken {
  std::atomic<int> low{0}, high{0}, limit{0};

  void Count(Edges edges) {
    if ((edges.thresholds & 1) != 0) low.fetch_add(1);
    if ((edges.thresholds & 2) != 0) high.fetch_add(1);
    if (edges.limit) limit.fetch_add(1);
  }
};

// While the use only rises, each edge is taken once, by a thread that was told of it.
TEST(RaceTest, EachEdgeOfARisingUseIsTakenOnce) {
  for (const BudgetKind kind : {kLevel, kFlow}) {
    for (const int threads : {2, 8, 64}) {
      SharedBudget root(kind, 1'000);
      Budget left(kind, kNoLimit, &root), right(kind, kNoLimit, &root);
      for (int round = 1; round <= 20; ++round) {
        Taken taken;
        std::atomic<std::int64_t> used{0};
        RunThreads(threads, [&](int thread, std::mt19937_64& random) {
          Budget& leaf = thread % 2 == 0 ? left : right;
          while (used.load() <= 1'100) {
            const auto amount = static_cast<std::int64_t>(1 + random() % 5);
            const Charged charged = leaf.Charge(amount);
            used.fetch_add(amount);
            if (charged->edges) leaf.DrainEdges([&](Budget&, Edges edges) { taken.Count(edges); });
          }
        });
        EXPECT_EQ(taken.low.load(), 1);
        EXPECT_EQ(taken.high.load(), 1);
        EXPECT_EQ(taken.limit.load(), 1);
        EXPECT_FALSE(root.TakeEdges());
        if (kind == kFlow) {
          EXPECT_EQ(root.Roll(), used.load());
        } else {
          left.Uncharge(left.charged());
          right.Uncharge(right.charged());
        }
      }
    }
  }
}

// Nothing is lost between windows, whatever is charged, held or refused while they are rolled.
TEST(RaceTest, WindowsAddUpToWhatWasGranted) {
  for (const int threads : {2, 8, 32}) {
    SharedBudget tenant(kFlow, 200'000);
    Budget leaf(kFlow, 1'000, &tenant);
    std::atomic<std::int64_t> granted{0};
    std::atomic<int> running{threads};
    std::int64_t rolled = 0;
    std::thread roller([&] {
      while (running.load() > 0) {
        const std::int64_t window = leaf.Roll();
        EXPECT_GE(window, 0);
        EXPECT_GE(leaf.charged(), 0);
        rolled += window;
      }
    });
    RunThreads(threads, [&](int, std::mt19937_64& random) {
      for (int i = 0; i < kOperations / threads; ++i) {
        const auto amount = static_cast<std::int64_t>(random() % 300);
        if (random() % 2 == 0) {
          if (leaf.TryCharge(amount)) granted.fetch_add(amount);
        } else if (auto hold = leaf.Reserve(amount)) {
          if (hold->Settle(amount / 2)) granted.fetch_add(amount / 2);
        }
      }
      running.fetch_sub(1);
    });
    roller.join();
    EXPECT_EQ(rolled + leaf.used(), granted.load());
    EXPECT_EQ(tenant.used(), granted.load()) << "its own window was not rolled";
    EXPECT_LE(tenant.used(), 200'000);
    EXPECT_EQ(leaf.held(), 0);
    EXPECT_EQ(leaf.charged(), leaf.used());
  }
}

// With a limit of 1 MiB per thread, idle threads with credit included, the first refusal comes when
// at least 98 % is truly used.
TEST(RaceTest, TheFirstRefusalWithCreditComesLate) {
  for (const int threads : {2, 8, 64}) {
    const std::int64_t limit = threads * std::int64_t{1024 * 1024};
    SharedBudget root(kLevel, limit);
    std::atomic<std::int64_t> used{0};
    std::atomic<int> stocked{0};
    std::atomic<bool> refused{false};
    std::int64_t at_refusal = 0;
    RunThreads(threads, [&](int thread, std::mt19937_64& random) {
      Credit credit(root);
      ASSERT_TRUE(credit.TryCharge(100));
      used.fetch_add(100);
      stocked.fetch_add(1);
      while (stocked.load() < threads) sched_yield();
      const bool idle = thread % 2 == 1;
      while (!refused.load()) {
        const auto amount = static_cast<std::int64_t>(16 + random() % 241);
        if (idle) {
          sched_yield();
        } else if (credit.TryCharge(amount)) {
          used.fetch_add(amount);
        } else if (!refused.exchange(true)) {
          at_refusal = used.load();
        }
      }
    });
    EXPECT_GE(at_refusal, limit / 100 * 98) << threads << " threads";
    EXPECT_LE(used.load(), limit);
    EXPECT_EQ(root.charged(), used.load());
    root.Uncharge(used.load());
  }
}

}  // namespace
}  // namespace mete
