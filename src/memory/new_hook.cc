// Replaces operator new of the program, and counts what mete does not track. Link mete::new_hook.
//
// All forms, since a sanitizer's runtime has its own of those that are left out.
#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "memory/untracked.h"

namespace {

namespace untracked = mete::untracked;
using std::memory_order_relaxed;

void* Count(void* block) noexcept {
  if (block == nullptr) return nullptr;
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

void* Take(std::size_t size) noexcept { return Count(std::malloc(std::max<std::size_t>(size, 1))); }
void* Take(std::size_t size, std::align_val_t alignment) noexcept {
  return Count(Aligned(size, static_cast<std::size_t>(alignment)));
}

void* OrThrow(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

// What the linker is told to look for, since a sanitizer's runtime has the operators as well.
extern "C" const char mete_new_hook = 1;

using std::align_val_t;
using std::nothrow_t;
using std::size_t;

void* operator new(size_t n) { return OrThrow(Take(n)); }
void* operator new[](size_t n) { return OrThrow(Take(n)); }
void* operator new(size_t n, const nothrow_t&) noexcept { return Take(n); }
void* operator new[](size_t n, const nothrow_t&) noexcept { return Take(n); }
void* operator new(size_t n, align_val_t a) { return OrThrow(Take(n, a)); }
void* operator new[](size_t n, align_val_t a) { return OrThrow(Take(n, a)); }
void* operator new(size_t n, align_val_t a, const nothrow_t&) noexcept { return Take(n, a); }
void* operator new[](size_t n, align_val_t a, const nothrow_t&) noexcept { return Take(n, a); }
void operator delete(void* block) noexcept { Uncount(block); }
void operator delete[](void* block) noexcept { Uncount(block); }
void operator delete(void* block, size_t) noexcept { Uncount(block); }
void operator delete[](void* block, size_t) noexcept { Uncount(block); }
void operator delete(void* block, align_val_t) noexcept { Uncount(block); }
void operator delete[](void* block, align_val_t) noexcept { Uncount(block); }
void operator delete(void* block, size_t, align_val_t) noexcept { Uncount(block); }
void operator delete[](void* block, size_t, align_val_t) noexcept { Uncount(block); }
