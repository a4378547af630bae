// Which thread has which slot of which FrameArena.
//
// A thread finds its slot through one thread-local cursor, which serves the arena it used last. It
// looks for another one's slot under a global lock: a thread that goes to and fro between arenas
// pays for that each time. Slots of threads that have ended serve new threads, which carry on where
// those stopped; memory of running frames stays where it is.
#include <mutex>

#include "memory/frame_state.h"
#include "mete/frame_arena.h"

namespace mete {

using detail::FrameSlot;
using detail::FrameTls;
using std::memory_order_relaxed;

namespace detail {

// All arenas, for the ends of threads.
struct FrameRegistry {
  std::mutex lock;
  FrameArenaState* first = nullptr;
};
constinit FrameRegistry g_frames;

// Trivially destructible, so that it can be asked while the thread's other variables end.
constinit thread_local bool t_frame_thread_ended = false;

struct FrameThreadEnd {
  FrameThreadEnd() noexcept {}
  ~FrameThreadEnd();
};

FrameThreadEnd::~FrameThreadEnd() {
  t_frame_thread_ended = true;
  const std::lock_guard registry(g_frames.lock);
  for (FrameArenaState* state = g_frames.first; state != nullptr; state = state->next_arena) {
    for (int i = 1; i < state->slots_used.load(memory_order_relaxed); ++i) {
      FrameSlot& slot = state->slots[static_cast<std::size_t>(i)];
      if (slot.thread != &t_frame) continue;
      const std::lock_guard lock(slot.lock);
      slot.thread = nullptr;
      slot.depth = 0;
    }
  }
}

void FrameArenaState::Register() noexcept {
  const std::lock_guard registry(g_frames.lock);
  next_arena = g_frames.first;
  g_frames.first = this;
}

void FrameArenaState::Unregister() noexcept {
  const std::lock_guard registry(g_frames.lock);
  FrameArenaState** link = &g_frames.first;
  while (*link != this) link = &(*link)->next_arena;
  *link = next_arena;
  for (int i = 0; i < slots_used.load(memory_order_relaxed); ++i) {
    FrameSlot& slot = slots[static_cast<std::size_t>(i)];
    if (slot.thread == nullptr) continue;
    const FrameArena* arena = slot.arena();
    slot.thread->arena.compare_exchange_strong(arena, nullptr);
  }
}

// REQUIRES: the registry's lock is held.
FrameSlot* FrameArenaState::FindSlot(const FrameTls* tls) noexcept {
  FrameSlot* unused = nullptr;
  const int used = slots_used.load(memory_order_relaxed);
  for (int i = 1; i < used; ++i) {
    FrameSlot& slot = slots[static_cast<std::size_t>(i)];
    if (slot.thread == tls) return &slot;
    if (slot.thread == nullptr && unused == nullptr) unused = &slot;
  }
  if (unused != nullptr) return unused;
  if (used == slot_count) return nullptr;
  slots_used.store(used + 1);  // in one order with the frame: see BeginFrame
  return &slots[static_cast<std::size_t>(used)];
}

FrameSlot* FrameArenaState::Attach(FrameArena* arena) noexcept {
  FrameTls& tls = t_frame;
  if (tls.arena.load(memory_order_relaxed) == arena) return static_cast<FrameSlot*>(tls.thread);
  if (t_frame_thread_ended) return nullptr;
  static thread_local FrameThreadEnd end;  // registered by being reached
  static_cast<void>(&end);
  const std::lock_guard registry(g_frames.lock);
  FrameSlot* const slot = FindSlot(&tls);
  if (slot == nullptr) return nullptr;
  slot->thread = &tls;
  slot->SetArena(arena);
  tls.thread = slot;
  tls.arena.store(arena, memory_order_relaxed);
  return slot;
}

}  // namespace detail
}  // namespace mete
