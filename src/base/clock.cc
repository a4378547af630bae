#include "mete/clock.h"

#include <ctime>

namespace mete {
namespace {
Duration Read(clockid_t id) {
  timespec ts{};
  clock_gettime(id, &ts);
  return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}
}  // namespace

Time SystemClock::Now() const { return Time(Read(CLOCK_BOOTTIME)); }
WallTime SystemClock::WallNow() const { return WallTime(Read(CLOCK_REALTIME)); }

}  // namespace mete
