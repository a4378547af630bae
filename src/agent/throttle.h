// How far an agent's rate of CPU is turned down, and when it goes on: a pure decision.
//
// While something throttles it, the rate goes down in steps: 50 % of what it may have at once, 25 %
// after kStep, 10 % after another. When nothing does any more it goes up again the same way, so
// that an agent that falls back into its violation is not let loose in between. Never below 10 %:
// at 1 % a group needs seconds to stop or to die (docs/enforcement.md).
#pragma once

#include <cstdint>
#include <optional>

#include "mete/clock.h"

namespace mete::agent {

class CpuThrottle {
 public:
  static constexpr Duration kStep = std::chrono::seconds(10);

  // To be called whenever `wanted` may have changed, and at NextChange(). Returns percent().
  int Update(bool wanted, Time now);

  // Back to 100 % at once, until it is wanted again.
  void Clear();

  // Of the CPU limit, or of all cores where there is none: 100, 50, 25 or 10.
  int percent() const noexcept;
  std::optional<Time> NextChange() const noexcept { return next_; }

 private:
  int level_ = 0;  // 0: as fast as it may
  bool wanted_ = false;
  std::optional<Time> next_;  // of the next step in either direction
};

// `percent` of a rate, and no less than the kernel can hold.
std::int64_t ThrottledRate(std::int64_t full_nanocores, int percent) noexcept;

}  // namespace mete::agent
