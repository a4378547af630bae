#include "cgroup/meters.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

namespace mete::cgroup {
namespace {

std::unexpected<Error> CannotRead(const KeptFile& file, int error) {
  return Fail(ErrorCode::kSystem,
              fmt::format("{} cannot be read: {}", file.name(), ErrnoText(error)));
}

}  // namespace

Meters::Meters(const ControlDirs& dirs)
    : memory_(dirs.memory.version == Version::kV1 ? "memory.usage_in_bytes" : "memory.current"),
      peak_(dirs.memory.version == Version::kV1 ? "memory.max_usage_in_bytes" : "memory.peak"),
      out_of_memory_(dirs.memory.version == Version::kV1 ? "memory.oom_control" : "memory.events"),
      hits_("memory.failcnt") {}

// Empty where the kernel has no such file. Nothing else may pass for nothing used: an owner of many
// groups may be out of descriptors.
Result<std::string_view> Meters::Text(KeptFile& file, int dir, FileBuffer& buffer) {
  auto text = file.Read(dir, buffer);
  if (text) return *text;
  if (text.error() == ENOENT || text.error() == EOPNOTSUPP) return std::string_view();
  return CannotRead(file, text.error());
}

Result<void> Meters::ReadMemory(const ControlDirs::One& memory, agent::Sample& sample) {
  FileBuffer buffer;
  auto text = Text(memory_, memory.dir, buffer);
  if (!text) return std::unexpected(text.error());
  sample.memory_bytes = NumberIn(*text).value_or(0);
  highest_seen_ = std::max(highest_seen_, sample.memory_bytes);
  text = Text(peak_, memory.dir, buffer);
  if (!text) return std::unexpected(text.error());
  sample.memory_peak_bytes = text->empty() ? highest_seen_ : NumberIn(*text).value_or(0);
  text = Text(out_of_memory_, memory.dir, buffer);
  if (!text) return std::unexpected(text.error());
  sample.oom_kills = NumberAfter(*text, "oom_kill").value_or(0);
  if (memory.version == Version::kV2) {
    sample.memory_max_hits = NumberAfter(*text, "max").value_or(0);
    return {};
  }
  text = Text(hits_, memory.dir, buffer);
  if (!text) return std::unexpected(text.error());
  sample.memory_max_hits = NumberIn(*text).value_or(0);
  return {};
}

Result<void> Meters::ReadPids(const ControlDirs::One& pids, agent::Sample& sample) {
  FileBuffer buffer;
  auto text = Text(pids_, pids.dir, buffer);
  if (!text) return std::unexpected(text.error());
  sample.pids = NumberIn(*text).value_or(0);
  text = Text(pids_events_, pids.dir, buffer);
  if (!text) return std::unexpected(text.error());
  sample.pids_max_hits = NumberAfter(*text, "max").value_or(0);
  return {};
}

Result<agent::Sample> Meters::Read(int unified, const ControlDirs& dirs) {
  agent::Sample sample;
  FileBuffer buffer;
  auto events = group_events_.Read(unified, buffer);
  if (!events) return CannotRead(group_events_, events.error());
  sample.populated = NumberAfter(*events, "populated") == 1;
  sample.frozen = NumberAfter(*events, "frozen") == 1;
  auto cpu = ReadCpu(unified);
  if (!cpu) return std::unexpected(cpu.error());
  sample.cpu_ns = *cpu;
  Result<void> read;
  if (dirs.memory.version != Version::kNone) read = ReadMemory(dirs.memory, sample);
  if (read && dirs.pids.version != Version::kNone) read = ReadPids(dirs.pids, sample);
  if (!read) return std::unexpected(read.error());
  return sample;
}

// The unified hierarchy counts CPU time in every group, with or without its cpu controller.
Result<std::int64_t> Meters::ReadCpu(int unified) {
  FileBuffer buffer;
  auto text = Text(cpu_, unified, buffer);
  if (!text) return std::unexpected(text.error());
  return NumberAfter(*text, "usage_usec").value_or(0) * 1000;
}

}  // namespace mete::cgroup
