// Counts what each thread of a benchmark asks of malloc; operator new ends here too. It replaces
// malloc, so one source of a program includes it.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace {
constinit thread_local std::int64_t t_mallocs = 0;
}

extern "C" {
void* __libc_malloc(std::size_t size);                           // NOLINT
void* __libc_calloc(std::size_t count, std::size_t size);        // NOLINT
void* __libc_realloc(void* block, std::size_t size);             // NOLINT
void* __libc_memalign(std::size_t alignment, std::size_t size);  // NOLINT

void* malloc(std::size_t size) noexcept { return ++t_mallocs, __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) noexcept {
  return ++t_mallocs, __libc_calloc(count, size);
}
void* realloc(void* block, std::size_t size) noexcept {
  return ++t_mallocs, __libc_realloc(block, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return ++t_mallocs, __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return ++t_mallocs, __libc_memalign(alignment, size);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  *block = (++t_mallocs, __libc_memalign(alignment, size));
  return *block != nullptr ? 0 : ENOMEM;
}
}
