// Random operations against a slow and obvious model: every live allocation is filled with its own
// pattern and looked at before it goes, so that two that overlap are found.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "memory/chunk_region.h"
#include "memory/failing_memory.h"
#include "mete/host_budget_manager.h"

namespace mete {
namespace {

struct Live {
  Allocation memory;
  AllocationScope scope;
  std::uint64_t frame;
  int depth;  // of marks when it was made
  std::uint8_t pattern;
};

class Model {
 public:
  Model(std::uint64_t seed, HostOptions options) : random_(seed) {
    options.memory = &memory_;
    options.leaked = [](const auto&) { ADD_FAILURE() << "a leak"; };
    host_ = *HostBudgetManager::Open(options);
  }

  ~Model() {
    Look();
    while (!marks_.empty()) PopMark();
    live_.clear();
    host_.reset();
    EXPECT_TRUE(memory_.IsClean());
  }

  void Step() {
    const std::uint32_t what = Random(100);
    if (what < 60) {
      Request();
    } else if (what < 78) {
      Release();
    } else if (what < 84) {
      if (marks_.size() < 6) marks_.emplace_back(host_->frames(), host_->frames().frame());
    } else if (what < 92) {
      if (!marks_.empty()) PopMark();
    } else if (what < 96) {
      host_->BeginFrame();
    } else {
      Look();
    }
    const std::int64_t heap = host_->heap_budget().used();
    ASSERT_EQ(heap, memory_.block_bytes());
    ASSERT_EQ(host_->frames_budget().used() + host_->persistent_budget().used(),
              memory_.committed());
    ASSERT_LE(host_->budget().used(), host_->budget().limit());
  }

 private:
  struct Mark {
    std::unique_ptr<FrameMark> mark;
    std::uint64_t frame;
    Mark(FrameArena& arena, std::uint64_t at) : mark(new FrameMark(arena)), frame(at) {}
  };

  std::uint32_t Random(std::uint32_t below) {
    return static_cast<std::uint32_t>(random_()) % below;
  }

  bool Expected(const Live& live) const {
    if (live.scope != AllocationScope::kFrame) return true;
    if (!host_->frames().IsAlive(live.frame)) return false;
    return live.depth <= static_cast<int>(marks_.size());
  }

  void Request() {
    constexpr std::size_t kSizes[] = {0, 1, 16, 60, 255, 1000, 5000, 16384, 33000, 70000, 200000};
    const std::size_t size = Random(4) == 0 ? Random(3000) : kSizes[Random(11)];
    const std::size_t alignment = std::size_t{1} << Random(14);
    const auto scope = static_cast<AllocationScope>(std::array{0, 0, 0, 1, 2}[Random(5)]);
    const std::int64_t before = host_->budget().charged();
    auto memory = host_->RequestAllocation(size, alignment, scope);
    if (!memory) {
      EXPECT_EQ(memory.error().reason, AllocationRefusal::Reason::kBudget);
      EXPECT_EQ(host_->budget().charged(), before);
      return;
    }
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(memory->data()) % alignment, 0u);
    // A mark of an older frame gives nothing of this one back.
    int depth = static_cast<int>(marks_.size());
    while (depth > 0 &&
           marks_[static_cast<std::size_t>(depth - 1)].frame != host_->frames().frame()) {
      --depth;
    }
    if (!marks_.empty() && marks_.back().frame != host_->frames().frame()) depth = 0;
    const auto pattern = static_cast<std::uint8_t>(Random(256));
    std::memset(memory->data(), pattern, size);
    live_.push_back({std::move(*memory), scope, host_->frames().frame(), depth, pattern});
  }

  static void LookAt(const Live& live) {
    const auto* bytes = static_cast<const std::uint8_t*>(live.memory.data());
    for (std::size_t i = 0; i < live.memory.size(); i += i < 64 ? 1 : 61) {
      ASSERT_EQ(bytes[i], live.pattern) << "of " << live.memory.size() << " at " << i;
    }
  }

