// The host memory half beside its peers. Rows are named workload/who; bars.toml holds the bars.
//
//   frame_l1_*       a mix of 16-256 B, 300 allocations (40 KiB) per frame, 8 bytes stored in each.
//                    Time of an allocation: the median over frames, clocked around the allocations
//                    alone; begin_frame has the price of a frame change and of the first
//                    allocation after it.
//   frame_545k_*     4096 allocations (545 KiB) per frame and the change of frame, or a pair of
//                    malloc and free
//   frame_2t_*       two threads at once, each 4096 allocations per frame: the median of the bursts
//                    that count (bursts.h). `degrades`: as a multiple of the same alone.
//   arena_ready_*    64 MiB of arena until it may be used without a page fault, in thread-CPU time
//   frames_10000     page faults and heap allocations of 10,000 frames after 120
//   load_*           utilisation, fallbacks and late requests of loads that change
#include <benchmark/benchmark.h>
#include <malloc.h>
#include <mimalloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <foonathan/memory/memory_stack.hpp>
#include <fstream>
#include <memory>
#include <memory_resource>
#include <string>
#include <thread>
#include <vector>

#include "bursts.h"
#include "malloc_counter.h"
#include "mete/host_budget_manager.h"
#include "mete/tracked_allocation.h"

namespace mete::bench {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr int kSmallFrame = 300;  // 40 KiB: fits into 48 KiB of L1 with the sizes
constexpr int kLargeFrame = 4096;
constexpr std::int64_t kLimit = std::int64_t{1} << 34;

const std::array<std::uint32_t, kLargeFrame>& Sizes() {
  static const auto sizes = [] {
    std::array<std::uint32_t, kLargeFrame> made{};
    std::uint32_t random = 2463534242u;
    for (auto& size : made) {
      random ^= random << 13, random ^= random >> 17, random ^= random << 5;
      size = 16 + random % 241;
    }
    return made;
  }();
  return sizes;
}

// Memory as the arenas have it, so that peers differ by what they do and not by their pages.
class Pages {
 public:
  explicit Pages(std::size_t bytes = 2 * kMiB) : bytes_(bytes) {
    begin_ = static_cast<std::byte*>(SystemHostMemory().Reserve(bytes));
    if (!SystemHostMemory().Commit(begin_, bytes)) std::abort();
  }
  ~Pages() { SystemHostMemory().Release(begin_, bytes_); }
  std::byte* begin() const { return begin_; }
  std::size_t size() const { return bytes_; }

 private:
  std::byte* begin_;
  std::size_t bytes_;
};

// Each with Allocate(size) and Reset(). The bump pointer is what one writes by hand: aligned to 16,
// safe against sizes that wrap, no accounting.
class BumpPointer {
 public:
  BumpPointer() { Reset(); }
  void* Allocate(std::size_t size) {
    const std::uintptr_t at = (next_ + 15) & ~std::uintptr_t{15};
    if (size > end_ - at) return nullptr;
    next_ = at + size;
    return reinterpret_cast<void*>(at);
  }
  void Reset() {
    next_ = reinterpret_cast<std::uintptr_t>(pages_.begin());
    end_ = next_ + pages_.size();
  }

 private:
  Pages pages_;
  std::uintptr_t next_ = 0;
  std::uintptr_t end_ = 0;
};

FrameOptions OneInFlight() { return {.ready = kMiB, .reserve = 64 * kMiB, .frames_in_flight = 1}; }

// mete as a loop uses it: the place of the thread asked for once.
class MeteFrames {
 public:
  explicit MeteFrames(FrameOptions options = OneInFlight())
      : arena_(*FrameArena::Open(options, frames_, overflow_)) {}
  void Reset() { arena_->BeginFrame(); }
  FrameArena& arena() { return *arena_; }

