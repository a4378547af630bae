// ChunkRegion: reserved address space, of which a prefix is committed, handed out in chunks.
//
// The committed prefix is what the Budget is charged for; the chunk is thereby the quantum of
// accounting of everything that is made from it. Grows by a quarter, at most by a huge page, while
// the budget grants that, else by what is needed at least; shrinks by chunks.
//
// Thread safety: all calls but the first and the last may run on any thread; one lock inside.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "mete/budget.h"
#include "mete/host_memory.h"
#include "mete/resource_consumer.h"

namespace mete {
namespace detail {

// Where an address that was computed lies; arenas align addresses, not pointers.
inline void* At(std::uintptr_t address) noexcept {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): see above
}

}  // namespace detail

class ChunkRegion {
 public:
  // What one thread uses up between two looks at shared state: large enough that a 136-byte mix
  // takes a lock every 480 allocations, small enough to stay in L2 with its neighbours.
  static constexpr std::size_t kChunk = std::size_t{64} << 10;
  static constexpr std::uint32_t kNone = 0xffffffffu;

  // What the owner of a run of chunks notes about it, by its first chunk.
  struct Note {
    std::uint32_t next = kNone;
    std::uint32_t length = 0;
    std::uint64_t order = 0;
    std::size_t bytes = 0;
  };

  // A run of chunks, and whether edges of the budget are pending since it was committed.
  struct Taken {
    std::uint32_t first = kNone;
    std::optional<AllocationRefusal> refusal;  // where first is kNone
    bool edges = false;
  };

  ChunkRegion() = default;
  ~ChunkRegion();
  ChunkRegion(const ChunkRegion&) = delete;
  ChunkRegion& operator=(const ChunkRegion&) = delete;

  // Reserves at least `reserve` bytes and commits `ready`. REQUIRES: called once, alone.
  std::optional<AllocationRefusal> Open(HostMemory& memory, SharedBudget& budget,
                                        std::size_t reserve, std::size_t ready);

  // Chunks in a row: from what is committed, or else from more.
  Taken Take(std::uint32_t count) noexcept;
  void Give(std::uint32_t first, std::uint32_t count) noexcept;

  // Commits up to `bytes`, or gives back what lies above, down to the last chunk that is taken.
  // Growing is refused as a whole. Returns pending edges.
  bool Resize(std::size_t bytes) noexcept;

  // All of the committed memory: poisoned, or trapped.
  void Protect(bool accessible) noexcept;

  std::size_t committed() const noexcept {
    return committed_.load(std::memory_order_relaxed) * kChunk;
  }
  std::size_t reserved() const noexcept { return std::size_t{chunks_} * kChunk; }
  std::uint32_t taken() const noexcept;

  std::byte* At(std::uint32_t chunk) const noexcept { return begin_ + chunk * kChunk; }
  std::uint32_t IndexOf(const void* address) const noexcept {
    return static_cast<std::uint32_t>(
        static_cast<std::size_t>(static_cast<const std::byte*>(address) - begin_) / kChunk);
  }
  // Who took the run writes its note; no lock.
  Note& note(std::uint32_t chunk) noexcept { return notes_[chunk]; }

 private:
  std::uint32_t FindLocked(std::uint32_t count) const noexcept;
  bool IsTaken(std::uint32_t chunk) const noexcept {
    return (bits_[chunk / 64] >> (chunk % 64) & 1) != 0;
  }
  void Mark(std::uint32_t first, std::uint32_t count, bool taken) noexcept;
  std::optional<AllocationRefusal> GrowLocked(std::uint32_t to, bool& edges) noexcept;

  mutable std::mutex lock_;
  HostMemory* memory_ = nullptr;
  SharedBudget* budget_ = nullptr;
  std::byte* begin_ = nullptr;
  std::uint32_t chunks_ = 0;  // reserved
  // Changed under lock_, as all below.
  std::atomic<std::size_t> committed_{0};
  std::uint32_t taken_ = 0;
  std::uint32_t hint_ = 0;  // all chunks below are taken
  std::unique_ptr<std::uint64_t[]> bits_;
  std::unique_ptr<Note[]> notes_;
};

}  // namespace mete
