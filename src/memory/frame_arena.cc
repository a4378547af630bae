#include "mete/frame_arena.h"

#include <algorithm>
#include <bit>
#include <new>
#include <string>

#include "base/check.h"
#include "memory/frame_state.h"
#include "memory/no_memory.h"
#include "memory/shadow.h"

namespace mete {

using detail::FrameArenaState;
using detail::FrameFigures;
using detail::FrameGrant;
using detail::FrameLane;
using detail::FrameSlot;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;

namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};  // no word of a lease ever holds it

std::string CheckOptions(const FrameOptions& options) {
  if (options.frames_in_flight < 1 || options.frames_in_flight > FrameArena::kMaxFramesInFlight) {
    return "frames_in_flight: 1 to 4: " + std::to_string(options.frames_in_flight);
  }
  if (options.max_threads < 0 || options.max_threads > 4096) {
    return "max_threads: 0 to 4096: " + std::to_string(options.max_threads);
  }
  if (options.reserve > kMaxAllocation || options.ready > kMaxAllocation) {
    return "reserve, ready: at most " + std::to_string(kMaxAllocation) +
           " bytes: " + std::to_string(options.reserve) + ", " + std::to_string(options.ready);
  }
  return {};
}

double Ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

FrameArena::FrameArena(const FrameOptions& options, std::unique_ptr<FrameArenaState> state)
    : options_(options), state_(std::move(state)) {
  state_->Register();
}

Result<std::unique_ptr<FrameArena>> FrameArena::Open(const FrameOptions& options,
                                                     SharedBudget& budget, Budget& overflow,
                                                     HostMemory& memory, EdgesRaised edges_raised,
                                                     void* context) {
  if (std::string bad = CheckOptions(options); !bad.empty()) {
    return Fail(ErrorCode::kInvalidArgument, std::move(bad));
  }
  try {
    auto state = std::make_unique<FrameArenaState>();
    state->memory = &memory;
    state->overflow = &overflow;
    state->edges_raised = edges_raised;
    state->context = context;
    state->lane_count =
        static_cast<std::uint32_t>(options.frames_in_flight) + (options.trap_retired ? 1 : 0);
    state->slot_count = options.max_threads + 1;
    state->slots = std::make_unique<FrameSlot[]>(static_cast<std::size_t>(state->slot_count));
    state->sizing = FrameSizing(options.ready);
    for (std::uint32_t lane = 0; lane < state->lane_count; ++lane) {
      const auto refused =
          state->regions[lane].Open(memory, budget, options.reserve, options.ready);
      if (refused) return std::unexpected(refused->ToError());
    }
    static_cast<void>(state->Prepare(1, false, false));
    return std::unique_ptr<FrameArena>(new FrameArena(options, std::move(state)));
  } catch (const std::bad_alloc&) {  // the tables
    return std::unexpected(NoMemoryForTables());
  }
}

FrameArena::~FrameArena() {
  const std::uint64_t last = frame();
  for (std::uint64_t frame = last; frame > 0 && IsAlive(frame); --frame) {
    state_->DestroyAll(frame);
  }
  for (std::uint32_t lane = 0; lane < state_->lane_count; ++lane) {
    for (int i = 0; i < state_->slots_used.load(memory_order_acquire); ++i) {
      FrameSlot& slot = state_->slots[static_cast<std::size_t>(i)];
      const std::lock_guard lock(slot.lock);
      state_->ClearLane(slot, lane);
    }
  }
  state_->Unregister();
  if (options_.trap_retired) {
    for (ChunkRegion& region : state_->regions) region.Protect(true);
  }
}

bool FrameArena::IsAlive(std::uint64_t frame) const noexcept {
  return frame > 0 &&
         state_->generations[state_->LaneOf(frame)].load(memory_order_acquire) == frame;
}

FrameThread* FrameArena::Thread() noexcept { return state_->Attach(this); }

