// The readings of one group.
#pragma once

#include "agent/host.h"
#include "cgroup/control_file.h"
#include "cgroup/limits.h"

namespace mete::cgroup {

class Meters {
 public:
  explicit Meters(const ControlDirs& dirs);

  // `unified` is the group's directory there. A reading that the kernel does not offer stays 0; an
  // error means that the group was removed, or that there are no descriptors left.
  Result<agent::Sample> Read(int unified, const ControlDirs& dirs);

  // cgroup.events, to wait for a change of it; kept, and not the one of an EventSource, which would
  // miss what is read here. -1: it cannot be opened.
  int events(int unified) { return group_events_.Open(unified); }

  // The CPU time alone, in nanoseconds.
  Result<std::int64_t> ReadCpu(int unified);

 private:
  static Result<std::string_view> Text(KeptFile& file, int dir, FileBuffer& buffer);
  Result<void> ReadMemory(const ControlDirs::One& memory, agent::Sample& sample);
  Result<void> ReadPids(const ControlDirs::One& pids, agent::Sample& sample);

  KeptFile cpu_{"cpu.stat"};
  KeptFile group_events_{"cgroup.events"};
  KeptFile pids_{"pids.current"}, pids_events_{"pids.events"};
  KeptFile memory_, peak_, out_of_memory_, hits_;
  std::int64_t highest_seen_ = 0;  // the peak where the kernel keeps none (v2 before Linux 5.19)
};

}  // namespace mete::cgroup
