#include "memory/frame_sizing.h"

#include <algorithm>

namespace mete {
namespace {

std::size_t InGrains(std::size_t bytes) noexcept {
  return (bytes + FrameSizing::kGrain - 1) / FrameSizing::kGrain * FrameSizing::kGrain;
}

}  // namespace

FrameSizing::FrameSizing(std::size_t ready) noexcept : target_(InGrains(ready)) {}

void FrameSizing::Add(std::size_t need) noexcept {
  needs_[static_cast<std::size_t>(at_)] = need;
  at_ = (at_ + 1) % kWindow;
  count_ = std::min(count_ + 1, kWindow);
  ++quiet_;
  if (InGrains(need) > target_) {
    target_ = InGrains(need);
    quiet_ = 0;
  } else if (quiet_ >= kWindow) {
    target_ = std::min(target_, hint());
    quiet_ = 0;
  }
}

std::size_t FrameSizing::hint() const noexcept {
  if (count_ == 0) return target_;
  std::array<std::size_t, kWindow> sorted = needs_;
  const auto end = sorted.begin() + count_;
  const auto rank = sorted.begin() + (count_ * 99 + 99) / 100 - 1;
  std::nth_element(sorted.begin(), rank, end);
  return InGrains(*rank);
}

}  // namespace mete