// The long way of an allocation: another chunk, more memory, or the heap.
FrameGrant FrameArena::AllocateSlow(std::size_t size, std::size_t alignment) noexcept {
  using Reason = AllocationRefusal::Reason;
  FrameGrant grant;
  grant.refusal = {.reason = Reason::kBudget, .size = size, .alignment = alignment, .budget = {}};
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    grant.refusal.reason = Reason::kAlignment;
    return grant;
  }
  if (size > kMaxAllocation) {
    grant.refusal.reason = Reason::kSize;
    return grant;
  }
  size = std::max<std::size_t>(size, 1);
  FrameSlot* slot = state_->Attach(this);
  const bool has_slot = slot != nullptr;
  if (!has_slot) slot = &state_->slots[0];
  bool edges = false;
  {
    const std::lock_guard lock(slot->lock);
    const std::uint64_t frame = frame_.load();
    const std::uint32_t index = state_->LaneOf(frame);
    FrameLane& lane = state_->Enter(*slot, frame);
    if (has_slot) {
      grant.data = state_->Bump(*slot, lane, index, size, alignment);
      if (grant.data == nullptr) {
        const bool shares = size <= kChunk / 2 && alignment <= kChunk;
        grant.data = shares ? state_->TakeChunk(*slot, index, size, alignment, edges)
                            : state_->TakeRun(*slot, index, size, alignment, edges);
      }
    }
    grant.backing = Backing::kFrame;
    if (grant.data == nullptr) {
      grant.data = state_->TakeBlock(*slot, index, size, alignment, edges, grant.refusal);
      grant.backing = Backing::kHeap;
    }
    if (grant.data != nullptr) {
      slot->CountRequest();
      grant.lease = state_->LeaseOf(*slot);
    }
  }
  if (edges && state_->edges_raised != nullptr) state_->edges_raised(state_->context);
  return grant;
}

void* FrameArena::AllocateMore(std::size_t size, std::size_t alignment) noexcept {
  return AllocateSlow(size, alignment).data;
}

Allocated<Allocation> FrameArena::Request(std::size_t size, std::size_t alignment) noexcept {
  const detail::FrameTls& tls = detail::t_frame;
  if (tls.arena.load(memory_order_relaxed) == this) [[likely]] {
    if (void* const data = tls.thread->Bump(size, alignment); data != nullptr) [[likely]] {
      return Allocation(data, size, alignment, Backing::kFrame, nullptr,
                        state_->LeaseOf(*static_cast<const FrameSlot*>(tls.thread)));
    }
  }
  const FrameGrant grant = AllocateSlow(size, alignment);
  if (grant.data == nullptr) return std::unexpected(grant.refusal);
  return Allocation(grant.data, size, alignment, grant.backing,
                    grant.backing == Backing::kHeap ? this : nullptr, grant.lease);
}

// Within a mark, what is allocated ends with the mark; else with the frame.
Lease FrameArenaState::LeaseOf(const FrameSlot& slot) const noexcept {
  const std::uint64_t frame = slot.frame.load(memory_order_relaxed);
  if (slot.depth > 0) {
    const auto mark = static_cast<std::size_t>(std::min(slot.depth, detail::kMaxMarks) - 1);
    if (slot.mark_frames[mark] == frame) {
      const std::uint64_t word = slot.mark_words[mark].load(memory_order_relaxed);
      return {&slot.mark_words[mark], word != 0 ? word : kNever};
    }
  }
  return {&generations[LaneOf(frame)], frame != 0 ? frame : kNever};
}

std::uint64_t FrameArenaState::FrameOf(const FrameSlot& slot, Lease lease) const noexcept {
  for (std::size_t mark = 0; mark < detail::kMaxMarks; ++mark) {
    if (lease.word == &slot.mark_words[mark]) return slot.mark_frames[mark];
  }
  return lease.value;
}

