#include "cgroup/events.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

using std::chrono::milliseconds;

// How long after an out-of-memory notice to look again; more than the 13 ms seen until the kill.
constexpr Duration kLookAgain = milliseconds(20);

constexpr const char* kOomControl = "memory.oom_control";

Result<void> Failed(const char* what, int error) {
  return Fail(ErrorCode::kSystem, fmt::format("{} cannot be watched: {}", what, ErrnoText(error)));
}

void ReadCounter(int fd) {
  std::uint64_t count;
  if (fd >= 0) [[maybe_unused]]
    ssize_t got = read(fd, &count, sizeof count);
}

// Asks v1 to signal `event` for the file; `argument` is the threshold, if the file takes one.
int Register(int memory_dir, int event, int file, std::string_view argument) {
  return WriteAt(memory_dir, "cgroup.event_control",
                 fmt::format("{} {} {}", event, file, argument));
}

}  // namespace

bool EventSource::Add(int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

Result<void> EventSource::Open(int unified, const ControlDirs& dirs) {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  group_events_.reset(openat(unified, "cgroup.events", O_RDONLY | O_CLOEXEC));
  if (!epoll_ || !group_events_ || !Add(group_events_.get(), EPOLLPRI)) {
    return Failed("cgroup.events", errno);
  }
  if (dirs.pids.version == Version::kV2) {
    pids_events_.reset(openat(dirs.pids.dir, "pids.events", O_RDONLY | O_CLOEXEC));
    if (pids_events_ && !Add(pids_events_.get(), EPOLLPRI)) return Failed("pids.events", errno);
  }
  Result<void> opened = OpenMemory(dirs.memory);
  if (opened) Drain();  // a kernel file polls readable until its first read
  return opened;
}

Result<void> EventSource::OpenMemory(const ControlDirs::One& memory) {
  if (memory.version == Version::kV2) {
    memory_events_.reset(openat(memory.dir, "memory.events", O_RDONLY | O_CLOEXEC));
    if (!memory_events_ || !Add(memory_events_.get(), EPOLLPRI)) {
      return Failed("memory.events", errno);
    }
  } else if (memory.version == Version::kV1) {
    // The kernel needs the file for the registration alone.
    const UniqueFd oom_control(openat(memory.dir, kOomControl, O_RDONLY | O_CLOEXEC));
    oom_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!oom_control || !oom_) return Failed(kOomControl, errno);
    if (int error = Register(memory.dir, oom_.get(), oom_control.get(), "")) {
      return Failed(kOomControl, error);
    }
    if (!Add(oom_.get(), EPOLLIN)) return Failed(kOomControl, errno);
    memory_dir_ = memory.dir;
  }
  return {};
}

Result<void> EventSource::SetLine(const ControlDirs::One& memory,
                                  std::optional<std::int64_t> line) {
  line_.reset();  // closing the descriptor ends the registration, and leaves the epoll set
  if (!line || memory.version == Version::kNone) return {};
  const bool v1 = memory.version == Version::kV1;
  const char* file = v1 ? "memory.usage_in_bytes" : "memory.current";
  UniqueFd usage(openat(memory.dir, file, O_RDONLY | O_CLOEXEC));
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!usage || !event || !Add(event.get(), EPOLLIN)) return Failed(file, errno);
  if (int error =
          v1 ? Register(memory.dir, event.get(), usage.get(), fmt::format("{}", *line)) : 0) {
    return Failed(file, error);
  }
  line_ = std::move(event);
  // The kernel tells of crossings only (v1), or of the next allocation (v2): a line that is already
  // passed is told here.
  FileBuffer buffer;
  auto used = ReadFrom(usage.get(), buffer);
  if (used && NumberIn(*used).value_or(0) >= *line) {
    const std::uint64_t one = 1;
    [[maybe_unused]] ssize_t put = write(line_.get(), &one, sizeof one);
  }
  return {};
}

void EventSource::LookAgain() {
  if (!again_) {
    again_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (again_) Add(again_.get(), EPOLLIN);
  }
  itimerspec when{};
  when.it_value.tv_nsec = kLookAgain.count();
  timerfd_settime(again_.get(), 0, &when, nullptr);
}

void EventSource::Drain() {
  FileBuffer buffer;
  // Reading is what clears them.
  for (const UniqueFd* file : {&group_events_, &memory_events_, &pids_events_}) {
    if (*file) [[maybe_unused]]
      auto text = ReadFrom(file->get(), buffer);
  }
  ReadCounter(line_.get());
  if (!oom_) return;
  std::uint64_t count = 0;
  const bool announced = read(oom_.get(), &count, sizeof count) > 0;
  ReadCounter(again_.get());
  auto control = ReadAt(memory_dir_, kOomControl, buffer);
  if (announced || (control && NumberAfter(*control, "under_oom").value_or(0) > 0)) LookAgain();
}

bool WaitFor(int group_events, std::string_view key, std::int64_t wanted, Duration deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  FileBuffer buffer;
  // Not poll alone: the kernel delays the second notice within 10 ms, and a group that was just
  // filled and is now killed is the common case. A read costs 1 us.
  Duration step = std::chrono::microseconds(100);
  for (;;) {
    auto text = ReadFrom(group_events, buffer);
    if (text && NumberAfter(*text, key) == wanted) return true;
    if (!text && text.error() == ENODEV) return key == "populated";  // removed: nobody is in it
    const Duration left = end - std::chrono::steady_clock::now();
    if (left <= Duration(0)) return false;
    const Duration wait = std::min(left, step);
    timespec time{static_cast<time_t>(wait.count() / 1'000'000'000),
                  static_cast<long>(wait.count() % 1'000'000'000)};
    pollfd poll{group_events, POLLPRI, 0};
    ppoll(&poll, 1, &time, nullptr);
    step = std::min<Duration>(step * 2, milliseconds(10));
  }
}

}  // namespace mete::cgroup
