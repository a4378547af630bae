// What happens in a group, as one descriptor that polls readable.
//
//   became empty    cgroup.events of the unified hierarchy ("populated"), also tells of freezes
//   out of memory   v2: memory.events; v1: an event descriptor on memory.oom_control
//   memory line     v2: memory.events ("high"); v1: an event descriptor on memory.usage_in_bytes
//   fork refused    v2: pids.events; v1 counts them there and tells nobody
//
// v1 announces an out-of-memory kill before it happens (13 ms were seen), so its counter may still
// be old then: a timer makes the descriptor readable once more, until the group is out of it.
// The kernel announces at most one change of a file in 10 ms and delays the next one.
#pragma once

#include <cstdint>
#include <optional>

#include "base/unique_fd.h"
#include "cgroup/limits.h"
#include "mete/clock.h"

namespace mete::cgroup {

class EventSource {
 public:
  // `unified` is the group's directory there; those in `dirs` must stay open.
  Result<void> Open(int unified, const ControlDirs& dirs);

  // Watches for the use reaching `line`; unset ends it. If it is reached already, the descriptor is
  // readable at once. On v2 memory.high must have been written: its events tell of the line.
  Result<void> SetLine(const ControlDirs::One& memory, std::optional<std::int64_t> line);

  int fd() const { return epoll_.get(); }
  void Drain();

 private:
  bool Add(int fd, std::uint32_t events);
  Result<void> OpenMemory(const ControlDirs::One& memory);
  void LookAgain();

  UniqueFd epoll_;
  UniqueFd group_events_;   // cgroup.events
  UniqueFd memory_events_;  // memory.events
  UniqueFd pids_events_;    // pids.events
  int memory_dir_ = -1;     // v1: borrowed from the group
  UniqueFd oom_, line_;     // event descriptors
  UniqueFd again_;          // the timer, once there is something to look at again
};

// Waits until the value after the key ("populated", "frozen") in this cgroup.events descriptor is
// the wanted one. False at the deadline. Not a descriptor of an EventSource: reading clears it.
bool WaitFor(int group_events, std::string_view key, std::int64_t wanted, Duration deadline);

}  // namespace mete::cgroup
