#include "base/pages.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <new>

namespace mete {
namespace {

TEST(Pages, AreZeroAndCanBeWrittenFromEndToEnd) {
  for (const bool huge : {false, true}) {
    constexpr std::size_t kBytes = 3 * kHugePage;
    auto* const memory = static_cast<unsigned char*>(MapPages(kBytes, huge));
    for (std::size_t at = 0; at < kBytes; at += 4096) {
      ASSERT_EQ(memory[at], 0) << at;
      memory[at] = 1;
    }
    memory[kBytes - 1] = 1;
    const auto past = reinterpret_cast<std::uintptr_t>(memory) % kHugePage;
    EXPECT_EQ(huge ? past : 0, 0u);
    UnmapPages(memory, kBytes);
  }
}

// In small pages (proc(5), statm).
std::int64_t AddressSpace() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t pages = 0;
  statm >> pages;
  return pages;
}

// More is mapped to find an aligned place, and given back.
TEST(Pages, TakeNoAddressSpaceBesideWhatWasAskedFor) {
  constexpr std::int64_t kPages = kHugePage / 4096;
  void* const first = MapPages(kHugePage, true);
  const std::int64_t before = AddressSpace();
  void* const second = MapPages(kHugePage, true);
  EXPECT_EQ(AddressSpace(), before + kPages);
  UnmapPages(second, kHugePage);
  EXPECT_EQ(AddressSpace(), before);
  UnmapPages(first, kHugePage);
  EXPECT_EQ(AddressSpace(), before - kPages);
}

TEST(Pages, ThatTheSystemHasNotAreBadAlloc) {
  constexpr std::size_t kTooMuch = std::numeric_limits<std::size_t>::max() / 4096 / 2 * 4096;
  EXPECT_THROW((void)MapPages(kTooMuch, false), std::bad_alloc);
  EXPECT_THROW((void)MapPages(kTooMuch, true), std::bad_alloc);
}

}  // namespace
}  // namespace mete
