// The states that the explorer has been in, as hashes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace mete::interleave {

// Multiplies into 128 bits and folds, eight bytes at a time.
class Hash {
 public:
  explicit Hash(std::uint64_t seed = 0) : value_(seed ^ 0x9e3779b97f4a7c15u) {}

  void Add(std::uint64_t word) { value_ = Mix(value_, word); }

  // Of a multiple of 32 bytes, in four lanes that do not wait for each other.
  void Add(std::span<const std::byte> bytes) {
    std::array<std::uint64_t, 4> lanes = {value_, value_ + 1, value_ + 2, value_ + 3};
    for (std::size_t at = 0; at < bytes.size(); at += sizeof lanes) {
      std::array<std::uint64_t, 4> words;
      std::memcpy(words.data(), bytes.data() + at, sizeof words);
      for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] = Mix(lanes[i], words[i]);
    }
    for (const std::uint64_t lane : lanes) Add(lane);
  }
  std::uint64_t value() const { return value_; }

 private:
  static std::uint64_t Mix(std::uint64_t value, std::uint64_t word) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(value ^ word) * 0xd6e8feb86659fd93u;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64) ^
           (value << 23 | value >> 41);
  }

  std::uint64_t value_;
};

// Open addressing; each slot has 61 bits of a state's hash and the least cost it was reached at.
class StateSet {
 public:
  static constexpr int kMaxCost = 6;

  // False when the state was there already at this cost or less. 0 <= cost <= kMaxCost.
  bool Add(std::uint64_t hash, int cost) {
    if (2 * (size_ + 1) > slots_.size()) Grow();
    const std::uint64_t key = hash & ~kCostMask;
    const auto packed = static_cast<std::uint64_t>(cost) + 1;
    std::uint64_t& slot = slots_[Find(slots_, key)];
    if (slot == 0) {
      ++size_;
    } else if ((slot & kCostMask) <= packed) {
      return false;
    }
    slot = key | packed;
    return true;
  }
  std::uint64_t size() const { return size_; }

 private:
  static constexpr std::uint64_t kCostMask = 7;

  static std::size_t Find(const std::vector<std::uint64_t>& slots, std::uint64_t key) {
    std::size_t at = static_cast<std::size_t>(key >> 3) & (slots.size() - 1);
    while (slots[at] != 0 && (slots[at] & ~kCostMask) != key) at = (at + 1) & (slots.size() - 1);
    return at;
  }
  void Grow() {
    std::vector<std::uint64_t> larger(slots_.size() * 2);
    for (const std::uint64_t slot : slots_) {
      if (slot != 0) larger[Find(larger, slot & ~kCostMask)] = slot;
    }
    slots_.swap(larger);
  }

  std::vector<std::uint64_t> slots_ = std::vector<std::uint64_t>(1 << 16);
  std::uint64_t size_ = 0;
};

}  // namespace mete::interleave
