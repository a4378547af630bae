// Memory straight from the operating system, for tables that may grow large.
#pragma once

#include <cstddef>

namespace mete {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Zeroed memory that costs nothing until it is touched. `huge`: aligned to kHugePage, and the
// kernel is asked for such pages, so that random accesses walk page tables less often; it may not
// grant them, and one that it grants is zeroed whole at the first touch. Throws std::bad_alloc.
// REQUIRES: whole small pages.
void* MapPages(std::size_t bytes, bool huge);
void UnmapPages(void* memory, std::size_t bytes) noexcept;
// It reads as zero again and costs nothing, but may still be read.
void DropPages(void* memory, std::size_t bytes) noexcept;

}  // namespace mete
