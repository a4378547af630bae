// The accounting core beside its peers. Rows are named workload/who; bars.json holds the bars.
//
//   charge3_credit_*   8192 charges of 16-256 B in a 3-level tree with limits, then their release
//   charge3_exact_*    8192 charges while the use rises, given back in one step
//   ..._2t             both threads on one budget; the time is per operation of one thread, the
//                      median of the bursts that count (bursts.h), with `bursts` saying how many
//   first_refusal      `fraction`: what was truly used of the limit when the first thread with
//                      credit was refused, the smallest of all runs
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bursts.h"
#include "mete/budget.h"
#include "mete/credit.h"

namespace mete::bench {
namespace {

constexpr int kOperations = 8192;
constexpr std::int64_t kLimit = std::int64_t{1} << 40;
constexpr BudgetKind kLevel = BudgetKind::kLevel;

const std::array<std::int64_t, kOperations>& Sizes() {
  static const auto sizes = [] {
    std::array<std::int64_t, kOperations> made{};
    std::uint32_t random = 2463534242u;
    for (auto& size : made) {
      random ^= random << 13, random ^= random >> 17, random ^= random << 5;
      size = 16 + random % 241;
    }
    return made;
  }();
  return sizes;
}

struct MeteTree {
  SharedBudget root{kLevel, kLimit}, middle{kLevel, kLimit, &root}, leaf{kLevel, kLimit, &middle};
};

// The peer: one compare-and-swap with a limit per level, each level on its own cache lines.
struct CasTree {
  struct alignas(128) Node {
    std::atomic<std::int64_t> used{0};
    std::int64_t limit = kLimit;
  };
  Node nodes[3];

  bool TryCharge(std::int64_t amount) {
    for (int i = 0; i < 3; ++i) {
      std::int64_t used = nodes[i].used.load(std::memory_order_relaxed);
      do {
        if (amount > nodes[i].limit - used) {
          while (i-- > 0) nodes[i].used.fetch_sub(amount);
          return false;
        }
      } while (!nodes[i].used.compare_exchange_weak(used, used + amount));
    }
    return true;
  }
  void Uncharge(std::int64_t amount) {
    for (Node& node : nodes) node.used.fetch_sub(amount);
  }
};

// The peer without limits: what three bare additions cost.
struct AddTree {
  struct alignas(128) Node {
    std::atomic<std::int64_t> used{0};
  };
  Node nodes[3];

  bool TryCharge(std::int64_t amount) {
    for (Node& node : nodes) node.used.fetch_add(amount);
    return true;
  }
  void Uncharge(std::int64_t amount) {
    for (Node& node : nodes) node.used.fetch_sub(amount);
  }
};

// The peer that most programs write first: a mutex around a map of counters by name.
class MapAccounting {
 public:
  bool TryCharge(std::int64_t amount) {
    const std::lock_guard lock(mutex_);
    for (const std::string& name : names_) {
      Entry& entry = entries_[name];
      if (amount > kLimit - entry.used) return false;
      entry.used += amount;
      entry.peak = std::max(entry.peak, entry.used);
      ++entry.count;
    }
    return true;
  }
  void Uncharge(std::int64_t amount) {
    const std::lock_guard lock(mutex_);
    for (const std::string& name : names_) entries_[name].used -= amount;
  }

