#include "cgroup/limits.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>

#include "cgroup/control_file.h"
#include "cgroup/cpu_quota.h"

namespace mete::cgroup {
namespace {

using agent::EffectiveLimits;
using agent::KernelLimits;

constexpr std::int64_t kMaxPids = 4'194'304;  // PID_MAX_LIMIT: pids.max takes no more
// v1 says "no limit" as the largest count of pages, in bytes; nobody has 4 EiB.
constexpr std::int64_t kUnlimitedBytes = 1LL << 62;

Result<void> Refused(const char* file, std::string_view asked, int error) {
  return Fail(ErrorCode::kSystem,
              fmt::format("{} cannot be written: asked {}: {}", file, asked, ErrnoText(error)));
}

std::string_view FirstLine(std::string_view text) { return text.substr(0, text.find('\n')); }

bool Exists(int dir, const char* file) { return faccessat(dir, file, F_OK, 0) == 0; }

std::int64_t PageSize() {
  static const std::int64_t page = sysconf(_SC_PAGESIZE);
  return page;
}

// The kernel rounds down too; asking for the result makes the comparison afterwards exact.
std::int64_t WholePages(std::int64_t bytes) { return bytes / PageSize() * PageSize(); }

Result<void> WriteMemoryV2(int dir, const KernelLimits& limits, bool fresh) {
  if (limits.memory_line || !fresh) {
    auto put =
        PutValue(dir, "memory.high",
                 limits.memory_line ? fmt::format("{}", WholePages(*limits.memory_line)) : "max");
    if (!put) return put;
  }
  if (!limits.memory_max && fresh) return {};
  const bool limited = limits.memory_max.has_value();
  auto put = PutValue(dir, "memory.max",
                      limited ? fmt::format("{}", WholePages(*limits.memory_max)) : "max");
  if (!put) return put;
  if (Exists(dir, "memory.swap.max")) {
    put = PutValue(dir, "memory.swap.max",
                   limited ? fmt::format("{}", WholePages(limits.swap_max.value_or(0))) : "max");
    if (!put) return put;
  }
  return PutValue(dir, "memory.oom.group", limited && limits.die_together ? "1" : "0");
}

Result<void> WriteMemoryV1(int dir, const KernelLimits& limits, bool fresh) {
  if (!limits.memory_max && fresh) return {};
  constexpr const char* kMemory = "memory.limit_in_bytes";
  constexpr const char* kWithSwap = "memory.memsw.limit_in_bytes";
  std::string memory = "-1", with_swap = "-1";
  if (limits.memory_max) {
    memory = fmt::format("{}", WholePages(*limits.memory_max));
    // One page more: with equal limits the outer one is met first, which memory.failcnt does not
    // count (seen on 6.18: 0 instead of 130).
    const std::int64_t swap = WholePages(limits.swap_max.value_or(0));
    with_swap = fmt::format("{}", WholePages(*limits.memory_max) + swap + PageSize());
  }
  FileBuffer buffer;
  auto old = ReadAt(dir, kWithSwap, buffer);
  if (!old) return PutValue(dir, kMemory, memory);  // a kernel that does not count swap
  // The kernel refuses a memory limit above that of memory and swap: raise the outer one first.
  const bool raise = !limits.memory_max || *limits.memory_max > NumberIn(*old).value_or(0);
  if (raise) {
    if (auto put = PutValue(dir, kWithSwap, with_swap); !put) return put;
    return PutValue(dir, kMemory, memory);
  }
  if (auto put = PutValue(dir, kMemory, memory); !put) return put;
  return PutValue(dir, kWithSwap, with_swap);
}

Result<void> OutOfRange(const char* field, std::int64_t given, std::int64_t low,
                        std::int64_t high) {
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{} is out of range: given {}, allowed {} to {}", field, given, low, high));
}

}  // namespace

Result<void> PutValue(int dir, const char* file, std::string_view value) {
  const UniqueFd fd(openat(dir, file, O_RDWR | O_TRUNC | O_CLOEXEC));
  if (!fd) return Refused(file, value, errno);
  if (write(fd.get(), value.data(), value.size()) < 0) return Refused(file, value, errno);
  FileBuffer buffer;
  auto held = ReadFrom(fd.get(), buffer);
  if (!held) {
    return Fail(ErrorCode::kSystem, fmt::format("{} cannot be read back: asked {}: {}", file, value,
                                                ErrnoText(held.error())));
  }
  const std::string_view line = FirstLine(*held);
  // v1 takes -1 for "no limit" and shows a number of its own.
  const bool lifted = value == "-1" && NumberIn(line).value_or(-1) >= kUnlimitedBytes;
  if (line != value && !lifted) {
    return Fail(ErrorCode::kSystem,
                fmt::format("{} does not hold what was asked: asked {}, the kernel holds {}", file,
                            value, line));
  }
  return {};
}

Result<void> CheckLimits(const KernelLimits& limits) {
  constexpr std::int64_t kMaxBytes = kUnlimitedBytes - 1;
  if (const auto& cpu = limits.cpu_nanocores;
      cpu && (*cpu < agent::kMinCpuNanocores || *cpu > agent::kMaxCpuNanocores)) {
    return OutOfRange("cpu_nanocores", *cpu, agent::kMinCpuNanocores, agent::kMaxCpuNanocores);
  }
  if (const auto& max = limits.memory_max;
      max && (*max < agent::kMinMemoryBytes || *max > kMaxBytes)) {
    return OutOfRange("memory_max", *max, agent::kMinMemoryBytes, kMaxBytes);
  }
  const std::int64_t line_max = limits.memory_max.value_or(kMaxBytes);
  if (const auto& line = limits.memory_line;
      line && (*line < agent::kMinMemoryBytes || *line > line_max)) {
    return OutOfRange("memory_line", *line, agent::kMinMemoryBytes, line_max);
  }
  if (const auto& swap = limits.swap_max; swap && !limits.memory_max) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("swap_max needs a memory_max, which is missing: given {}", *swap));
  }
  if (const auto& swap = limits.swap_max; swap && (*swap < 0 || *swap > kMaxBytes / 2)) {
    return OutOfRange("swap_max", *swap, 0, kMaxBytes / 2);
  }
  if (limits.pids_max < 1 || limits.pids_max > kMaxPids) {
    return OutOfRange("pids_max", limits.pids_max, 1, kMaxPids);
  }
  return {};
}

