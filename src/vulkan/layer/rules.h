// What the layer makes of a driver: the rules, as text, and the count that it holds a process to.
//
// The text is a list of `name=value`, separated by `;`, with quantities as everywhere in mete:
//
//   heaps=256Mi            the first heap has this many bytes, and no more are granted from it
//   heaps=256Mi,1Gi        a discrete GPU in place of the driver's heaps: heap 0 of the device,
//   heap
//                          1 of the host; three memory types (see layer.cc)
//   budget=192Mi,1Gi       what VK_EXT_memory_budget reports of each heap; by default its size
//   blocks=4096            how many blocks may be live at once
//   fail=3                 the third block from now on is refused once, as if memory were short
//   hide_budget=1          VK_EXT_memory_budget does not exist
//   lost=1                 every submission and every wait answers that the device is lost
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "mete/error.h"

namespace mete::layer {

inline constexpr std::size_t kHeaps = 16;

struct Rules {
  std::uint32_t heap_count = 0;  // 0: the driver's own, uncapped; 1: its first, capped; 2: ours
  std::array<std::int64_t, 2> heap_bytes{};
  std::uint32_t budget_count = 0;
  std::array<std::int64_t, 2> budget_bytes{};
  std::int64_t max_blocks = 0;  // 0: the driver's own
  std::int64_t fail_at = 0;     // 0: none
  bool hide_budget = false;
  bool lost = false;
};

// E2071, which names what is wrong. The empty text: no rules.
Result<Rules> ParseRules(std::string_view text);

struct HeapCount {
  std::int64_t blocks = 0;
  std::int64_t bytes = 0;
  std::int64_t peak_bytes = 0;
};

enum class Verdict : std::uint8_t { kGranted, kHeapFull, kTooManyBlocks, kInjected };

// What the process has taken from each heap. Thread-safe.
class Count {
 public:
  // From now on. What is live stays counted; peaks and the place of `fail_at` start again.
  void SetRules(const Rules& rules);
  Rules rules() const;

  // Counts the block, or refuses it and counts nothing.
  Verdict TryTake(std::uint32_t heap, std::int64_t bytes);
  void Return(std::uint32_t heap, std::int64_t bytes);

  HeapCount heap(std::uint32_t index) const;
  std::int64_t tried() const;  // blocks asked for since the rules were set, refused ones included

 private:
  mutable std::mutex mutex_;
  Rules rules_;
  std::array<HeapCount, kHeaps> heaps_{};
  std::int64_t live_ = 0;
  std::int64_t tried_ = 0;
};

}  // namespace mete::layer