 private:
  SharedBudget root_{BudgetKind::kLevel, kLimit};
  SharedBudget frames_{BudgetKind::kLevel, kLimit, &root_};
  SharedBudget overflow_{BudgetKind::kLevel, kLimit, &root_};
  std::unique_ptr<FrameArena> arena_;
};

// mete without asking first: a look at a thread-local variable per allocation.
class MeteAnyThread {
 public:
  void* Allocate(std::size_t size) { return frames_.arena().Allocate(size); }
  void Reset() { frames_.Reset(); }

 private:
  MeteFrames frames_;
};

class StdPmr {
 public:
  void* Allocate(std::size_t size) { return resource_->allocate(size, 16); }
  void Reset() { monotonic_.release(); }

 private:
  Pages pages_;
  std::pmr::monotonic_buffer_resource monotonic_{pages_.begin(), pages_.size()};
  std::pmr::memory_resource* resource_ = &monotonic_;
};

class Foonathan {
 public:
  void* Allocate(std::size_t size) { return stack_.allocate(size, 16); }
  void Reset() { stack_.unwind(start_); }

 private:
  foonathan::memory::memory_stack<> stack_{2 * kMiB};
  foonathan::memory::memory_stack<>::marker start_ = stack_.top();
};

template <void* (*kTake)(std::size_t), void (*kGive)(void*)>
class Pairs {
 public:
  void* Allocate(std::size_t size) { return given_[count_++] = kTake(size); }
  void Reset() {
    while (count_ > 0) kGive(given_[--count_]);
  }

 private:
  std::array<void*, kLargeFrame + 1> given_{};
  std::size_t count_ = 0;
};
using Glibc = Pairs<__libc_malloc, free>;
using Mimalloc = Pairs<mi_malloc, mi_free>;

// What many frame arenas are: one for all threads, an atomic offset in the middle.
class SharedAtomic {
 public:
  void* Allocate(std::size_t size) {
    return pages_.begin() + next_.fetch_add((size + 15) & ~std::size_t{15}) % kBytes;
  }
  void Reset() { next_.store(0); }

