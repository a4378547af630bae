#include "cgroup/meters.h"

#include <fmt/core.h>

#include <algorithm>

namespace mete::cgroup {

Meters::Meters(const ControlDirs& dirs)
    : memory_(dirs.memory.version == Version::kV1 ? "memory.usage_in_bytes" : "memory.current"),
      peak_(dirs.memory.version == Version::kV1 ? "memory.max_usage_in_bytes" : "memory.peak"),
      out_of_memory_(dirs.memory.version == Version::kV1 ? "memory.oom_control" : "memory.events"),
      hits_("memory.failcnt") {}

void Meters::ReadMemory(const ControlDirs::One& memory, agent::Sample& sample) {
  FileBuffer buffer;
  if (auto text = memory_.Read(memory.dir, buffer))
    sample.memory_bytes = NumberIn(*text).value_or(0);
  highest_seen_ = std::max(highest_seen_, sample.memory_bytes);
  auto peak = peak_.Read(memory.dir, buffer);
  sample.memory_peak_bytes = peak ? NumberIn(*peak).value_or(0) : highest_seen_;
  auto events = out_of_memory_.Read(memory.dir, buffer);
  if (events) sample.oom_kills = NumberAfter(*events, "oom_kill").value_or(0);
  if (memory.version == Version::kV2) {
    if (events) sample.memory_max_hits = NumberAfter(*events, "max").value_or(0);
    return;
  }
  if (auto text = hits_.Read(memory.dir, buffer)) {
    sample.memory_max_hits = NumberIn(*text).value_or(0);
  }
}

Result<agent::Sample> Meters::Read(int unified, const ControlDirs& dirs) {
  agent::Sample sample;
  FileBuffer buffer;
  auto events = group_events_.Read(unified, buffer);
  if (!events) {
    return Fail(ErrorCode::kSystem,
                fmt::format("cgroup.events cannot be read: {}", ErrnoText(events.error())));
  }
  sample.populated = NumberAfter(*events, "populated") == 1;
  sample.frozen = NumberAfter(*events, "frozen") == 1;
  // The unified hierarchy counts CPU time in every group, with or without its cpu controller.
  auto cpu = cpu_.Read(unified, buffer);
  if (cpu) sample.cpu_ns = NumberAfter(*cpu, "usage_usec").value_or(0) * 1000;
  if (dirs.memory.version != Version::kNone) ReadMemory(dirs.memory, sample);
  if (dirs.pids.version != Version::kNone) {
    if (auto text = pids_.Read(dirs.pids.dir, buffer)) sample.pids = NumberIn(*text).value_or(0);
    if (auto text = pids_events_.Read(dirs.pids.dir, buffer)) {
      sample.pids_max_hits = NumberAfter(*text, "max").value_or(0);
    }
  }
  return sample;
}

Result<std::int64_t> Meters::ReadCpu(int unified) {
  FileBuffer buffer;
  auto cpu = cpu_.Read(unified, buffer);
  if (cpu) return NumberAfter(*cpu, "usage_usec").value_or(0) * 1000;
  return Fail(ErrorCode::kSystem,
              fmt::format("cpu.stat cannot be read: {}", ErrnoText(cpu.error())));
}

}  // namespace mete::cgroup