void FrameArena::BeginFrame() noexcept {
  FrameArenaState& state = *state_;
  if (state.beginner.load(memory_order_relaxed) == &detail::t_frame) {  // it would wait for itself
    CheckFailed("BeginFrame is not called by a destructor of a retiring frame's object", __FILE__,
                __LINE__);
  }
  bool edges = false;
  {
    const std::lock_guard begin(state.begin_lock);
    const std::uint64_t ended = frame_.load(memory_order_relaxed);
    const std::uint64_t frame = ended + 1;
    const auto in_flight = static_cast<std::uint64_t>(options_.frames_in_flight);
    const std::uint64_t retiring = frame > in_flight ? frame - in_flight : 0;
    if (retiring != 0) state.DestroyAll(retiring);
    state.Close(ended, retiring);
    if (options_.trap_retired && retiring != 0) {
      state.regions[state.LaneOf(retiring)].Protect(false);
    }
    edges = state.Prepare(frame, options_.trap_retired, options_.automatic_sizing);
    // Only now: who is sent the long way must find the new frame there. And every slot, also one
    // that looks unused: its thread may be entering the old frame at this moment, under the lock.
    // A thread that takes a new slot either is seen here or sees the new frame: it writes
    // `slots_used`, then reads the frame, here it is the other way round, and all four are
    // sequentially consistent.
    frame_.store(frame);
    for (int i = 0; i < state.slots_used.load(); ++i) {
      FrameSlot& slot = state.slots[static_cast<std::size_t>(i)];
      const std::lock_guard lock(slot.lock);
      slot.SetEnd(0);
    }
  }
  if (edges && state.edges_raised != nullptr) state.edges_raised(state.context);
}

// Handles turn stale, then the objects of all slots go, while all memory still stands.
void FrameArenaState::DestroyAll(std::uint64_t frame) noexcept {
  const std::uint32_t index = LaneOf(frame);
  generations[index].store(0, memory_order_release);
  if (objects[index].exchange(0, memory_order_relaxed) == 0) return;
  beginner.store(&t_frame, memory_order_relaxed);
  for (int i = 0; i < slots_used.load(memory_order_acquire); ++i) {
    DestroyObjects(slots[static_cast<std::size_t>(i)], index, frame, 0);
  }
  beginner.store(nullptr, memory_order_relaxed);
}

// Sums up the frame that has ended, and empties the lanes of the one that retires (0: none does).
void FrameArenaState::Close(std::uint64_t frame, std::uint64_t retiring) noexcept {
  FrameFigures sum;
  const std::uint32_t index = LaneOf(retiring);
  for (int i = 0; i < slots_used.load(memory_order_acquire); ++i) {
    FrameSlot& slot = slots[static_cast<std::size_t>(i)];
    if (i == 0 && slot.frame.load(memory_order_relaxed) == 0) continue;  // nobody's slot is empty
    const std::lock_guard lock(slot.lock);
    AddUp(slot, frame, sum);
    if (retiring == 0) continue;
    for (int mark = 0; mark < std::min(slot.depth, detail::kMaxMarks); ++mark) {
      const auto at = static_cast<std::size_t>(mark);
      if (slot.mark_frames[at] == retiring) slot.mark_words[at].store(0, memory_order_release);
    }
    ClearLane(slot, index);
  }
  sum.committed = regions[LaneOf(frame)].committed();
  const std::lock_guard lock(history_lock);
  sizing.Add(sum.need);
  FrameFigures& place = window[frames_ended++ % window.size()];
  window_requests += sum.requests - place.requests;
  window_fallbacks += sum.fallbacks - place.fallbacks;
  place = sum;
  total_requests += sum.requests;
  total_fallbacks += sum.fallbacks;
  peak = std::max(peak, sum.most);
}