 private:
  static constexpr std::size_t kBytes = kMiB;  // goes round: as much as two frames
  Pages pages_{2 * kBytes};
  alignas(64) std::atomic<std::size_t> next_{0};
};

// A function of its own, as a program's loop is: within the benchmark's, what it holds on to would
// be pushed out of the registers.
template <class Arena>
[[gnu::noinline]] void AllocateFrame(Arena& arena, int count) {
  const auto& sizes = Sizes();
  for (int i = 0; i < count; ++i) {
    const std::uint32_t size = sizes[static_cast<std::size_t>(i)];
    auto* const data = static_cast<std::uint64_t*>(arena.Allocate(size));
    *data = size;
    benchmark::DoNotOptimize(data);
  }
}

// What a loop holds on to: the arena, or for mete the thread's place in it.
template <class Arena>
Arena& PlaceIn(Arena& arena) {
  return arena;
}
FrameThread& PlaceIn(MeteFrames& frames) { return *frames.arena().Thread(); }

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Arena>
void SmallFrames(benchmark::State& state) {
  const auto arena = std::make_unique<Arena>();  // on the heap: its state in memory, as in programs
  Arena* hidden = arena.get();
  benchmark::DoNotOptimize(hidden);
  auto& place = PlaceIn(*hidden);
  std::vector<double> frames(4000);
  for (auto _ : state) {
    for (double& frame : frames) {
      benchmark::DoNotOptimize(place.Allocate(16));  // begin_frame has its price
      const double start = Now();
      AllocateFrame(place, kSmallFrame);
      frame = Now() - start;
      hidden->Reset();
    }
    state.SetIterationTime(Median(frames) / kSmallFrame);
  }
}

template <class Arena>
void LargeFrames(benchmark::State& state) {
  const auto arena = std::make_unique<Arena>();
  Arena* hidden = arena.get();
  benchmark::DoNotOptimize(hidden);
  auto& place = PlaceIn(*hidden);
  while (state.KeepRunningBatch(kLargeFrame)) {
    AllocateFrame(place, kLargeFrame);
    hidden->Reset();
  }
}

#define METE_FRAME_ROWS(Arena, who)                                                     \
  BENCHMARK(SmallFrames<Arena>)->Name("frame_l1/" who)->UseManualTime()->Iterations(1); \
  BENCHMARK(LargeFrames<Arena>)->Name("frame_545k/" who)
METE_FRAME_ROWS(BumpPointer, "bump");
METE_FRAME_ROWS(MeteFrames, "mete");
METE_FRAME_ROWS(MeteAnyThread, "mete_any_thread");
METE_FRAME_ROWS(StdPmr, "std_pmr");
METE_FRAME_ROWS(Foonathan, "foonathan");
METE_FRAME_ROWS(Glibc, "glibc");
METE_FRAME_ROWS(Mimalloc, "mimalloc");

void FrameChange(benchmark::State& state) {
  MeteFrames frames;
  for (auto _ : state) {
    benchmark::DoNotOptimize(frames.arena().Allocate(64));
    frames.Reset();
  }
}
BENCHMARK(FrameChange)->Name("begin_frame/mete");

void Handles(benchmark::State& state) {
  MeteFrames frames;
  while (state.KeepRunningBatch(kSmallFrame)) {
    for (int i = 0; i < kSmallFrame; ++i) {
      auto memory = frames.arena().Request(Sizes()[static_cast<std::size_t>(i)], 16);
      benchmark::DoNotOptimize(memory->data());
    }
    frames.Reset();
  }
}
BENCHMARK(Handles)->Name("request_handle/mete");

// --- two threads ---

constexpr int kBursts = 60;
constexpr int kTries = 1500;
constexpr int kFramesPerBurst = 16;  // 0.1 ms, so that meeting at the start weighs nothing

struct BumpEach {
  struct alignas(128) Apart {
    BumpPointer arena;
  };
  Apart arenas[2];
  void Frame(int self) {
    AllocateFrame(arenas[self].arena, kLargeFrame);
    arenas[self].arena.Reset();
  }
  void After() {}
};

// The frame of both threads changes between bursts; within one, each gives back by a mark.
struct MeteBoth {
  MeteFrames frames;
  void Frame(int) {
    FrameMark mark(frames.arena());
    FrameThread* const thread = frames.arena().Thread();
    AllocateFrame(*thread, kLargeFrame);
  }
  void After() { frames.Reset(); }
};

struct AtomicBoth {
  SharedAtomic arena;
  void Frame(int self) {
    AllocateFrame(arena, kLargeFrame);
    if (self == 0) arena.Reset();
  }
  void After() {}
};

template <class Both>
void TwoThreads(benchmark::State& state) {
  const auto both = std::make_unique<Both>();
  for (auto _ : state) {
    const BurstResult result = MeasureBursts(
        kFramesPerBurst * kLargeFrame, kBursts, kTries,
        [&](int self, int operations) {
          for (; operations > 0; operations -= kLargeFrame) both->Frame(self);
        },
        [&] { both->After(); });
    if (result.counted == 0) {
      state.SkipWithError("no burst in which both threads ran without preemption");
      return;
    }
    // The same alone, right after, so that the machine is in the same mood.
    std::vector<double> alone;
    for (int i = 0; i < kBursts; ++i) {
      const double start = Now();
      for (int frame = 0; frame < kFramesPerBurst; ++frame) both->Frame(0);
      alone.push_back((Now() - start) / (kFramesPerBurst * kLargeFrame));
      both->After();
    }
    state.SetIterationTime(result.median_ns * 1e-9);
    state.counters["degrades"] = result.median_ns * 1e-9 / Median(alone);
    state.counters["bursts"] = result.counted;
  }
}
BENCHMARK(TwoThreads<BumpEach>)->Name("frame_2t/bump")->UseManualTime()->Iterations(1);
BENCHMARK(TwoThreads<MeteBoth>)->Name("frame_2t/mete")->UseManualTime()->Iterations(1);
BENCHMARK(TwoThreads<AtomicBoth>)->Name("frame_2t/shared_atomic")->UseManualTime()->Iterations(1);

// --- getting ready, and staying so ---

// Of this thread: what the kernel does for a first touch is charged to who touches.
double ThreadCpu() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// What the kernel alone takes for as many pages that may be written without a fault.
double Populate(bool huge) {
  constexpr std::size_t kBytes = 64 * kMiB, kMost = kBytes + HostMemory::kHugePage;
  const double start = ThreadCpu();
  void* const mapped = mmap(nullptr, kMost, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  auto* begin = static_cast<std::byte*>(mapped);
  std::size_t size = kBytes;
  if (!std::align(HostMemory::kHugePage, kBytes, reinterpret_cast<void*&>(begin), size)) {
    std::abort();
  }
  madvise(begin, kBytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (madvise(begin, kBytes, MADV_POPULATE_WRITE) != 0) std::abort();
  const double took = ThreadCpu() - start;
  munmap(mapped, kMost);
  return took;
}

// Writing 64 MiB that are there: what the memory itself takes.
double Write() {
  static const Pages pages(64 * kMiB);
  const double start = ThreadCpu();
  std::memset(pages.begin(), 1, pages.size());
  return ThreadCpu() - start;
}

// In KiB, of the whole process.
long HugePages() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::string word;
  while (rollup >> word) {
    if (word == "AnonHugePages:") break;
  }
  long kib = 0;
  rollup >> kib;
  return kib;
}

// `allowed`: 5 ms where the kernel granted huge pages, else 1.2 times what it takes for small ones.
// `kernel`: what it takes for the pages that it granted. Medians of pairs, as the speed of the
// machine's memory drifts.
void ArenaReady(benchmark::State& state) {
  constexpr int kTimes = 9;
  for (auto _ : state) {
    std::vector<double> mete, kernel, small, write;
    bool granted = true;
    for (int i = 0; i < kTimes; ++i) {
      SharedBudget budget(BudgetKind::kLevel, kLimit);
      FrameOptions options = OneInFlight();
      options.ready = 64 * kMiB;
      const long huge = HugePages();
      const double start = ThreadCpu();
      auto arena = FrameArena::Open(options, budget, budget);
      mete.push_back(ThreadCpu() - start);
      if (!arena) std::abort();
      granted = granted && HugePages() - huge >= static_cast<long>(56 * kMiB / 1024);
      arena->reset();
      kernel.push_back(Populate(granted));
      small.push_back(Populate(false));
      write.push_back(Write());
    }
    const double took = Median(mete);
    state.SetIterationTime(took);
    state.counters["ms"] = took * 1e3;
    state.counters["allowed"] = granted ? 5 : 1.2e3 * Median(small);
    state.counters["kernel"] = Median(kernel) * 1e3;
    state.counters["small_pages"] = Median(small) * 1e3;
    state.counters["write"] = Median(write) * 1e3;
    state.counters["huge"] = granted ? 1 : 0;
  }
}
BENCHMARK(ArenaReady)
    ->Name("arena_ready/mete")
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

long PageFaults() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

// Arrays, containers, marks, objects that wait: all that a loop does.
void MixedFrame(HostBudgetManager& host, int frame) {
  for (int i = 0; i < 300; ++i) {
    benchmark::DoNotOptimize(host.frames().Allocate(Sizes()[static_cast<std::size_t>(i)]));
  }
  auto large = host.RequestStackResource<char>(200000 + static_cast<std::size_t>(frame % 7) * 5000);
  FrameResource resource(host.frames());
  {
    FrameMark mark(host.frames());
    std::pmr::vector<int> list(&resource);
    for (int i = 0; i < 500; ++i) list.push_back(i);
  }
  auto kept = TrackedAllocation<int>::Make(host, AllocationScope::kPersistent, frame);
  static_cast<void>(host.Defer(std::move(*kept)));
  host.BeginFrame();
}

void TenThousandFrames(benchmark::State& state) {
  for (auto _ : state) {
    HostOptions options;
    options.frames = {.ready = kMiB, .reserve = 64 * kMiB, .frames_in_flight = 2};
    auto host = *HostBudgetManager::Open(options);
    for (int frame = 0; frame < 120; ++frame) MixedFrame(*host, frame);
    const std::int64_t mallocs = t_mallocs;
    const long faults = PageFaults();
    for (int frame = 0; frame < 10000; ++frame) MixedFrame(*host, frame);
    state.counters["mallocs"] = static_cast<double>(t_mallocs - mallocs);
    state.counters["page_faults"] = static_cast<double>(PageFaults() - faults);
  }
}
BENCHMARK(TenThousandFrames)
    ->Name("frames_10000/mete")
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

// --- loads that change ---

void LoadFrame(FrameArena& arena, std::size_t bytes) {
  std::size_t at = 0;
  for (std::size_t done = 0; done < bytes; ++at) {
    const std::uint32_t size = Sizes()[at % kLargeFrame];
    benchmark::DoNotOptimize(arena.Allocate(size));
    done += size;
  }
  arena.BeginFrame();
}

void ReportLoad(benchmark::State& state, FrameArena& arena, double late, double requests) {
  const FrameStatistics now = arena.statistics();
  state.counters["utilisation"] = now.utilisation;
  state.counters["fallback"] =
      static_cast<double>(now.total_fallbacks) / static_cast<double>(now.total_requests);
  state.counters["late"] = requests > 0 ? late / requests : 0;
}

// Late requests are counted frame by frame, as the window forgets.
template <class Load>
void RunLoad(benchmark::State& state, int frames, Load&& load) {
  for (auto _ : state) {
    FrameOptions options = OneInFlight();
    options.frames_in_flight = 2;
    MeteFrames mete(options);
    double late = 0, requests = 0;
    for (int frame = 0; frame < frames; ++frame) {
      if (frame >= 256 && frame % 128 == 0) {
        late += static_cast<double>(mete.arena().statistics().late);
        requests += static_cast<double>(mete.arena().statistics().requests);
      }
      LoadFrame(mete.arena(), load(frame));
    }
    ReportLoad(state, mete.arena(), late, requests);
  }
}

void SteadyLoad(benchmark::State& state) {
  RunLoad(state, 1000, [](int) { return 3 * kMiB; });
}
BENCHMARK(SteadyLoad)->Name("load/steady")->Iterations(1)->Unit(benchmark::kMillisecond);

void RandomWalk(benchmark::State& state) {
  std::uint32_t random = 88172645u;
  double at = 1;
  RunLoad(state, 2000, [&](int) {
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    at = std::clamp(at + (static_cast<double>(random % 2001) - 1000) / 20000, 0.7, 1.3);
    return static_cast<std::size_t>(3.0 * static_cast<double>(kMiB) * at);
  });
}
BENCHMARK(RandomWalk)->Name("load/random_walk")->Iterations(1)->Unit(benchmark::kMillisecond);

// `frames`: how many frames of a load four times as high have late requests.
void Spike(benchmark::State& state) {
  for (auto _ : state) {
    FrameOptions options = OneInFlight();
    options.frames_in_flight = 2;
    MeteFrames mete(options);
    for (int frame = 0; frame < 300; ++frame) LoadFrame(mete.arena(), kMiB);
    int frames = 0;
    for (int frame = 0; frame < 20; ++frame) {
      const std::uint64_t before = mete.arena().statistics().late;
      LoadFrame(mete.arena(), 4 * kMiB);
      if (mete.arena().statistics().late != before) frames = frame + 1;
    }
    state.counters["frames"] = frames;
  }
}
BENCHMARK(Spike)->Name("load/spike")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mete::bench
