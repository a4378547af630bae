// The inside of a FrameArena.
//
// A *slot* is one thread's place in the arena; slot 0 is everybody's who has none of their own and
// serves from the heap. A slot has a *lane* per frame in flight: the chunks it keeps for that
// frame, and what lives in them.
//
// Locks, taken in this order, none held while code of the program runs:
//   begin    one BeginFrame at a time
//   registry which thread has which slot (global); attaching, ends of threads, ends of arenas
//   slot     everything in it but where it allocates and the count of requests, which its thread
//            moves without any lock; held by that thread once per chunk, by BeginFrame once per
//            frame
//   region   inside ChunkRegion
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "memory/chunk_region.h"
#include "memory/frame_sizing.h"
#include "memory/spin_lock.h"
#include "mete/frame_arena.h"

namespace mete {
namespace detail {

inline constexpr int kMaxLanes = FrameArena::kMaxFramesInFlight + 1;  // one more to be trapped
inline constexpr int kMaxMarks = 32;

// Lies before elements that need destroying.
struct FrameObject {
  FrameObject* older;
  FrameObject* newer;
  FrameSlot* slot;
  std::uint64_t order;
  void (*destroy)(void*, std::size_t) noexcept;
  void* elements;
  std::size_t count;
  std::uint32_t lane;
};

// Lies before a block of the heap that stands in for arena memory.
struct FrameBlock {
  FrameBlock* older;
  FrameBlock* newer;
  FrameSlot* slot;
  std::uint64_t order;
  void* base;
  std::size_t bytes;  // as allocated and charged
  std::uint32_t alignment;
  std::uint32_t lane;
};

struct FrameLane {
  std::uint64_t frame = 0;                   // whose memory this is; 0: nobody's
  std::uint32_t first = ChunkRegion::kNone;  // the chunks that are kept, linked by their notes
  std::uint32_t current = ChunkRegion::kNone;
  std::uint32_t used_chunks = 0;  // up to the current one
  std::uint32_t run_chunks = 0;
  std::uint32_t runs = ChunkRegion::kNone;  // newest first, linked by their notes
  std::size_t done = 0;                     // handed out in chunks before the current one
  std::size_t in_runs = 0;
  std::size_t in_blocks = 0;
  FrameObject* objects = nullptr;  // newest first
  FrameBlock* blocks = nullptr;    // newest first
  // The most at any time; a mark takes the above down again.
  std::uint32_t most_chunks_kept = 0;
  std::size_t most_need = 0;
  std::size_t most_in_arena = 0;
  std::size_t most = 0;
  std::uint64_t first_request = 0;  // of the cursor, as the frame began
  std::uint64_t requests = 0;       // once the slot has gone on to another frame
  std::uint64_t fallbacks = 0;
  std::uint64_t late = 0;
  std::uint64_t late_since = 0;  // the current chunk is late; requests so far
  bool late_now = false;
};

struct alignas(128) FrameSlot : FrameThread {
  mutable SpinLock lock;
  FrameTls* thread = nullptr;  // whose slot it is; guarded by the registry's lock
  // The last frame that allocated here; the thread reads it without the lock.
  std::atomic<std::uint64_t> frame{0};
  std::uint64_t order = 0;  // rises with each run, object and block
  std::array<FrameLane, kMaxLanes> lanes;
  int depth = 0;  // of marks
  std::uint64_t marks_made = 0;
  std::array<std::uint64_t, kMaxMarks> mark_frames{};
  std::array<std::atomic<std::uint64_t>, kMaxMarks> mark_words{};

  const FrameArena* arena() const noexcept { return arena_; }
  void SetArena(FrameArena* arena) noexcept { arena_ = arena; }
  std::uintptr_t Next() const noexcept { return next_.load(std::memory_order_relaxed); }
  std::uint64_t Requests() const noexcept { return requests_.load(std::memory_order_relaxed); }
  // By the slot's own thread, or by anyone in slot 0; the lock is held.
  void CountRequest() noexcept { requests_.store(Requests() + 1, std::memory_order_relaxed); }
  void SetNext(std::uintptr_t next) noexcept { next_.store(next, std::memory_order_relaxed); }
  void SetEnd(std::uintptr_t end) noexcept { end_.store(end, std::memory_order_relaxed); }
};

// What one frame asked for, summed over the slots.
struct FrameFigures {
  std::uint64_t requests = 0;
  std::uint64_t fallbacks = 0;
  std::uint64_t late = 0;
  std::size_t most = 0;
  std::size_t most_in_arena = 0;
  std::size_t need = 0;
  std::size_t committed = 0;
};

struct FrameArenaState {
  HostMemory* memory = nullptr;
  Budget* overflow = nullptr;
  FrameArena::EdgesRaised edges_raised = nullptr;
  void* context = nullptr;
  std::uint32_t lane_count = 0;
  int slot_count = 0;
  std::unique_ptr<FrameSlot[]> slots;
  std::atomic<int> slots_used{1};  // all in use lie below
  std::array<ChunkRegion, kMaxLanes> regions;
  std::array<std::atomic<std::uint64_t>, kMaxLanes> generations{};
  std::array<std::atomic<std::uint32_t>, kMaxLanes> ready_chunks{};

