// PersistentArena: small blocks that live until they are released, side by side in chunks.
//
// Each thread bumps a pointer in the chunk of its stripe; a chunk counts its live blocks, and
// serves again when the last one is gone. So releasing needs no search and no lists, and what is
// long dead pins at most the chunk of a neighbour that lives. Blocks of more than a quarter of a
// chunk are left to the heap, which gives each back by itself.
//
// Thread safety: all calls but Open may run on any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "memory/chunk_region.h"
#include "memory/spin_lock.h"

namespace mete {

class PersistentArena {
 public:
  static constexpr std::size_t kLargest = ChunkRegion::kChunk / 4;

  PersistentArena() = default;
  // REQUIRES: nobody uses a block any more.
  ~PersistentArena() = default;

  std::optional<AllocationRefusal> Open(HostMemory& memory, SharedBudget& budget,
                                        std::size_t reserve, std::size_t ready);

  // Null: too large, or no chunk to be had; the heap may serve. REQUIRES: a power of two.
  void* Allocate(std::size_t size, std::size_t alignment, bool& edges) noexcept;
  void Free(void* block) noexcept;

  std::size_t committed() const noexcept { return region_.committed(); }
  std::uint32_t chunks_in_use() const noexcept { return region_.taken(); }

  // Gives back committed memory behind the last chunk in use.
  void Trim() noexcept { static_cast<void>(region_.Resize(0)); }

 private:
  static constexpr int kStripes = 16;
  struct alignas(64) Stripe {
    SpinLock lock;
    std::uint32_t chunk = ChunkRegion::kNone;
    std::uintptr_t next = 0;
  };

  void Drop(std::uint32_t chunk) noexcept;

  ChunkRegion region_;
  std::array<Stripe, kStripes> stripes_;
  // Per chunk: its live blocks, and one more while a stripe allocates from it.
  std::unique_ptr<std::atomic<std::uint32_t>[]> live_;
};

}  // namespace mete