  void Look() {
    for (const Live& live : live_) {
      ASSERT_EQ(live.memory.valid(), Expected(live));
      if (live.memory.valid()) LookAt(live);
    }
    std::erase_if(live_, [](const Live& live) { return !live.memory.valid(); });
  }

  void Release() {
    if (live_.empty()) return;
    const std::size_t at = Random(static_cast<std::uint32_t>(live_.size()));
    ASSERT_EQ(live_[at].memory.valid(), Expected(live_[at]));
    if (live_[at].memory.valid()) LookAt(live_[at]);
    std::swap(live_[at], live_.back());
    live_.pop_back();
  }

  // What was made inside the mark must be looked at while it is there.
  void PopMark() {
    Look();
    const auto depth = static_cast<int>(marks_.size());
    marks_.pop_back();
    for (const Live& live : live_) {
      if (live.scope == AllocationScope::kFrame && live.depth >= depth) {
        ASSERT_FALSE(live.memory.valid());
      }
    }
    std::erase_if(live_, [](const Live& live) { return !live.memory.valid(); });
  }

  FailingMemory memory_;
  std::unique_ptr<HostBudgetManager> host_;
  std::deque<Mark> marks_;
  std::vector<Live> live_;
  std::mt19937_64 random_;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kRuns = 6;  // each takes ten times as long
#else
constexpr std::uint64_t kRuns = 40;
#endif

TEST(MemoryModelTest, RandomOperations) {
  const std::uint64_t seed = std::random_device{}();
  for (std::uint64_t run = 0; run < kRuns; ++run) {
    SCOPED_TRACE("seed " + std::to_string(seed + run));
    HostOptions options;
    options.limit = std::int64_t{1} << (21 + run % 4);
    options.frames = {.ready = 64 << 10, .reserve = 4 << 20};
    options.frames.frames_in_flight = 1 + static_cast<int>(run % 4);
    options.persistent_ready = 64 << 10;
    options.persistent_reserve = 2 << 20;
    Model model(seed + run, options);
    for (int step = 0; step < 1500 && !testing::Test::HasFailure(); ++step) model.Step();
  }
}

TEST(MemoryModelTest, RegionsAgainstABitmap) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  SharedBudget budget(BudgetKind::kLevel, 100 * static_cast<std::int64_t>(ChunkRegion::kChunk));
  {
    ChunkRegion region;
    ASSERT_FALSE(region.Open(SystemHostMemory(), budget, 128 * ChunkRegion::kChunk, 0));
    std::vector<bool> taken(128);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> runs;
    for (int step = 0; step < 5000; ++step) {
      if (random() % 2 == 0) {
        const auto count = static_cast<std::uint32_t>(1 + random() % (random() % 4 == 0 ? 40 : 3));
        const ChunkRegion::Taken run = region.Take(count);
        if (run.first == ChunkRegion::kNone) continue;
        for (std::uint32_t i = run.first; i < run.first + count; ++i) {
          ASSERT_FALSE(taken[i]);
          taken[i] = true;
        }
        runs.emplace_back(run.first, count);
      } else if (!runs.empty()) {
        std::swap(runs[random() % runs.size()], runs.back());
        const auto [first, count] = runs.back();
        runs.pop_back();
        region.Give(first, count);
        for (std::uint32_t i = first; i < first + count; ++i) taken[i] = false;
      }
      if (random() % 16 == 0) region.Resize(random() % (128 * ChunkRegion::kChunk));
      ASSERT_EQ(static_cast<std::size_t>(budget.used()), region.committed());
      ASSERT_EQ(region.taken(), std::count(taken.begin(), taken.end(), true));
      ASSERT_GE(region.committed() / ChunkRegion::kChunk, region.taken());
    }
  }
  EXPECT_EQ(budget.used(), 0);
}

}  // namespace
}  // namespace mete
