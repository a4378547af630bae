#include "agent/throttle.h"

#include <algorithm>
#include <array>

#include "agent/host.h"

namespace mete::agent {
namespace {

constexpr std::array<int, 4> kPercents = {100, 50, 25, 10};
constexpr int kLowest = static_cast<int>(kPercents.size()) - 1;

}  // namespace

int CpuThrottle::percent() const noexcept { return kPercents[static_cast<std::size_t>(level_)]; }

int CpuThrottle::Update(bool wanted, Time now) {
  if (wanted != wanted_) next_ = now;  // the first step in the new direction is taken at once
  wanted_ = wanted;
  const int step = wanted ? 1 : -1;
  const int end = wanted ? kLowest : 0;
  while (next_ && *next_ <= now && level_ != end) {
    level_ += step;
    *next_ += kStep;
  }
  if (level_ == end) next_.reset();
  return percent();
}

void CpuThrottle::Clear() {
  level_ = 0;
  wanted_ = false;
  next_.reset();
}

std::int64_t ThrottledRate(std::int64_t full_nanocores, int percent) noexcept {
  // Divided first: a limit may be as large as its type.
  const std::int64_t part = full_nanocores / 100 * percent;
  return std::max(part, kMinCpuNanocores);
}

}  // namespace mete::agent
