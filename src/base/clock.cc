#include "mete/clock.h"

#include <fcntl.h>
#include <sys/timex.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <limits>

namespace mete {
namespace {
Duration Read(clockid_t id) {
  timespec ts{};
  clock_gettime(id, &ts);
  return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}

// CLOCK_MONOTONIC has a coarse variant and CLOCK_BOOTTIME has none; they differ by the time that
// the machine has slept, which is looked up once a second.
struct Offset {
  std::atomic<std::int64_t> boot_minus_monotonic{0};
  std::atomic<std::int64_t> until{std::numeric_limits<std::int64_t>::min()};  // monotonic
};
Offset g_offset;

}  // namespace

Time SystemClock::Coarse() const {
  const Duration coarse = Read(CLOCK_MONOTONIC_COARSE);
  if (coarse.count() >= g_offset.until.load(std::memory_order_relaxed)) {
    Duration before, boot, after;
    do {  // again if the thread was not running in between
      before = Read(CLOCK_MONOTONIC);
      boot = Read(CLOCK_BOOTTIME);
      after = Read(CLOCK_MONOTONIC);
    } while (after - before > std::chrono::milliseconds(1));
    // Behind by what the reading took, never ahead.
    g_offset.boot_minus_monotonic.store((boot - after).count(), std::memory_order_relaxed);
    g_offset.until.store((coarse + std::chrono::seconds(1)).count(), std::memory_order_relaxed);
  }
  return Time(coarse + Duration(g_offset.boot_minus_monotonic.load(std::memory_order_relaxed)));
}

Time SystemClock::Now() const { return Time(Read(CLOCK_BOOTTIME)); }
const SystemClock& SystemClock::Instance() {
  static const SystemClock clock;
  return clock;
}

WallTime SystemClock::WallNow() const { return WallTime(Read(CLOCK_REALTIME)); }

// random(4): one for each boot, 36 characters.
std::string SystemClock::BootId() const {
  char id[36];
  const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const ssize_t size = read(file, id, sizeof id);
  close(file);
  return size == sizeof id ? std::string(id, sizeof id) : std::string();
}

bool SystemClock::IsWallSynchronised() const {
  timex query{};
  return adjtimex(&query) != TIME_ERROR;
}

}  // namespace mete