Result<void> CheckMemoryFits(const ControlDirs& dirs, std::int64_t memory_max) {
  const bool v2 = dirs.memory.version == Version::kV2;
  FileBuffer buffer;
  auto text = ReadAt(dirs.memory.dir, v2 ? "memory.max" : "memory.limit_in_bytes", buffer);
  // Not lowered: nothing is reclaimed or killed by it.
  if (text && NumberIn(*text).value_or(kUnlimitedBytes) <= WholePages(memory_max)) return {};
  text = ReadAt(dirs.memory.dir, v2 ? "memory.current" : "memory.usage_in_bytes", buffer);
  if (!text) return {};  // the write will say what is wrong
  const std::int64_t used = NumberIn(*text).value_or(0);
  if (used <= WholePages(memory_max)) return {};
  return Fail(ErrorCode::kUpdateFailed,
              fmt::format("memory_max is below what is in use (page cache included): asked {}, "
                          "in use {}",
                          memory_max, used));
}

Result<void> WriteLimits(const ControlDirs& dirs, const KernelLimits& limits, bool fresh) {
  if (auto put = WriteCpuQuota(dirs.cpu, limits.cpu_nanocores, fresh); !put) return put;
  if (dirs.memory.version != Version::kNone) {
    auto put = dirs.memory.version == Version::kV2 ? WriteMemoryV2(dirs.memory.dir, limits, fresh)
                                                   : WriteMemoryV1(dirs.memory.dir, limits, fresh);
    if (!put) return put;
  }
  if (dirs.pids.version == Version::kNone) return {};
  return PutValue(dirs.pids.dir, "pids.max", fmt::format("{}", limits.pids_max));
}

