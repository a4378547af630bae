// Replaces operator new of the program, and counts what mete does not track. Link mete::new_hook.
//
// The other forms (arrays, nothrow, sized) end here by the defaults of the standard library, but
// for the aligned ones, which have an end of their own.
#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "memory/untracked.h"

namespace {

namespace untracked = mete::untracked;
using std::memory_order_relaxed;

void* Count(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  untracked::g_counted.store(true, memory_order_relaxed);
  untracked::g_allocations.fetch_add(1, memory_order_relaxed);
  untracked::g_live.fetch_add(1, memory_order_relaxed);
  untracked::g_live_bytes.fetch_add(static_cast<std::int64_t>(malloc_usable_size(block)),
                                    memory_order_relaxed);
  return block;
}

void Uncount(void* block) noexcept {
  if (block == nullptr) return;
  untracked::g_live.fetch_sub(1, memory_order_relaxed);
  untracked::g_live_bytes.fetch_sub(static_cast<std::int64_t>(malloc_usable_size(block)),
                                    memory_order_relaxed);
  std::free(block);
}

void* Aligned(std::size_t size, std::size_t alignment) {
  void* block = nullptr;
  alignment = std::max(alignment, sizeof(void*));
  return posix_memalign(&block, alignment, std::max<std::size_t>(size, 1)) == 0 ? block : nullptr;
}

}  // namespace

void* operator new(std::size_t size) { return Count(std::malloc(std::max<std::size_t>(size, 1))); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return Count(Aligned(size, static_cast<std::size_t>(alignment)));
}
void operator delete(void* block) noexcept { Uncount(block); }
void operator delete(void* block, std::size_t) noexcept { Uncount(block); }
void operator delete(void* block, std::align_val_t) noexcept { Uncount(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { Uncount(block); }