 private:
  struct Entry {
    std::int64_t used = 0, peak = 0, count = 0;
  };
  std::mutex mutex_;
  std::array<std::string, 3> names_ = {"process", "heap", "subsystem"};
  std::unordered_map<std::string, Entry> entries_;
};

template <class Charger>
void ChargeAndRelease(Charger& charger, int operations) {
  const auto& sizes = Sizes();
  for (int i = 0; i < operations; ++i) {
    benchmark::DoNotOptimize(charger.TryCharge(sizes[static_cast<std::size_t>(i)]));
  }
  for (int i = 0; i < operations; ++i) charger.Uncharge(sizes[static_cast<std::size_t>(i)]);
}

// One thread: an iteration is one charge or one release.
template <class Charger>
void OneThread(benchmark::State& state, Charger& charger) {
  while (state.KeepRunningBatch(2 * kOperations)) ChargeAndRelease(charger, kOperations);
}

void CreditOneThread(benchmark::State& state) {
  MeteTree tree;
  Credit credit(tree.leaf);
  OneThread(state, credit);
}
BENCHMARK(CreditOneThread)->Name("charge3_credit_1t/mete");

void CasOneThread(benchmark::State& state) {
  CasTree tree;
  OneThread(state, tree);
}
BENCHMARK(CasOneThread)->Name("charge3_credit_1t/cas");

template <class Tree>
void RisingOneThread(benchmark::State& state, Tree& tree) {
  const auto& sizes = Sizes();
  std::int64_t total = 0;
  for (const std::int64_t size : sizes) total += size;
  while (state.KeepRunningBatch(kOperations)) {
    for (const std::int64_t size : sizes) benchmark::DoNotOptimize(tree.TryCharge(size));
    tree.Uncharge(total);
  }
}

void ExactOneThread(benchmark::State& state) {
  MeteTree tree;
  RisingOneThread(state, tree.leaf);
}
BENCHMARK(ExactOneThread)->Name("charge3_exact_1t/mete");

void AddOneThread(benchmark::State& state) {
  AddTree tree;
  RisingOneThread(state, tree);
}
BENCHMARK(AddOneThread)->Name("charge3_exact_1t/add");

// Two threads: one iteration is a whole series of bursts, its time the median of an operation.
void Report(benchmark::State& state, const BurstResult& result) {
  if (result.counted == 0) {
    state.SkipWithError("no burst in which both threads ran without preemption");
    return;
  }
  state.SetIterationTime(result.median_ns * 1e-9);
  state.counters["bursts"] = result.counted;
  state.counters["tried"] = result.tried;
}

constexpr int kBursts = 60;
constexpr int kTries = 1500;

template <class Charger>
void ReleaseTwoThreads(benchmark::State& state, Charger* (&chargers)[2], int operations) {
  // Some 0.2 ms long, so that meeting at the start weighs nothing.
  for (auto _ : state) {
    BurstResult result = MeasureBursts(
        operations, kBursts, kTries,
        [&](int self, int count) {
          for (; count > 0; count -= kOperations) {
            ChargeAndRelease(*chargers[self], std::min(count, kOperations));
          }
        },
        [] {});
    result.median_ns /= 2;  // a charge and a release are two operations
    Report(state, result);
  }
}

template <class Charger>
void RisingTwoThreads(benchmark::State& state, Charger& charger, int operations) {
  const auto& sizes = Sizes();
  std::int64_t total = 0;
  for (int i = 0; i < operations; ++i) total += sizes[static_cast<std::size_t>(i)];
  for (auto _ : state) {
    const BurstResult result = MeasureBursts(
        operations, kBursts, kTries,
        [&](int, int count) {
          for (int i = 0; i < count; ++i) {
            benchmark::DoNotOptimize(charger.TryCharge(sizes[static_cast<std::size_t>(i)]));
          }
        },
        [&] { charger.Uncharge(2 * total); });
    Report(state, result);
  }
}

void CreditTwoThreads(benchmark::State& state) {
  MeteTree tree;
  Credit one(tree.leaf), two(tree.leaf);
  Credit* credits[2] = {&one, &two};
  ReleaseTwoThreads(state, credits, 8 * kOperations);
}
BENCHMARK(CreditTwoThreads)->Name("charge3_credit_2t/mete")->UseManualTime()->Iterations(1);

void CasTwoThreads(benchmark::State& state) {
  CasTree tree;
  CasTree* trees[2] = {&tree, &tree};
  ReleaseTwoThreads(state, trees, 1000);
}
BENCHMARK(CasTwoThreads)->Name("charge3_credit_2t/cas")->UseManualTime()->Iterations(1);

void MapTwoThreads(benchmark::State& state) {
  MapAccounting map;
  MapAccounting* maps[2] = {&map, &map};
  ReleaseTwoThreads(state, maps, 500);
}
BENCHMARK(MapTwoThreads)->Name("charge3_credit_2t/mutex_map")->UseManualTime()->Iterations(1);

void ExactTwoThreads(benchmark::State& state) {
  MeteTree tree;
  RisingTwoThreads(state, tree.leaf, 2000);
}
BENCHMARK(ExactTwoThreads)->Name("charge3_exact_2t/mete")->UseManualTime()->Iterations(1);

void AddTwoThreads(benchmark::State& state) {
  AddTree tree;
  RisingTwoThreads(state, tree, 2000);
}
BENCHMARK(AddTwoThreads)->Name("charge3_exact_2t/add")->UseManualTime()->Iterations(1);

// Threads charge until one of them is refused; half of them charge once and go idle. Returns the
// share of the limit that was truly used then.
double FractionAtFirstRefusal(int threads) {
  const std::int64_t limit = threads * (std::int64_t{1} << 20);
  SharedBudget root(kLevel, limit);
  std::atomic<std::int64_t> used{0};
  std::atomic<int> ready{0};
  std::atomic<bool> refused{false};
  std::int64_t at_refusal = 0;
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      Credit credit(root);
      ready.fetch_add(1);
      while (ready.load() < threads) sched_yield();
      const bool idle = t % 2 == 1;
      std::uint32_t random = 2463534242u + static_cast<std::uint32_t>(t);
      for (int i = 0; !refused.load(std::memory_order_relaxed); ++i) {
        if (idle && i > 0) {
          sched_yield();
          continue;
        }
        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        const std::int64_t amount = 16 + random % 241;
        if (credit.TryCharge(amount)) {
          used.fetch_add(amount);
        } else if (!refused.exchange(true)) {
          at_refusal = used.load();
        }
      }
    });
  }
  for (std::thread& thread : all) thread.join();
  root.Uncharge(root.charged());
  return static_cast<double>(at_refusal) / static_cast<double>(limit);
}

void FirstRefusal(benchmark::State& state) {
  double least = 1;
  for (auto _ : state) {
    for (const int threads : {2, 8, 64}) {
      for (int run = 0; run < 20; ++run) least = std::min(least, FractionAtFirstRefusal(threads));
    }
  }
  state.counters["fraction"] = least;
}
BENCHMARK(FirstRefusal)->Name("first_refusal/mete")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mete::bench

BENCHMARK_MAIN();