namespace {

// v2 would kill down to it.
bool IsBelowUse(int dir, std::string_view limit) {
  FileBuffer buffer;
  const auto used = ReadAt(dir, "memory.current", buffer);
  const auto bytes = NumberIn(limit);
  return used && bytes && NumberIn(*used).value_or(0) > *bytes;
}

constexpr const char* kMemoryMax = "memory.max";

}  // namespace

SavedLimits::SavedLimits(const ControlDirs& dirs) {
  // In an order in which the kernel takes them again, or the other way round: which one depends on
  // what was written meanwhile (memory.limit_in_bytes may not pass memory.memsw.limit_in_bytes).
  Save(dirs.cpu, {"cpu.max", "cpu.cfs_period_us", "cpu.cfs_quota_us"});
  Save(dirs.memory, {"memory.high", kMemoryMax, "memory.swap.max", "memory.oom.group",
                     "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"});
  Save(dirs.pids, {"pids.max"});
}

void SavedLimits::Save(const ControlDirs::One& place, std::initializer_list<const char*> files) {
  FileBuffer buffer;
  for (const char* file : files) {
    if (place.version == Version::kNone) return;
    if (auto text = ReadAt(place.dir, file, buffer)) {
      values_.push_back({place.dir, file, std::string(FirstLine(*text))});
    }
  }
}

void SavedLimits::Restore() const {
  std::vector<const Value*> refused;
  for (const Value& value : values_) {
    if (value.file == kMemoryMax && IsBelowUse(value.dir, value.text)) continue;
    if (WriteAt(value.dir, value.file, value.text) != 0) refused.push_back(&value);
  }
  for (const Value* value : refused) WriteAt(value->dir, value->file, value->text);
}

namespace {

// Visits the group and those above it, as far as they are mounted; `up` is "", "../", "../../" ..
template <class Visit>
void EachLevelUp(const ControlDirs::One& place, Visit visit) {
  if (place.version == Version::kNone) return;
  std::string up;
  for (int level = 0; level < 64; ++level, up += "../") {
    if (!Exists(place.dir, (up + "cgroup.procs").c_str())) return;  // out of the hierarchy
    visit(up);
  }
}

EffectiveLimits::One Tightest(const ControlDirs::One& place, const std::string& directory,
                              auto value_at) {
  EffectiveLimits::One tightest;
  EachLevelUp(place, [&](const std::string& up) {
    const std::optional<std::int64_t> value = value_at(up);
    if (!value || (tightest.value && *value >= *tightest.value)) return;
    tightest.value = value;
    tightest.own = up.empty();
    tightest.holder = directory;
    for (std::size_t i = 0; i < up.size(); i += 3) {
      tightest.holder.resize(tightest.holder.rfind('/'));
    }
  });
  return tightest;
}

std::optional<std::int64_t> LimitIn(int dir, const std::string& file) {
  FileBuffer buffer;
  auto text = ReadAt(dir, file.c_str(), buffer);
  if (!text) return std::nullopt;  // the v2 root has none
  const auto value = NumberIn(*text);
  return value && *value < kUnlimitedBytes ? value : std::nullopt;
}

}  // namespace

EffectiveLimits ReadEffective(const ControlDirs& dirs,
                              const std::array<std::string, 3>& directories) {
  const char* memory_file =
      dirs.memory.version == Version::kV2 ? "memory.max" : "memory.limit_in_bytes";
  EffectiveLimits limits;
  limits.cpu_nanocores = Tightest(dirs.cpu, directories[0], [&](const std::string& up) {
    return QuotaNanocores(dirs.cpu, up);
  });
  limits.memory_max = Tightest(dirs.memory, directories[1], [&](const std::string& up) {
    return LimitIn(dirs.memory.dir, up + memory_file);
  });
  limits.pids_max = Tightest(dirs.pids, directories[2], [&](const std::string& up) {
    return LimitIn(dirs.pids.dir, up + "pids.max");
  });
  return limits;
}

}  // namespace mete::cgroup