// Brings the frame's memory to the size that history asks for. Whether edges are pending.
bool FrameArenaState::Prepare(std::uint64_t frame, bool trap, bool resize) noexcept {
  const std::uint32_t index = LaneOf(frame);
  ChunkRegion& region = regions[index];
  bool edges = false;
  if (trap) region.Protect(true);
  if (const std::size_t target = sizing.target(); resize && target != region.committed()) {
    edges = region.Resize(target);
    if (region.committed() > target) {  // kept chunks lie above it
      for (int i = 0; i < slots_used.load(memory_order_acquire); ++i) {
        FrameSlot& slot = slots[static_cast<std::size_t>(i)];
        const std::lock_guard lock(slot.lock);
        ClearLane(slot, index);
      }
      edges = region.Resize(target) || edges;
    }
  }
  ready_chunks[index].store(static_cast<std::uint32_t>(region.committed() / ChunkRegion::kChunk),
                            memory_order_relaxed);
  generations[index].store(frame, memory_order_release);
  return edges;
}

// REQUIRES: the slot's lock is held; its thread may still be allocating.
void FrameArenaState::AddUp(const FrameSlot& slot, std::uint64_t frame,
                            FrameFigures& sum) const noexcept {
  const std::uint32_t index = LaneOf(frame);
  if (slot.lanes[index].frame != frame) return;
  FrameLane lane = slot.lanes[index];  // a copy, brought up to date
  if (slot.frame.load(memory_order_relaxed) == frame) {
    NoteMost(slot, lane, index);
    lane.requests = slot.Requests() - lane.first_request;
    if (lane.late_now) lane.late += slot.Requests() - lane.late_since;
  }
  sum.requests += lane.requests;
  sum.fallbacks += lane.fallbacks;
  sum.late += lane.late;
  sum.most += lane.most;
  sum.most_in_arena += lane.most_in_arena;
  sum.need += lane.most_need;
}

FrameFigures FrameArenaState::Gather(std::uint64_t frame) const noexcept {
  FrameFigures sum;
  for (int i = 0; i < slots_used.load(memory_order_acquire); ++i) {
    const FrameSlot& slot = slots[static_cast<std::size_t>(i)];
    const std::lock_guard lock(slot.lock);
    AddUp(slot, frame, sum);
  }
  sum.committed = regions[LaneOf(frame)].committed();
  return sum;
}

double FrameArena::fallback_ratio() const noexcept {
  const std::lock_guard lock(state_->history_lock);
  return Ratio(state_->window_fallbacks, state_->window_requests);
}

FrameStatistics FrameArena::statistics() const noexcept {
  const FrameArenaState& state = *state_;
  FrameStatistics shown;
  shown.frame = frame();
  const FrameFigures running = state.Gather(shown.frame);
  shown.committed = std::size_t{state.ready_chunks[state.LaneOf(shown.frame)].load()} * kChunk;
  for (const ChunkRegion& region : state.regions) shown.committed_all += region.committed();
  const std::lock_guard lock(state.history_lock);
  std::size_t committed = running.committed;
  std::size_t in_arena = running.most_in_arena;
  const auto add = [&shown](const FrameFigures& figures) {
    shown.high_water = std::max(shown.high_water, figures.most);
    shown.requests += figures.requests;
    shown.fallbacks += figures.fallbacks;
    shown.late += figures.late;
  };
  add(running);
  const std::size_t known = std::min<std::size_t>(state.frames_ended, state.window.size());
  for (std::size_t i = 0; i < known; ++i) {
    add(state.window[i]);
    committed = std::max(committed, state.window[i].committed);
    in_arena = std::max(in_arena, state.window[i].most_in_arena);
  }
  shown.size_hint = state.sizing.hint();
  shown.utilisation = Ratio(in_arena, committed);
  shown.fallback_ratio = Ratio(shown.fallbacks, shown.requests);
  shown.late_ratio = Ratio(shown.late, shown.requests);
  shown.peak = std::max(state.peak, running.most);
  shown.total_requests = state.total_requests + running.requests;
  shown.total_fallbacks = state.total_fallbacks + running.fallbacks;
  return shown;
}

}  // namespace mete