  SpinLock begin_lock;
  std::atomic<const FrameTls*> beginner{nullptr};  // the thread that destroys a frame's objects
  std::array<std::atomic<std::uint64_t>, kMaxLanes> objects{};  // enlisted, of each lane

  mutable SpinLock history_lock;  // guards what follows
  FrameSizing sizing{0};
  std::array<FrameFigures, FrameSizing::kWindow> window;
  std::uint64_t frames_ended = 0;
  std::uint64_t total_requests = 0;
  std::uint64_t total_fallbacks = 0;
  std::uint64_t window_requests = 0;  // the sums of the window
  std::uint64_t window_fallbacks = 0;
  std::size_t peak = 0;

  FrameArenaState* next_arena = nullptr;  // the list of all arenas; guarded by the registry's lock

  std::uint32_t LaneOf(std::uint64_t frame) const noexcept {
    return static_cast<std::uint32_t>(frame % lane_count);
  }
  // Of the current chunk; 0 where there is none.
  std::uintptr_t ChunkBegin(const FrameLane& lane, std::uint32_t index) const noexcept;
  std::uintptr_t ChunkEnd(const FrameLane& lane, std::uint32_t index) const noexcept;

  // REQUIRES of all: the slot's lock is held.
  FrameLane& Enter(FrameSlot& slot, std::uint64_t frame) noexcept;
  void NoteMost(const FrameSlot& slot, FrameLane& lane, std::uint32_t index) const noexcept;
  void LeaveChunk(FrameSlot& slot, FrameLane& lane, std::uint32_t index) noexcept;
  void* Bump(FrameSlot& slot, FrameLane& lane, std::uint32_t index, std::size_t size,
             std::size_t alignment) noexcept;
  void* TakeChunk(FrameSlot& slot, std::uint32_t index, std::size_t size, std::size_t alignment,
                  bool& edges) noexcept;
  void* TakeRun(FrameSlot& slot, std::uint32_t index, std::size_t size, std::size_t alignment,
                bool& edges) noexcept;
  void* TakeBlock(FrameSlot& slot, std::uint32_t index, std::size_t size, std::size_t alignment,
                  bool& edges, AllocationRefusal& refusal) noexcept;
  void FreeBlock(FrameBlock* block) noexcept;
  void GiveRuns(FrameSlot& slot, std::uint32_t index, std::uint64_t after) noexcept;
  void FreeBlocks(FrameSlot& slot, std::uint32_t index, std::uint64_t after) noexcept;
  void ClearLane(FrameSlot& slot, std::uint32_t index) noexcept;

  // Destroys the objects of a lane made after `after`; takes the slot's lock itself.
  void DestroyObjects(FrameSlot& slot, std::uint32_t index, std::uint64_t frame,
                      std::uint64_t after) noexcept;

  // The running thread's slot, or null where all are taken. Takes the registry's lock.
  FrameSlot* Attach(FrameArena* arena) noexcept;
  FrameSlot* FindSlot(const FrameTls* tls) noexcept;

  // Of what the slot's thread allocates now; and the frame in which that was.
  Lease LeaseOf(const FrameSlot& slot) const noexcept;
  std::uint64_t FrameOf(const FrameSlot& slot, Lease lease) const noexcept;

  void AddUp(const FrameSlot& slot, std::uint64_t frame, FrameFigures& sum) const noexcept;
  FrameFigures Gather(std::uint64_t frame) const noexcept;
  void Close(std::uint64_t frame, std::uint64_t retiring) noexcept;
  // REQUIRES: called by one thread at a time.
  void DestroyAll(std::uint64_t frame) noexcept;
  bool Prepare(std::uint64_t frame, bool trap, bool resize) noexcept;
  void Register() noexcept;
  void Unregister() noexcept;
};

}  // namespace detail
}  // namespace mete
