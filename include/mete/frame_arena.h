// FrameArena: memory that lives until its frame retires, a few instructions per allocation.
//
// Each thread bumps a pointer in a chunk of its own, and keeps its chunks from frame to frame, so
// that they stay in its cache. The Budget is charged when memory is committed, not when it is
// handed out: accounting costs an allocation nothing but a count. A frame that needs more than is
// ready takes the next chunk, then commits more where the budget grants it, then takes blocks of
// the heap; all of it goes back when the frame retires. Only a budget refuses, or a system without
// memory.
//
// With n frames in flight, BeginFrame() retires the frame begun n calls before: its objects are
// destroyed, its handles turn stale, its memory serves the new frame. The committed size follows
// the last 128 frames.
//
// Thread safety: any thread may allocate at any time. One that allocates while BeginFrame runs gets
// memory of the old frame or of the new one, never memory that anyone else has. The program sees to
// it that nobody uses a frame's memory while that frame retires. docs/memory.md has the design.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <memory_resource>
#include <new>
#include <type_traits>
#include <utility>

#include "mete/budget.h"
#include "mete/host_memory.h"
#include "mete/resource_consumer.h"

#if defined(__SANITIZE_ADDRESS__)
#define METE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define METE_ASAN 1
#endif
#endif

namespace mete {

class FrameArena;
class FrameMark;

struct FrameOptions {
  std::size_t ready = std::size_t{1} << 20;      // committed for each frame from the start
  std::size_t reserve = std::size_t{256} << 20;  // address space of each frame
  int frames_in_flight = 2;                      // 1 to 4
  int max_threads = 64;                          // more threads than these are served by the heap
  bool automatic_sizing = true;  // else `ready` stays, and frames grow when they must
  bool trap_retired = false;     // retired memory stays untouchable for a frame: for debugging
};

// Figures of the last 128 frames and the running one, and of all frames.
struct FrameStatistics {
  std::uint64_t frame = 0;        // the running one; the first is 1
  std::size_t committed = 0;      // for one frame, when the running one began
  std::size_t committed_all = 0;  // for all of them, now
  std::size_t high_water = 0;     // the most that a frame of the window had handed out
  std::size_t size_hint = 0;      // what 99 of 100 frames of the window fit into
  double utilisation = 0;         // high_water over the most that was committed for a frame
  std::uint64_t requests = 0;     // in the window, refused ones not counted
  std::uint64_t fallbacks = 0;    // of those: served by the heap
  std::uint64_t late = 0;  // of those: not served by memory that was ready as the frame began
  double fallback_ratio = 0;
  double late_ratio = 0;
  std::size_t peak = 0;  // the most that any frame had handed out, heap included
  std::uint64_t total_requests = 0;
  std::uint64_t total_fallbacks = 0;
};

namespace detail {

struct FrameArenaState;
struct FrameSlot;
struct FrameObject;

// What the long way of an allocation found.
struct FrameGrant {
  void* data = nullptr;
  Backing backing = Backing::kNone;
  Lease lease;
  AllocationRefusal refusal;  // where data is null
};

}  // namespace detail

// One thread's place in an arena. A loop that allocates much asks for it once, which spares every
// allocation the look at a thread-local variable.
//
// Used by one thread at a time: by the one that asked for it, until that thread ends.
class FrameThread {
 public:
  FrameThread() noexcept = default;
  FrameThread(const FrameThread&) = delete;
  FrameThread& operator=(const FrameThread&) = delete;

  // As FrameArena::Allocate.
  [[nodiscard]] void* Allocate(std::size_t size,
                               std::size_t alignment = alignof(std::max_align_t)) noexcept;

 protected:
  friend class FrameArena;

  void* Bump(std::size_t size, std::size_t alignment) noexcept;

