#include "agent/loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"

namespace mete::agent {
namespace {

std::unexpected<Error> SystemError(const char* what) {
  return Fail(ErrorCode::kSystem, std::string(what) + ": " + std::strerror(errno));
}

std::uint64_t Tag(int fd, std::uint32_t generation) {
  return (static_cast<std::uint64_t>(generation) << 32) | static_cast<std::uint32_t>(fd);
}

}  // namespace

Result<std::unique_ptr<Loop>> Loop::Create() {
  std::unique_ptr<Loop> loop(new Loop);
  loop->epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_) return SystemError("epoll_create1");
  return loop;
}

Result<void> Loop::Add(int fd, std::uint32_t events, Handler handler) {
  METE_CHECK(fd >= 0);
  const auto index = static_cast<std::size_t>(fd);
  if (index >= watches_.size()) watches_.resize(index + 1);
  Watch& watch = watches_[index];
  METE_CHECK(watch.generation % 2 == 0);
  epoll_event event{};
  event.events = events;
  event.data.u64 = Tag(fd, watch.generation + 1);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return SystemError("epoll_ctl");
  ++watch.generation;
  watch.handler = std::make_shared<Handler>(std::move(handler));
  return {};
}

void Loop::Change(int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = Tag(fd, watches_.at(static_cast<std::size_t>(fd)).generation);
  METE_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0);
}

void Loop::Remove(int fd) {
  const auto index = static_cast<std::size_t>(fd);
  if (fd < 0 || index >= watches_.size() || watches_[index].generation % 2 == 0) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  ++watches_[index].generation;
  watches_[index].handler = nullptr;
}

Result<void> Loop::AddSignals(const sigset_t& signals, SignalHandler handler) {
  signals_.reset(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return SystemError("signalfd");
  const int fd = signals_.get();
  return Add(fd, EPOLLIN, [fd, handler = std::move(handler)](std::uint32_t) {
    signalfd_siginfo info{};
    while (read(fd, &info, sizeof info) == sizeof info) handler(info);
  });
}

// A timer descriptor and not epoll's own timeout: that one stands still while the machine sleeps,
// and windows do not.
Result<void> Loop::Arm(std::optional<Time> deadline) {
  if (!timer_) {
    if (!deadline) return {};
    timer_.reset(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_) return SystemError("timerfd_create");
    // Never read: setting it anew, to another time or to none, makes it unreadable again.
    if (Result<void> added = Add(timer_.get(), EPOLLIN, [](std::uint32_t) {}); !added) return added;
  }
  if (armed_ == deadline) return {};
  itimerspec spec{};
  if (deadline) {
    // Zero would disarm; one nanosecond after boot is as much in the past as anything.
    const std::int64_t ns = std::max<std::int64_t>(deadline->time_since_epoch().count(), 1);
    spec.it_value.tv_sec = ns / 1'000'000'000;
    spec.it_value.tv_nsec = ns % 1'000'000'000;
  }
  if (timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr) != 0) {
    return SystemError("timerfd_settime");
  }
  armed_ = deadline;
  return {};
}

Result<void> Loop::RunOnce(std::optional<Time> deadline) {
  if (Result<void> armed = Arm(deadline); !armed) return armed;
  std::array<epoll_event, 64> events;
  const int count =
      epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), /*timeout=*/-1);
  // EINTR: a stop and continue, also with every signal blocked.
  if (count < 0 && errno != EINTR) return SystemError("epoll_wait");
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const auto fd = static_cast<std::uint32_t>(event.data.u64);
    const Watch& watch = watches_[fd];
    if (watch.generation != static_cast<std::uint32_t>(event.data.u64 >> 32)) continue;
    std::shared_ptr<Handler> handler = watch.handler;
    (*handler)(event.events);
  }
  return {};
}

}  // namespace mete::agent
