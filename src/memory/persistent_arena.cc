#include "memory/persistent_arena.h"

#include <algorithm>
#include <mutex>
#include <new>

#include "memory/shadow.h"

namespace mete {
namespace {

constexpr std::size_t kChunk = ChunkRegion::kChunk;

// Threads take stripes in turn, so that up to 16 never meet.
std::size_t StripeOfThread() noexcept {
  static constinit std::atomic<std::size_t> threads{0};
  static thread_local const std::size_t mine = threads.fetch_add(1, std::memory_order_relaxed);
  return mine;
}

}  // namespace

std::optional<AllocationRefusal> PersistentArena::Open(HostMemory& memory, SharedBudget& budget,
                                                       std::size_t reserve, std::size_t ready) {
  if (auto refused = region_.Open(memory, budget, reserve, ready)) return refused;
  const std::size_t chunks = region_.reserved() / kChunk;
  live_.reset(new (std::nothrow) std::atomic<std::uint32_t>[chunks]());
  if (live_ == nullptr) {
    return AllocationRefusal{.reason = AllocationRefusal::Reason::kSystem,
                             .size = chunks * sizeof(std::uint32_t),
                             .alignment = 1,
                             .budget = {}};
  }
  return std::nullopt;
}

void* PersistentArena::Allocate(std::size_t size, std::size_t alignment, bool& edges) noexcept {
  if (size > kLargest || alignment > kLargest) return nullptr;
  size = std::max<std::size_t>(size, 1);  // an address of its own, in its own chunk
  Stripe& stripe = stripes_[StripeOfThread() % kStripes];
  const std::lock_guard lock(stripe.lock);
  for (;;) {
    if (stripe.chunk != ChunkRegion::kNone) {
      const auto end = reinterpret_cast<std::uintptr_t>(region_.At(stripe.chunk)) + kChunk;
      const std::uintptr_t at = (stripe.next + alignment - 1) & ~(std::uintptr_t{alignment} - 1);
      if (at <= end && size <= end - at) {
        stripe.next = at + size;
        live_[stripe.chunk].fetch_add(1, std::memory_order_relaxed);
        void* const block = detail::At(at);
        shadow::Unpoison(block, size);
        return block;
      }
      Drop(stripe.chunk);
    }
    const ChunkRegion::Taken taken = region_.Take(1);
    edges = edges || taken.edges;
    stripe.chunk = taken.first;
    if (taken.first == ChunkRegion::kNone) return nullptr;
    live_[taken.first].store(1, std::memory_order_relaxed);
    stripe.next = reinterpret_cast<std::uintptr_t>(region_.At(taken.first));
  }
}

void PersistentArena::Free(void* block) noexcept { Drop(region_.IndexOf(block)); }

// Whoever is last gives the chunk back: the stripe that leaves it, or the last block.
void PersistentArena::Drop(std::uint32_t chunk) noexcept {
  if (live_[chunk].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  shadow::Retire(region_.At(chunk), kChunk);
  region_.Give(chunk, 1);
}

}  // namespace mete
