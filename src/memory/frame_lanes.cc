// What happens inside one slot of a FrameArena: chunks, runs, heap blocks, objects, marks.
#include <algorithm>
#include <bit>
#include <new>

#include "base/check.h"
#include "memory/frame_state.h"
#include "memory/shadow.h"
#include "mete/frame_arena.h"

namespace mete {

using detail::FrameArenaState;
using detail::FrameBlock;
using detail::FrameLane;
using detail::FrameObject;
using detail::FrameSlot;
using std::memory_order_relaxed;

namespace {

constexpr std::uint32_t kNone = ChunkRegion::kNone;
constexpr std::size_t kChunk = ChunkRegion::kChunk;
static_assert(FrameArena::kChunk == kChunk);

constexpr std::uintptr_t AlignUp(std::uintptr_t at, std::size_t alignment) noexcept {
  return (at + alignment - 1) & ~(std::uintptr_t{alignment} - 1);
}

constexpr std::size_t InChunks(std::size_t bytes) noexcept { return (bytes + kChunk - 1) / kChunk; }

// `list` is the newest; works for objects and blocks.
template <class Node>
void Unlink(Node*& list, Node* node) noexcept {
  (node->newer != nullptr ? node->newer->older : list) = node->older;
  if (node->older != nullptr) node->older->newer = node->newer;
}

template <class Node>
void Push(Node*& list, Node* node) noexcept {
  node->older = list;
  node->newer = nullptr;
  if (list != nullptr) list->newer = node;
  list = node;
}

}  // namespace

std::uintptr_t FrameArenaState::ChunkBegin(const FrameLane& lane,
                                           std::uint32_t index) const noexcept {
  return lane.current == kNone ? 0
                               : reinterpret_cast<std::uintptr_t>(regions[index].At(lane.current));
}

std::uintptr_t FrameArenaState::ChunkEnd(const FrameLane& lane,
                                         std::uint32_t index) const noexcept {
  return lane.current == kNone ? 0 : ChunkBegin(lane, index) + kChunk;
}

// The lane of a frame, in which the slot starts anew where it was in an older one.
FrameLane& FrameArenaState::Enter(FrameSlot& slot, std::uint64_t frame) noexcept {
  const std::uint32_t index = LaneOf(frame);
  FrameLane& lane = slot.lanes[index];
  const std::uint64_t before = slot.frame.load(memory_order_relaxed);
  if (before != frame) {
    if (before != 0) {
      FrameLane& old = slot.lanes[LaneOf(before)];
      NoteMost(slot, old, LaneOf(before));
      LeaveChunk(slot, old, LaneOf(before));
      old.requests = slot.Requests() - old.first_request;
      old.current = kNone;
    }
    slot.frame.store(frame, memory_order_relaxed);
    lane.frame = frame;
    lane.first_request = slot.Requests();
    slot.SetNext(0);
  }
  slot.SetEnd(ChunkEnd(lane, index));
  return lane;
}

void FrameArenaState::NoteMost(const FrameSlot& slot, FrameLane& lane,
                               std::uint32_t index) const noexcept {
  const std::size_t in_arena = lane.done + (slot.Next() - ChunkBegin(lane, index)) + lane.in_runs;
  lane.most_in_arena = std::max(lane.most_in_arena, in_arena);
  lane.most = std::max(lane.most, in_arena + lane.in_blocks);
  lane.most_need = std::max(
      lane.most_need, (lane.used_chunks + lane.run_chunks + InChunks(lane.in_blocks)) * kChunk);
}

void FrameArenaState::LeaveChunk(FrameSlot& slot, FrameLane& lane, std::uint32_t index) noexcept {
  if (lane.late_now) lane.late += slot.Requests() - lane.late_since;
  lane.late_now = false;
  lane.done += slot.Next() - ChunkBegin(lane, index);
}

void* FrameArenaState::Bump(FrameSlot& slot, FrameLane& lane, std::uint32_t index, std::size_t size,
                            std::size_t alignment) noexcept {
  if (lane.current == kNone || size > kChunk || alignment > kChunk) return nullptr;
  const std::uintptr_t end = ChunkBegin(lane, index) + kChunk;
  const std::uintptr_t at = AlignUp(slot.Next(), alignment);
  if (at > end || size > end - at) return nullptr;
  slot.SetNext(AlignUp(at + size, 16));
  void* const data = detail::At(at);
  shadow::Unpoison(data, size);
  return data;
}

void* FrameArenaState::TakeChunk(FrameSlot& slot, std::uint32_t index, std::size_t size,
                                 std::size_t alignment, bool& edges) noexcept {
  FrameLane& lane = slot.lanes[index];
  ChunkRegion& region = regions[index];
  std::uint32_t next = lane.current == kNone ? lane.first : region.note(lane.current).next;
  if (next == kNone) {
    const ChunkRegion::Taken taken = region.Take(1);
    edges = edges || taken.edges;
    if (taken.first == kNone) return nullptr;
    next = taken.first;
    region.note(next) = {};
    (lane.current == kNone ? lane.first : region.note(lane.current).next) = next;
  }
  LeaveChunk(slot, lane, index);
  lane.current = next;
  lane.most_chunks_kept = std::max(lane.most_chunks_kept, ++lane.used_chunks);
  lane.late_now = next >= ready_chunks[index].load(memory_order_relaxed);
  lane.late_since = slot.Requests();
  const std::uintptr_t begin = ChunkBegin(lane, index);
  slot.SetNext(begin);
  slot.SetEnd(begin + kChunk);
  return Bump(slot, lane, index, size, alignment);
}

// Chunks in a row for what does not fit into half a chunk: sharing them would waste as much.
void* FrameArenaState::TakeRun(FrameSlot& slot, std::uint32_t index, std::size_t size,
                               std::size_t alignment, bool& edges) noexcept {
  FrameLane& lane = slot.lanes[index];
  ChunkRegion& region = regions[index];
  // Chunks are aligned to themselves; what wants more finds it inside a longer run.
  const std::size_t chunks = InChunks(size + (alignment > kChunk ? alignment - kChunk : 0));
  if (chunks >= kNone) return nullptr;
  const auto count = static_cast<std::uint32_t>(chunks);
  const ChunkRegion::Taken taken = region.Take(count);
  edges = edges || taken.edges;
  if (taken.first == kNone) return nullptr;
  region.note(taken.first) = {
      .next = lane.runs, .length = count, .order = ++slot.order, .bytes = size};
  lane.runs = taken.first;
  lane.run_chunks += count;
  lane.in_runs += size;
  const bool late = taken.first + count > ready_chunks[index].load(memory_order_relaxed);
  if (late && !lane.late_now) ++lane.late;  // else counted with the current chunk's
  NoteMost(slot, lane, index);
  void* const data =
      detail::At(AlignUp(reinterpret_cast<std::uintptr_t>(region.At(taken.first)), alignment));
  shadow::Unpoison(data, size);
  return data;
}

// A block of the heap with its FrameBlock right before what the caller gets.
void* FrameArenaState::TakeBlock(FrameSlot& slot, std::uint32_t index, std::size_t size,
                                 std::size_t alignment, bool& edges,
                                 AllocationRefusal& refusal) noexcept {
  FrameLane& lane = slot.lanes[index];
  alignment = std::max(alignment, alignof(std::max_align_t));
  const std::size_t header = AlignUp(sizeof(FrameBlock), alignment);
  const std::size_t bytes = header + size;
  const Charged charged = overflow->TryCharge(static_cast<std::int64_t>(bytes));
  if (!charged) {
    refusal.reason = AllocationRefusal::Reason::kBudget;
    refusal.budget = charged.error();
    return nullptr;
  }
  void* const base = memory->Allocate(bytes, alignment);
  if (base == nullptr) {
    overflow->Uncharge(static_cast<std::int64_t>(bytes));
    refusal.reason = AllocationRefusal::Reason::kSystem;
    return nullptr;
  }
  edges = edges || charged->edges;
  auto* const data = static_cast<std::byte*>(base) + header;
  auto* const block =
      new (data - sizeof(FrameBlock)) FrameBlock{.older = nullptr,
                                                 .newer = nullptr,
                                                 .slot = &slot,
                                                 .order = ++slot.order,
                                                 .base = base,
                                                 .bytes = bytes,
                                                 .alignment = static_cast<std::uint32_t>(alignment),
                                                 .lane = index};
  Push(lane.blocks, block);
  lane.in_blocks += bytes;
  ++lane.fallbacks;
  if (!lane.late_now) ++lane.late;
  NoteMost(slot, lane, index);
  return data;
}

void FrameArenaState::FreeBlock(FrameBlock* block) noexcept {
  const std::size_t bytes = block->bytes;
  memory->Free(block->base, bytes, block->alignment);
  overflow->Uncharge(static_cast<std::int64_t>(bytes));
}

void FrameArenaState::FreeBlocks(FrameSlot& slot, std::uint32_t index,
                                 std::uint64_t after) noexcept {
  FrameLane& lane = slot.lanes[index];
  while (lane.blocks != nullptr && lane.blocks->order > after) {
    FrameBlock* const block = lane.blocks;
    lane.in_blocks -= block->bytes;
    Unlink(lane.blocks, block);
    FreeBlock(block);
  }
}

void FrameArenaState::GiveRuns(FrameSlot& slot, std::uint32_t index, std::uint64_t after) noexcept {
  FrameLane& lane = slot.lanes[index];
  ChunkRegion& region = regions[index];
  while (lane.runs != kNone && region.note(lane.runs).order > after) {
    const std::uint32_t run = lane.runs;
    const std::uint32_t length = region.note(run).length;
    lane.runs = region.note(run).next;
    lane.run_chunks -= length;
    lane.in_runs -= region.note(run).bytes;
    shadow::Retire(region.At(run), length * kChunk);
    region.Give(run, length);
  }
}

// Empties the lane of a retired frame; keeps the chunks that the frame used, gives the others back.
void FrameArenaState::ClearLane(FrameSlot& slot, std::uint32_t index) noexcept {
  FrameLane& lane = slot.lanes[index];
  ChunkRegion& region = regions[index];
  FreeBlocks(slot, index, 0);
  GiveRuns(slot, index, 0);
  if (slot.frame.load(memory_order_relaxed) == lane.frame) {  // nothing newer was allocated here
    slot.frame.store(0, memory_order_relaxed);
    slot.SetNext(0);
    slot.SetEnd(0);
  }
  std::uint32_t kept = 0;
  std::uint32_t* link = &lane.first;
  for (; *link != kNone && kept < lane.most_chunks_kept; ++kept) {
    shadow::Retire(region.At(*link), kChunk);
    link = &region.note(*link).next;
  }
  for (std::uint32_t chunk = *link; chunk != kNone;) {
    const std::uint32_t next = region.note(chunk).next;
    region.Give(chunk, 1);
    chunk = next;
  }
  *link = kNone;
  lane = FrameLane{.first = lane.first};
}

void FrameArenaState::DestroyObjects(FrameSlot& slot, std::uint32_t index, std::uint64_t frame,
                                     std::uint64_t after) noexcept {
  for (;;) {
    FrameObject* object = nullptr;
    {
      const std::lock_guard lock(slot.lock);
      FrameLane& lane = slot.lanes[index];
      if (lane.frame != frame || lane.objects == nullptr || lane.objects->order <= after) return;
      object = lane.objects;
      Unlink(lane.objects, object);
    }
    object->destroy(object->elements, object->count);
  }
}

std::size_t FrameArena::ObjectHeader(std::size_t alignment) noexcept {
  return AlignUp(sizeof(FrameObject), alignment);
}

bool FrameArena::Enlist(FrameObject* object, void (*destroy)(void*, std::size_t) noexcept,
                        void* elements, std::size_t count, const Lease& lease) noexcept {
  FrameSlot* slot = state_->Attach(this);
  if (slot == nullptr) slot = &state_->slots[0];
  const std::lock_guard lock(slot->lock);
  if (!lease.IsCurrent()) return false;
  const std::uint32_t index = state_->LaneOf(state_->FrameOf(*slot, lease));
  new (object) FrameObject{.older = nullptr,
                           .newer = nullptr,
                           .slot = slot,
                           .order = ++slot->order,
                           .destroy = destroy,
                           .elements = elements,
                           .count = count,
                           .lane = index};
  Push(slot->lanes[index].objects, object);
  state_->objects[index].fetch_add(1, memory_order_relaxed);
  return true;
}

bool FrameArena::Delist(FrameObject* object) noexcept {
  FrameSlot& slot = *object->slot;
  const std::lock_guard lock(slot.lock);
  Unlink(slot.lanes[object->lane].objects, object);
  return true;
}

void FrameArena::Free(void* data, std::size_t, std::size_t, Backing) noexcept {
  auto* const block =
      reinterpret_cast<FrameBlock*>(static_cast<std::byte*>(data) - sizeof(FrameBlock));
  FrameSlot& slot = *block->slot;
  {
    const std::lock_guard lock(slot.lock);
    FrameLane& lane = slot.lanes[block->lane];
    lane.in_blocks -= block->bytes;
    Unlink(lane.blocks, block);
  }
  state_->FreeBlock(block);
}

FrameMark::FrameMark(FrameArena& arena) noexcept : arena_(&arena) {
  FrameArenaState& state = *arena.state_;
  slot_ = state.Attach(&arena);
  if (slot_ == nullptr) return;  // the heap's blocks go back with the frame
  const std::lock_guard lock(slot_->lock);
  frame_ = arena.frame_.load();
  const FrameLane& lane = state.Enter(*slot_, frame_);
  order_ = slot_->order;
  done_ = lane.done;
  next_ = slot_->Next();
  chunk_ = lane.current;
  used_chunks_ = lane.used_chunks;
  depth_ = ++slot_->depth;
  if (depth_ > detail::kMaxMarks) return;
  const auto at = static_cast<std::size_t>(depth_ - 1);
  slot_->mark_frames[at] = frame_;
  slot_->mark_words[at].store(++slot_->marks_made, memory_order_relaxed);
}

FrameMark::~FrameMark() {
  if (slot_ == nullptr) return;
  FrameArenaState& state = *arena_->state_;
  METE_CHECK(state.Attach(arena_) == slot_ && slot_->depth == depth_);
  const std::uint32_t index = state.LaneOf(frame_);
  if (depth_ <= detail::kMaxMarks) {
    slot_->mark_words[static_cast<std::size_t>(depth_ - 1)].store(0, std::memory_order_release);
    state.DestroyObjects(*slot_, index, frame_, order_);
  }
  const std::lock_guard lock(slot_->lock);
  --slot_->depth;
  // A frame that has ended goes back as a whole.
  if (depth_ > detail::kMaxMarks || slot_->frame.load(memory_order_relaxed) != frame_) return;
  FrameLane& lane = slot_->lanes[index];
  state.NoteMost(*slot_, lane, index);
  state.FreeBlocks(*slot_, index, order_);
  state.GiveRuns(*slot_, index, order_);
  if (lane.current != chunk_) {
    state.LeaveChunk(*slot_, lane, index);
    lane.late_now =
        chunk_ != kNone && chunk_ >= state.ready_chunks[index].load(memory_order_relaxed);
    lane.late_since = slot_->Requests();
  }
  ChunkRegion& region = state.regions[index];
  const std::uint32_t first = chunk_ == kNone ? lane.first : region.note(chunk_).next;
  for (std::uint32_t chunk = first, left = lane.used_chunks - used_chunks_; left > 0; --left) {
    shadow::Retire(region.At(chunk), kChunk);
    chunk = region.note(chunk).next;
  }
  if (chunk_ != kNone) {
    shadow::Retire(detail::At(next_),
                   reinterpret_cast<std::uintptr_t>(region.At(chunk_)) + kChunk - next_);
  }
  lane.current = chunk_;
  lane.used_chunks = used_chunks_;
  lane.done = done_;
  slot_->SetNext(next_);
  // The fast way opens again only while the frame still runs.
  slot_->SetEnd(arena_->frame() == frame_ ? state.ChunkEnd(lane, index) : 0);
}

}  // namespace mete