  FrameArena* arena_ = nullptr;
  // Written by the thread that allocates; others read them for statistics.
  std::atomic<std::uintptr_t> next_{
      0};  // where the next allocation in the chunk goes: 16 divides it
  std::atomic<std::uint64_t> requests_{0};  // ever
  // The end of the chunk. BeginFrame sets it to zero, which sends the next allocation the long way.
  std::atomic<std::uintptr_t> end_{0};
};

namespace detail {

// The arena that the running thread used last, and its place there.
struct FrameTls {
  std::atomic<const FrameArena*> arena{nullptr};
  FrameThread* thread = nullptr;
};
inline constinit thread_local FrameTls t_frame;

}  // namespace detail

// Elements in a frame's memory: destroyed when this ends or when the frame retires, whichever is
// first. Move-only. A use after the frame has retired ends the process, in release builds too.
//
// Must end before the arena.
template <class T>
class StackResource {
 public:
  StackResource() noexcept = default;
  StackResource(StackResource&& other) noexcept
      : allocation_(std::move(other.allocation_)),
        arena_(std::exchange(other.arena_, nullptr)),
        object_(std::exchange(other.object_, nullptr)),
        elements_(std::exchange(other.elements_, nullptr)),
        count_(std::exchange(other.count_, 0)) {}
  StackResource& operator=(StackResource&& other) noexcept {
    if (this != &other) {
      Release();
      allocation_ = std::move(other.allocation_);
      arena_ = std::exchange(other.arena_, nullptr);
      object_ = std::exchange(other.object_, nullptr);
      elements_ = std::exchange(other.elements_, nullptr);
      count_ = std::exchange(other.count_, 0);
    }
    return *this;
  }
  ~StackResource() { Release(); }

  // REQUIRES: the frame has not retired; checked, as in Allocation::data().
  T* data() const { return allocation_.data() != nullptr ? elements_ : nullptr; }
  T& operator[](std::size_t i) const { return data()[i]; }
  T& operator*() const { return *data(); }
  T* operator->() const { return data(); }
  T* begin() const { return data(); }
  T* end() const { return data() + count_; }

  std::size_t size() const noexcept { return count_; }
  bool valid() const noexcept { return allocation_.valid(); }
  explicit operator bool() const noexcept { return valid(); }
  Backing backing() const noexcept { return allocation_.backing(); }

  void Release() noexcept;

 private:
  friend class FrameArena;
  Allocation allocation_;
  FrameArena* arena_ = nullptr;
  detail::FrameObject* object_ = nullptr;  // where T has a destructor that does something
  T* elements_ = nullptr;
  std::size_t count_ = 0;
};

enum class Initialize : std::uint8_t { kValue, kForOverwrite };

class FrameArena final : public AllocationSource {
 public:
  static constexpr std::size_t kChunk = std::size_t{64} << 10;
  static constexpr int kMaxFramesInFlight = 4;

  // Told that edges are pending in the budgets; called with no lock held, on the thread whose
  // allocation raised them.
  using EdgesRaised = void (*)(void* context);

  // Charges `budget` for what is committed, `overflow` for blocks of the heap. Both outlive the
  // arena, as does `memory`. E2071 for options that make no sense, E2072 where the budget refuses
  // what is to be ready, E2099 where the system does.
  static Result<std::unique_ptr<FrameArena>> Open(const FrameOptions& options, SharedBudget& budget,
                                                  Budget& overflow,
                                                  HostMemory& memory = SystemHostMemory(),
                                                  EdgesRaised edges_raised = nullptr,
                                                  void* context = nullptr);

  // Destroys what is left, newest first. REQUIRES: nobody uses the arena any more.
  ~FrameArena();
  FrameArena(const FrameArena&) = delete;
  FrameArena& operator=(const FrameArena&) = delete;

  // The running thread's place, or null where max_threads have one already.
  FrameThread* Thread() noexcept;

  // Memory of the running frame, or null: refused. `alignment`: any power of two to kMaxAlignment.
  // Size 0 gives an address of its own.
  [[nodiscard]] void* Allocate(std::size_t size,
                               std::size_t alignment = alignof(std::max_align_t)) noexcept;

