// The checksum of a row: 64 bits over its columns and their types, in order.
//
// It is there to find what a disk did, not what an enemy did. Each value goes through a multiply of
// 64 by 64 bits whose halves are folded, so that any changed bit changes about half of the result;
// two rows that differ are taken for one with a probability of about 2^-64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace mete::store {

class RowHash {
 public:
  explicit RowHash(std::uint64_t seed) noexcept : state_(seed) {}

  void Null() noexcept { Mix(kNull, 0); }
  void Int(std::int64_t value) noexcept { Mix(kInt, static_cast<std::uint64_t>(value)); }
  void Text(std::string_view text) noexcept { Bytes(kText, text); }
  void Blob(std::string_view blob) noexcept { Bytes(kBlob, blob); }

  std::uint64_t value() const noexcept { return state_; }

 private:
  // Odd, with as many ones as zeros; a type of column each.
  static constexpr std::uint64_t kNull = 0xa0761d6478bd642f, kInt = 0xe7037ed1a0b428db,
                                 kText = 0x8ebc6af09c88c6e3, kBlob = 0x589965cc75374cc3,
                                 kRest = 0x1d8e4e27c47d124f;

  static constexpr std::size_t kLanes = 4;

  static std::uint64_t Fold(std::uint64_t a, std::uint64_t b) noexcept {
    __extension__ using Product = unsigned __int128;
    const Product product = static_cast<Product>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  void Mix(std::uint64_t type, std::uint64_t value) noexcept {
    state_ = Fold(state_ ^ type, value ^ kRest) + type;
  }
  void Bytes(std::uint64_t type, std::string_view bytes) noexcept {
    Mix(type, bytes.size());
    std::uint64_t word = 0;
    if (bytes.size() >= kLanes * sizeof(word)) MixLanes(type, bytes);
    while (bytes.size() >= sizeof(word)) {
      std::memcpy(&word, bytes.data(), sizeof(word));
      Mix(type, word);
      bytes.remove_prefix(sizeof(word));
    }
    if (bytes.empty()) return;
    word = 0;
    std::memcpy(&word, bytes.data(), bytes.size());
    Mix(type, word);
  }

  // What is long goes through several multiplies at a time, which do not wait for each other.
  void MixLanes(std::uint64_t type, std::string_view& bytes) noexcept {
    std::uint64_t lanes[kLanes] = {state_, state_ + kInt, state_ + kText, state_ + kBlob};
    for (; bytes.size() >= sizeof(lanes); bytes.remove_prefix(sizeof(lanes))) {
      for (std::size_t i = 0; i < kLanes; ++i) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + i * sizeof(word), sizeof(word));
        lanes[i] = Fold(lanes[i] ^ type, word ^ kRest) + type;
      }
    }
    for (const std::uint64_t lane : lanes) Mix(type, lane);
  }

  std::uint64_t state_;
};

}  // namespace mete::store
