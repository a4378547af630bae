#include "cgroup/pressure.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

using agent::Pressure;
using agent::PressureWatch;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The kernel's bounds for any window, and the step for callers without CAP_SYS_RESOURCE (from Linux
// 6.5 on; before that it takes none of theirs).
constexpr Duration kShortest = milliseconds(500);
constexpr Duration kLongest = seconds(10);
constexpr Duration kStep = seconds(2);

const char* FileOf(Pressure what) {
  return what == Pressure::kCpuSome ? "cpu.pressure" : "memory.pressure";
}

std::string_view ShareOf(Pressure what) { return what == Pressure::kMemoryFull ? "full" : "some"; }

std::int64_t Microseconds(Duration duration) {
  return std::chrono::duration_cast<microseconds>(duration).count();
}

// The descriptor, or -1 and errno.
UniqueFd OpenTrigger(int unified, Pressure what, Duration stall, Duration window) {
  UniqueFd fd(openat(unified, FileOf(what), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fd;
  const std::string trigger =
      fmt::format("{} {} {}", ShareOf(what), Microseconds(stall), Microseconds(window));
  // With the closing NUL, as the kernel's documentation has it.
  if (write(fd.get(), trigger.c_str(), trigger.size() + 1) < 0) {
    const int error = errno;
    fd.reset();
    errno = error;
  }
  return fd;
}

}  // namespace

Result<PressureWatch> OpenPressure(int unified, Pressure what, Duration stall, Duration window) {
  if (window < kShortest || window > kLongest || stall <= Duration::zero() || stall > window) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("pressure: stall and window are out of range: given {} us in {} us, "
                            "allowed: a window of 500000 to 10000000 us, a stall above 0 and not "
                            "above it",
                            Microseconds(stall), Microseconds(window)));
  }
  UniqueFd fd = OpenTrigger(unified, what, stall, window);
  if (!fd && errno == EINVAL && window % kStep != Duration::zero()) {
    const Duration taken = (window / kStep + 1) * kStep;
    stall =
        Duration(stall.count() / 1000 * (taken.count() / 1000) / (window.count() / 1000) * 1000);
    window = taken;
    fd = OpenTrigger(unified, what, stall, window);
  }
  if (!fd) {
    return Fail(ErrorCode::kSystem, fmt::format("{} cannot be watched: {} {} us in {} us: {}",
                                                FileOf(what), ShareOf(what), Microseconds(stall),
                                                Microseconds(window), ErrnoText(errno)));
  }
  return PressureWatch{std::move(fd), POLLPRI, stall, window};
}

agent::GradeInfo PressureGrade(int unified) {
  FileBuffer buffer;
  const char* file = "memory.pressure";
  auto text = ReadAt(unified, file, buffer);  // EOPNOTSUPP: the kernel was told not to count
  const int error = text ? 0 : text.error();
  if (error == 0 && faccessat(unified, file, W_OK, AT_EACCESS) == 0) {
    return {agent::Grade::kKernel, "memory.pressure, cpu.pressure"};
  }
  return {agent::Grade::kAbsent,
          fmt::format("{} cannot be watched: {}", file, ErrnoText(error != 0 ? error : errno))};
}

}  // namespace mete::cgroup
