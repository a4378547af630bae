#include "base/pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace mete {
namespace {

void* Map(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* MapPages(std::size_t bytes, bool huge) {
  if (!huge) return Map(bytes);
  // mmap aligns to a small page only: map more, and give both ends back.
  char* const mapped = static_cast<char*>(Map(bytes + kHugePage));
  const std::size_t past = reinterpret_cast<std::uintptr_t>(mapped) % kHugePage;
  char* const begin = mapped + (past == 0 ? 0 : kHugePage - past);
  char* const end = mapped + bytes + kHugePage;
  if (begin != mapped) munmap(mapped, static_cast<std::size_t>(begin - mapped));
  if (begin + bytes != end) munmap(begin + bytes, static_cast<std::size_t>(end - begin) - bytes);
  madvise(begin, bytes, MADV_HUGEPAGE);  // a wish: nothing is wrong without
  return begin;
}

void UnmapPages(void* memory, std::size_t bytes) noexcept { munmap(memory, bytes); }

void DropPages(void* memory, std::size_t bytes) noexcept {
  madvise(memory, bytes, MADV_DONTNEED);  // of private memory: zero at the next access (madvise(2))
}

}  // namespace mete
