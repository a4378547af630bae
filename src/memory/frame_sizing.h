// How much to have ready for a frame, from what the last 128 frames needed. Pure.
//
// Grows at once to what the last frame needed: a load that has risen is served late for one frame.
// Shrinks after 128 frames that would have fit into less, to what 99 of 100 of them fit into: a
// single spike is not kept for longer, and a load that comes every few frames is not let go.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mete {

class FrameSizing {
 public:
  static constexpr int kWindow = 128;
  static constexpr std::size_t kGrain = std::size_t{64} << 10;

  explicit FrameSizing(std::size_t ready) noexcept;

  // A frame has ended that needed this much.
  void Add(std::size_t need) noexcept;

  std::size_t target() const noexcept { return target_; }

  // The 99th percentile of the window, in whole grains; the target before any frame has ended.
  std::size_t hint() const noexcept;

 private:
  std::array<std::size_t, kWindow> needs_{};
  int count_ = 0;
  int at_ = 0;
  int quiet_ = 0;  // frames since the target last changed
  std::size_t target_;
};

}  // namespace mete