  // The same with a handle that tells when the frame has retired, and why it was refused.
  [[nodiscard]] Allocated<Allocation> Request(std::size_t size, std::size_t alignment) noexcept;

  // Elements, value-initialised or left as they are. A constructor that throws leaves nothing
  // behind.
  template <class T>
  [[nodiscard]] Allocated<StackResource<T>> RequestStackResource(
      std::size_t count = 1, Initialize initialize = Initialize::kValue);

  // Ends the running frame and retires the one begun frames_in_flight calls before: destroys its
  // objects, frees its heap blocks, and gives its memory to the new frame, resized by history.
  // Calls from several threads take turns. REQUIRES: not called from a destructor of a frame's
  // object; nobody uses the memory of the retiring frame.
  void BeginFrame() noexcept;

  std::uint64_t frame() const noexcept { return frame_.load(std::memory_order_acquire); }
  int frames_in_flight() const noexcept { return options_.frames_in_flight; }

  // Whether memory handed out in that frame is still there.
  bool IsAlive(std::uint64_t frame) const noexcept;

  FrameStatistics statistics() const noexcept;

  // Of the frames of the window that have ended: what the heap served, of all requests.
  double fallback_ratio() const noexcept;

  void Free(void* data, std::size_t size, std::size_t alignment, Backing backing) noexcept override;

 private:
  friend class FrameMark;
  template <class T>
  friend class StackResource;

  FrameArena(const FrameOptions& options, std::unique_ptr<detail::FrameArenaState> state);

  friend class FrameThread;
  // Out of line and without a result on the stack, so that loops keep their registers.
  [[gnu::cold, gnu::noinline]] void* AllocateMore(std::size_t size, std::size_t alignment) noexcept;
  detail::FrameGrant AllocateSlow(std::size_t size, std::size_t alignment) noexcept;
  bool Enlist(detail::FrameObject* object, void (*destroy)(void*, std::size_t) noexcept,
              void* elements, std::size_t count, const Lease& lease) noexcept;
  bool Delist(detail::FrameObject* object) noexcept;
  static std::size_t ObjectHeader(std::size_t alignment) noexcept;

  FrameOptions options_;
  std::atomic<std::uint64_t> frame_{1};
  std::unique_ptr<detail::FrameArenaState> state_;
};

// Gives back, at the end of a block of code, what its thread allocated from the arena since:
// objects are destroyed newest first, handles turn stale, memory is used again in the same frame.
// Marks of a thread nest; the 33rd inside one another gives nothing back before the frame retires.
// REQUIRES: ends on the thread that made it, in reverse order.
class FrameMark {
 public:
  explicit FrameMark(FrameArena& arena) noexcept;
  ~FrameMark();
  FrameMark(const FrameMark&) = delete;
  FrameMark& operator=(const FrameMark&) = delete;

 private:
  FrameArena* arena_;
  detail::FrameSlot* slot_ = nullptr;
  std::uint64_t frame_ = 0;
  std::uint64_t order_ = 0;
  std::size_t done_ = 0;
  std::uintptr_t next_ = 0;
  std::uint32_t chunk_ = 0;
  std::uint32_t used_chunks_ = 0;
  int depth_ = 0;
};

// The running frame's memory for standard containers. Deallocation does nothing: the frame or a
// FrameMark gives back. Containers must not outlive the frame. Throws std::bad_alloc on refusal, as
// the standard asks of memory resources.
class FrameResource final : public std::pmr::memory_resource {
 public:
  explicit FrameResource(FrameArena& arena) noexcept : arena_(&arena) {}

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    void* data = arena_->Allocate(bytes, alignment);
    if (data == nullptr) throw std::bad_alloc();
    return data;
  }
  void do_deallocate(void*, std::size_t, std::size_t) noexcept override {}
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    const auto* same = dynamic_cast<const FrameResource*>(&other);
    return same != nullptr && same->arena_ == arena_;
  }

  FrameArena* arena_;
};

