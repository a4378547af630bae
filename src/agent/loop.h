// The event loop of one thread: descriptors, one deadline, signals. Level-triggered epoll.
//
// Invariants:
//   1. After Remove(fd) its handler is not called again, also not for an event that the same round
//      had already fetched, and also if the number of the descriptor was given to another file.
//   2. A handler may add and remove any descriptor, its own included.
#pragma once

#include <signal.h>
#include <sys/signalfd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "mete/clock.h"
#include "mete/error.h"

namespace mete::agent {

class Loop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;
  using SignalHandler = std::function<void(const signalfd_siginfo& info)>;

  static Result<std::unique_ptr<Loop>> Create();

  // The loop watches the descriptor and does not own it. REQUIRES: not watched yet.
  Result<void> Add(int fd, std::uint32_t events, Handler handler);
  void Change(int fd, std::uint32_t events);
  // Before the descriptor is closed. Does nothing for one that is not watched.
  void Remove(int fd);

  // Takes these signals as events; the caller has blocked them. One call per loop.
  Result<void> AddSignals(const sigset_t& signals, SignalHandler handler);

  // Waits for events or the deadline (boot time), and calls the handlers of one round. A deadline
  // in the past only looks. Returns early when nothing happened only after a stop and continue.
  Result<void> RunOnce(std::optional<Time> deadline);

 private:
  struct Watch {
    std::uint32_t generation = 0;  // odd while watched
    // Shared, so that a handler may remove itself while it runs.
    std::shared_ptr<Handler> handler;
  };

  Loop() = default;
  Result<void> Arm(std::optional<Time> deadline);

  UniqueFd epoll_;
  UniqueFd timer_;
  UniqueFd signals_;
  std::optional<Time> armed_;
  std::vector<Watch> watches_;  // by descriptor number: small and dense
};

}  // namespace mete::agent
