// The watch word of a budget: which edges it has passed, which of those nobody has taken yet, and
// from which charge on there is anything to look at. One 64-bit word, so that one compare-and-swap
// keeps the three consistent.
//
//   bits  0..7   above:   threshold i was reached and has not re-armed; bit 7: the limit
//   bits  8..15  pending: raised and not taken
//   bits 16..21  the interned set of thresholds          (constant)
//   bit  22      a flow, not a level                     (constant)
//   bit  23      a SharedBudget                          (constant)
//   bits 24..31  version: how often the limit was set
//   bits 32..63  floor: below it lies no armed edge and nothing that the limit refuses; 26 bits of
//                mantissa and 6 of shift, rounded down, so a charge near it may look for nothing
//                but never misses anything
#pragma once

#include <bit>
#include <cstdint>

namespace mete::watch {

inline constexpr int kLimitBit = 7;
inline constexpr std::uint64_t kAboveMask = 0xff;
inline constexpr int kPendingShift = 8;
inline constexpr std::uint64_t kPendingMask = 0xff00;
inline constexpr int kThresholdsShift = 16;
inline constexpr std::uint64_t kThresholdsMask = 0x3f;
inline constexpr std::uint64_t kFlowBit = 1u << 22;
inline constexpr std::uint64_t kSharedBit = 1u << 23;
inline constexpr int kVersionShift = 24;
inline constexpr std::uint64_t kVersionMask = 0xff000000;
inline constexpr int kFloorShift = 32;
inline constexpr int kMantissaBits = 26;

// The largest floor that can be written and is not above the amount.
constexpr std::uint32_t EncodeFloor(std::int64_t amount) noexcept {
  if (amount <= 0) return 0;
  const auto value = static_cast<std::uint64_t>(amount);
  const int width = static_cast<int>(std::bit_width(value));
  const int shift = width > kMantissaBits ? width - kMantissaBits : 0;
  return static_cast<std::uint32_t>((value >> shift) << 6) | static_cast<std::uint32_t>(shift);
}

constexpr std::int64_t DecodeFloor(std::uint32_t floor) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(floor >> 6) << (floor & 63));
}

constexpr std::int64_t Floor(std::uint64_t word) noexcept {
  return DecodeFloor(static_cast<std::uint32_t>(word >> kFloorShift));
}

constexpr bool IsFlow(std::uint64_t word) noexcept { return (word & kFlowBit) != 0; }
constexpr bool IsShared(std::uint64_t word) noexcept { return (word & kSharedBit) != 0; }
constexpr bool IsAbove(std::uint64_t word, int bit) noexcept { return ((word >> bit) & 1) != 0; }

constexpr std::uint64_t WithFloor(std::uint64_t word, std::int64_t floor) noexcept {
  return (word & 0xffffffffu) | std::uint64_t{EncodeFloor(floor)} << kFloorShift;
}

constexpr std::uint64_t NextVersion(std::uint64_t word) noexcept {
  const std::uint64_t version = word + (std::uint64_t{1} << kVersionShift);
  return (word & ~kVersionMask) | (version & kVersionMask);
}

constexpr std::uint8_t ThresholdsId(std::uint64_t word) noexcept {
  return static_cast<std::uint8_t>((word >> kThresholdsShift) & kThresholdsMask);
}

// The smallest use that is at least `percent` of the limit; exact, without overflow.
constexpr std::int64_t ThresholdAmount(std::int64_t limit, int percent) noexcept {
  const std::int64_t rest = limit % 100;
  return limit / 100 * percent + (rest * percent + 99) / 100;
}

// The largest use at which an edge at `percent` of a level re-arms: 5 points below.
constexpr std::int64_t RearmAmount(std::int64_t limit, int percent) noexcept {
  const int below = percent > 5 ? percent - 5 : 0;
  return limit / 100 * below + limit % 100 * below / 100;
}

}  // namespace mete::watch
