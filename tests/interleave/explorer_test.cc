// The checker itself, on programs whose outcomes are known.
#include "explorer.h"

#include <gtest/gtest.h>

#include <functional>
#include <new>
#include <set>
#include <utility>
#include <vector>

#include "mete/atomic.h"

namespace mete::interleave {
namespace {

struct Shared {
  detail::Atomic<std::int64_t> x, y;
  detail::Mutex first, second;
  std::int64_t seen[4] = {};
};

// Threads as functions over two cells, two mutexes and what each saw.
class Litmus : public Program {
 public:
  using Body = std::function<void(Shared&)>;
  Litmus(std::vector<Body> bodies, Body end) : bodies_(std::move(bodies)), end_(std::move(end)) {}

  int threads() const override { return static_cast<int>(bodies_.size()); }
  std::span<std::byte> memory() override {
    return {reinterpret_cast<std::byte*>(&shared_), sizeof shared_};
  }
  void Thread(int thread) override { bodies_[static_cast<std::size_t>(thread)](shared_); }
  void Changed(int, const void*, std::uint64_t, std::uint64_t) override {}
  void Finished() override {
    const PlainAccess plain;
    end_(shared_);
  }
  std::string NameOf(const void* cell) const override { return cell == &shared_.x ? "x" : "y"; }

 private:
  std::vector<Body> bodies_;
  Body end_;
  Shared shared_;
};

void Add(Shared& shared) { shared.x.store(shared.x.load() + 1); }

TEST(ExplorerTest, FindsEveryOutcomeAndNoOther) {
  std::set<std::int64_t> outcomes;
  Litmus program({Add, Add, Add}, [&](Shared& shared) { outcomes.insert(shared.x.load()); });
  const Exploration result = Explore(program, {.preemptions = Bounds::kAny});
  EXPECT_EQ(result.violation, "");
  EXPECT_EQ(outcomes, (std::set<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(result.depth, 6);
  const Exploration again = Explore(program, {.preemptions = Bounds::kAny});
  EXPECT_EQ(again.executions, result.executions) << "it is deterministic";
  EXPECT_EQ(again.states, result.states);
}

TEST(ExplorerTest, ReportsAViolationWithItsSchedule) {
  Litmus program({Add, Add}, [&](Shared& shared) {
    if (shared.x.load() != 2) Violate("an update is lost");
  });
  EXPECT_EQ(Explore(program, {.preemptions = 0}).violation, "");
  const Exploration result = Explore(program, {.preemptions = 1});
  EXPECT_EQ(result.violation, "an update is lost");
  EXPECT_NE(result.schedule.find("T1   reads x 0\n  T2   reads x 0\n"), std::string::npos)
      << result.schedule;
  EXPECT_NE(result.schedule.find("violation: an update is lost"), std::string::npos);
}

TEST(ExplorerTest, CountsPreemptionsNotSwitches) {
  Litmus program({[](Shared& shared) {
                    shared.x.store(1);
                    shared.x.store(2);
                  },
                  [](Shared& shared) {
                    shared.seen[0] = shared.x.load();
                    shared.seen[1] = shared.x.load();
                  }},
                 [&](Shared& shared) {
                   if (shared.seen[0] == 1 && shared.seen[1] == 2) Violate("saw both");
                 });
  EXPECT_EQ(Explore(program, {.preemptions = 1}).violation, "");
  EXPECT_EQ(Explore(program, {.preemptions = 2}).violation, "saw both");
}

TEST(ExplorerTest, FindsDeadlocksAndWaitsWithoutEnd) {
  const auto lock_both = [](detail::Mutex& one, detail::Mutex& other) {
    one.lock();
    other.lock();
    other.unlock();
    one.unlock();
  };
  Litmus crossed({[&](Shared& shared) { lock_both(shared.first, shared.second); },
                  [&](Shared& shared) { lock_both(shared.second, shared.first); }},
                 [](Shared&) {});
  EXPECT_EQ(Explore(crossed, {}).violation, "deadlock: every thread waits for another");
  Litmus ordered({[&](Shared& shared) { lock_both(shared.first, shared.second); },
                  [&](Shared& shared) { lock_both(shared.first, shared.second); }},
                 [](Shared&) {});
  EXPECT_EQ(Explore(ordered, {}).violation, "");

  const auto wait = [](Shared& shared) {
    while (shared.x.load() == 0) detail::Yield();
  };
  Litmus answered({wait, [](Shared& shared) { shared.x.store(1); }}, [](Shared&) {});
  EXPECT_EQ(Explore(answered, {}).violation, "");
  Litmus forgotten({wait, [](Shared& shared) { shared.y.store(1); }}, [](Shared&) {});
  EXPECT_EQ(Explore(forgotten, {}).violation, "deadlock: every thread waits for another");
}

TEST(ExplorerTest, HoldsStoresBackAsX86DoesWhereAsked) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const auto side = [](int own, auto&& fence) {
    return [own, fence](Shared& shared) {
      (own == 0 ? shared.x : shared.y).store(1, kRelaxed);
      fence();
      shared.seen[own] = (own == 0 ? shared.y : shared.x).load(kRelaxed);
    };
  };
  const auto check = [](Shared& shared) {
    if (shared.seen[0] == 0 && shared.seen[1] == 0) Violate("neither saw the other");
  };
  const auto light = [] { detail::LightFence(); };
  const auto heavy = [] { detail::HeavyFence(); };
  const Bounds buffered{.store_buffers = true};
  Litmus none({side(0, light), side(1, light)}, check);
  EXPECT_EQ(Explore(none, {}).violation, "");
  EXPECT_EQ(Explore(none, buffered).violation, "neither saw the other");
  Litmus fenced({side(0, light), side(1, heavy)}, check);
  EXPECT_EQ(Explore(fenced, buffered).violation, "");
  EXPECT_EQ(Explore(fenced, buffered, {.weak_fence = true}).violation, "neither saw the other");
}

TEST(ExplorerTest, LetsWeakSwapsFailWhereAsked) {
  Litmus program({[](Shared& shared) {
                   std::int64_t expected = 0;
                   if (!shared.x.compare_exchange_weak(expected, 1)) shared.seen[0] = 1;
                 }},
                 [](Shared& shared) {
                   if (shared.seen[0] == 1) Violate("failed alone");
                 });
  EXPECT_EQ(Explore(program, {}).violation, "");
  EXPECT_EQ(Explore(program, {.weak_failures = 1}).violation, "failed alone");
}

}  // namespace
}  // namespace mete::interleave