// The fast way, or null. `last` is where its last 16 bytes end: the sum carries for size 0 and for
// whatever would wrap, and is past the end of a full chunk, or of one whose frame has ended since.
// Constants fold the alignment away.
inline void* FrameThread::Bump([[maybe_unused]] std::size_t size,
                               [[maybe_unused]] std::size_t alignment) noexcept {
#ifndef METE_ASAN
  using std::memory_order_relaxed;
  if (alignment - 1 < std::size_t{1} << 16 && (alignment & (alignment - 1)) == 0) [[likely]] {
    std::uintptr_t at = next_.load(memory_order_relaxed);
    if (alignment > 16) at = (at + alignment - 1) & ~(std::uintptr_t{alignment} - 1);
    std::uintptr_t last = 0;
    if (!__builtin_add_overflow(at, (size - 1) | 15, &last) &&
        last < end_.load(memory_order_relaxed)) [[likely]] {
      next_.store(last + 1, memory_order_relaxed);
      requests_.store(requests_.load(memory_order_relaxed) + 1, memory_order_relaxed);
      if (at == 0) __builtin_unreachable();  // spares the caller's test for null
      return reinterpret_cast<void*>(at);    // NOLINT(performance-no-int-to-ptr): aligned above
    }
  }
#endif
  return nullptr;
}

inline void* FrameThread::Allocate(std::size_t size, std::size_t alignment) noexcept {
  if (void* const data = Bump(size, alignment); data != nullptr) [[likely]] {
    return data;
  }
  return arena_->AllocateMore(size, alignment);
}

inline void* FrameArena::Allocate(std::size_t size, std::size_t alignment) noexcept {
  const detail::FrameTls& tls = detail::t_frame;
  if (tls.arena.load(std::memory_order_relaxed) == this) [[likely]] {
    return tls.thread->Allocate(size, alignment);
  }
  return AllocateMore(size, alignment);
}

template <class T>
void StackResource<T>::Release() noexcept {
  if (object_ != nullptr && allocation_.valid() && arena_->Delist(object_)) {
    std::destroy_n(elements_, count_);
  }
  allocation_.Release();
  object_ = nullptr;
  elements_ = nullptr;
  count_ = 0;
}

template <class T>
Allocated<StackResource<T>> FrameArena::RequestStackResource(std::size_t count,
                                                             Initialize initialize) {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>);
  constexpr bool kNeedsDestroying = !std::is_trivially_destructible_v<T>;
  const std::size_t header = kNeedsDestroying ? ObjectHeader(alignof(T)) : 0;
  if (count > (kMaxAllocation - header) / sizeof(T)) {
    return std::unexpected(AllocationRefusal{.reason = AllocationRefusal::Reason::kSize,
                                             .size = std::numeric_limits<std::size_t>::max(),
                                             .alignment = alignof(T),
                                             .budget = {}});
  }
  auto allocation = Request(header + count * sizeof(T),
                            kNeedsDestroying && alignof(T) < 16 ? std::size_t{16} : alignof(T));
  if (!allocation) return std::unexpected(allocation.error());
  StackResource<T> made;
  auto* const block = static_cast<std::byte*>(allocation->data());
  auto* const elements = reinterpret_cast<T*>(block + header);
  if (initialize == Initialize::kValue) {
    std::uninitialized_value_construct_n(elements, count);
  } else {
    std::uninitialized_default_construct_n(elements, count);
  }
  if constexpr (kNeedsDestroying) {
    auto* const object = reinterpret_cast<detail::FrameObject*>(block);
    const bool enlisted = Enlist(
        object,
        [](void* first, std::size_t n) noexcept { std::destroy_n(static_cast<T*>(first), n); },
        elements, count, allocation->lease());
    if (!enlisted) std::destroy_n(elements, count);
    if (enlisted) made.object_ = object;
  }
  made.arena_ = this;
  made.elements_ = elements;
  made.count_ = count;
  made.allocation_ = std::move(*allocation);
  return made;
}

}  // namespace mete
