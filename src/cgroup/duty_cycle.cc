#include "cgroup/duty_cycle.h"

#include <algorithm>
#include <chrono>

namespace mete::cgroup {
namespace {

using std::chrono::milliseconds;

// As the kernel's own period of CPU quotas.
constexpr double kPeriod = 100e6;
// A stop and a continuation cost about 0.1 ms each for a small tree: 5 % of this.
constexpr double kLeastSlice = 5e6;
// Sooner than the kernel moves the figure looking is of no use; later than this nobody waits to
// see that a program which was idle began to spin, or that one which stands still was continued.
constexpr Duration kSoonest = milliseconds(2);
constexpr Duration kLatest = milliseconds(100);
constexpr Duration kLatestStopped = milliseconds(50);

}  // namespace

DutyCycle::DutyCycle(std::int64_t nanocores, unsigned cores)
    : nanocores_(nanocores),
      rate_(static_cast<double>(nanocores) / 1e9),
      spare_(static_cast<double>(cores) - rate_),
      slice_(std::max(rate_ * kPeriod, kLeastSlice)),
      balance_(slice_) {}

Duration DutyCycle::Next(bool idle) {
  if (!run_) {
    const Duration grown(static_cast<std::int64_t>((slice_ - balance_) / rate_));
    return std::clamp<Duration>(grown, kSoonest, kLatestStopped);
  }
  if (spare_ <= 0) return kLatest;
  const Duration used_up(static_cast<std::int64_t>(std::min(balance_ / spare_, 1e9)));
  // Who was idle is looked at less and less often.
  wait_ = idle ? std::max(wait_ * 2, used_up) : used_up;
  wait_ = std::clamp<Duration>(wait_, kSoonest, kLatest);
  return wait_;
}

DutyCycle::Decision DutyCycle::Look(Duration now, std::int64_t used) {
  if (!begun_) looked_at_ = now, used_ = used, begun_ = true;
  const auto wall = static_cast<double>(std::max<Duration>(now - looked_at_, Duration(0)).count());
  const std::int64_t spent = std::max<std::int64_t>(used - used_, 0);
  looked_at_ = std::max(looked_at_, now);
  used_ = std::max(used_, used);
  balance_ = std::min(balance_ + rate_ * wall - static_cast<double>(spent), slice_);
  if (run_ && balance_ <= 0) run_ = false;
  if (!run_ && balance_ >= slice_) run_ = true;
  return {run_, Next(spent == 0)};
}

}  // namespace mete::cgroup
