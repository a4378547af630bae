#include "cgroup/limits.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

using agent::KernelLimits;

// The kernel's own default. Shorter periods throttle in finer steps and cost more switches.
constexpr std::int64_t kPeriodUs = 100'000;
constexpr std::int64_t kNanocoresPerQuotaUs = 1'000'000'000 / kPeriodUs;
// A million cores: far beyond any machine, far below the 2^44 us at which the kernel says EINVAL.
constexpr std::int64_t kMaxCpuNanocores = 1'000'000LL * 1'000'000'000;
constexpr std::int64_t kMaxPids = 4'194'304;  // PID_MAX_LIMIT: pids.max takes no more
// v1 says "no limit" as the largest count of pages, in bytes; nobody has 4 EiB.
constexpr std::int64_t kUnlimitedBytes = 1LL << 62;

Result<void> Refused(const char* file, std::string_view asked, int error) {
  return Fail(ErrorCode::kSystem,
              fmt::format("{} cannot be written: asked {}: {}", file, asked, ErrnoText(error)));
}

std::string_view FirstLine(std::string_view text) { return text.substr(0, text.find('\n')); }

// One control file with one value: write, read back, compare.
Result<void> Put(int dir, const char* file, std::string_view value) {
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

bool Exists(int dir, const char* file) { return faccessat(dir, file, F_OK, 0) == 0; }

std::int64_t PageSize() {
  static const std::int64_t page = sysconf(_SC_PAGESIZE);
  return page;
}

// The kernel rounds down too; asking for the result makes the comparison afterwards exact.
std::int64_t WholePages(std::int64_t bytes) { return bytes / PageSize() * PageSize(); }

// The tightest cpu share above, in quota microseconds per period; v1 names a quota above it EINVAL.
std::optional<std::int64_t> QuotaAboveUs(const ControlDirs::One& cpu, std::string up) {
  std::optional<std::int64_t> tightest;
  FileBuffer buffer;
  for (int level = 0; level < 64; ++level, up += "../") {
    std::int64_t quota = 0, period = 0;
    if (cpu.version == Version::kV2) {
      auto text = ReadAt(cpu.dir, (up + "cpu.max").c_str(), buffer);
      if (!text && !Exists(cpu.dir, (up + "cgroup.procs").c_str())) break;  // out of the hierarchy
      if (!text) continue;  // the root has no cpu.max
      quota = NumberIn(*text).value_or(-1);
      std::size_t blank = text->find(' ');
      if (blank != std::string_view::npos) period = NumberIn(text->substr(blank + 1)).value_or(0);
    } else {
      auto text = ReadAt(cpu.dir, (up + "cpu.cfs_quota_us").c_str(), buffer);
      if (!text) break;
      quota = NumberIn(*text).value_or(-1);
      text = ReadAt(cpu.dir, (up + "cpu.cfs_period_us").c_str(), buffer);
      if (text) period = NumberIn(*text).value_or(0);
    }
    if (quota <= 0 || period <= 0) continue;
    const std::int64_t us = quota * kPeriodUs / period;  // the kernel's quotas are below 2^44 us
    if (!tightest || us < *tightest) tightest = us;
  }
  return tightest;
}

Result<void> WriteCpu(const ControlDirs::One& cpu, std::optional<std::int64_t> nanocores,
                      bool fresh) {
  if (cpu.version == Version::kNone || (fresh && !nanocores)) return {};
  // Rounded down to 10 us of quota, 0.1 millicores: never more than was allowed.
  const std::int64_t quota = nanocores ? *nanocores / kNanocoresPerQuotaUs : -1;
  if (cpu.version == Version::kV2) {
    return Put(
        cpu.dir, "cpu.max",
        nanocores ? fmt::format("{} {}", quota, kPeriodUs) : fmt::format("max {}", kPeriodUs));
  }
  FileBuffer buffer;
  auto period = ReadAt(cpu.dir, "cpu.cfs_period_us", buffer);
  if (!period || NumberIn(*period) != kPeriodUs) {
    if (auto put = Put(cpu.dir, "cpu.cfs_period_us", fmt::format("{}", kPeriodUs)); !put)
      return put;
  }
  auto put = Put(cpu.dir, "cpu.cfs_quota_us", fmt::format("{}", quota));
  if (put || !nanocores) return put;
  // A group above that holds less is no failure of this limit: hold as little as it does.
  const std::optional<std::int64_t> above = QuotaAboveUs(cpu, "../");
  if (!above || *above >= quota) return put;
  return Put(cpu.dir, "cpu.cfs_quota_us", fmt::format("{}", *above));
}

Result<void> WriteMemoryV2(int dir, const KernelLimits& limits, bool fresh) {
  if (limits.memory_line || !fresh) {
    auto put = Put(dir, "memory.high",
                   limits.memory_line ? fmt::format("{}", WholePages(*limits.memory_line)) : "max");
    if (!put) return put;
  }
  if (!limits.memory_max && fresh) return {};
  const bool limited = limits.memory_max.has_value();
  auto put =
      Put(dir, "memory.max", limited ? fmt::format("{}", WholePages(*limits.memory_max)) : "max");
  if (!put) return put;
  if (Exists(dir, "memory.swap.max")) {
    put = Put(dir, "memory.swap.max", limited ? "0" : "max");
    if (!put) return put;
  }
  return Put(dir, "memory.oom.group", limited ? "1" : "0");
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
    with_swap = fmt::format("{}", WholePages(*limits.memory_max) + PageSize());
  }
  FileBuffer buffer;
  auto old = ReadAt(dir, kWithSwap, buffer);
  if (!old) return Put(dir, kMemory, memory);  // a kernel that does not count swap
  // The kernel refuses a memory limit above that of memory and swap: raise the outer one first.
  const bool raise = !limits.memory_max || *limits.memory_max > NumberIn(*old).value_or(0);
  if (raise) {
    if (auto put = Put(dir, kWithSwap, with_swap); !put) return put;
    return Put(dir, kMemory, memory);
  }
  if (auto put = Put(dir, kMemory, memory); !put) return put;
  return Put(dir, kWithSwap, with_swap);
}

Result<void> OutOfRange(const char* field, std::int64_t given, std::int64_t low,
                        std::int64_t high) {
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{} is out of range: given {}, allowed {} to {}", field, given, low, high));
}

}  // namespace

Result<void> CheckLimits(const KernelLimits& limits) {
  constexpr std::int64_t kMaxBytes = kUnlimitedBytes - 1;
  if (const auto& cpu = limits.cpu_nanocores;
      cpu && (*cpu < agent::kMinCpuNanocores || *cpu > kMaxCpuNanocores)) {
    return OutOfRange("cpu_nanocores", *cpu, agent::kMinCpuNanocores, kMaxCpuNanocores);
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
  if (limits.pids_max < 1 || limits.pids_max > kMaxPids) {
    return OutOfRange("pids_max", limits.pids_max, 1, kMaxPids);
  }
  return {};
}

Result<void> CheckMemoryFits(const ControlDirs& dirs, std::int64_t memory_max) {
  const bool v2 = dirs.memory.version == Version::kV2;
  FileBuffer buffer;
  auto text = ReadAt(dirs.memory.dir, v2 ? "memory.current" : "memory.usage_in_bytes", buffer);
  if (!text) return {};  // the write will say what is wrong
  const std::int64_t used = NumberIn(*text).value_or(0);
  if (used <= WholePages(memory_max)) return {};
  return Fail(ErrorCode::kUpdateFailed,
              fmt::format("memory_max is below what is in use (page cache included): asked {}, "
                          "in use {}",
                          memory_max, used));
}

Result<void> WriteLimits(const ControlDirs& dirs, const KernelLimits& limits, bool fresh) {
  if (auto put = WriteCpu(dirs.cpu, limits.cpu_nanocores, fresh); !put) return put;
  if (dirs.memory.version != Version::kNone) {
    auto put = dirs.memory.version == Version::kV2 ? WriteMemoryV2(dirs.memory.dir, limits, fresh)
                                                   : WriteMemoryV1(dirs.memory.dir, limits, fresh);
    if (!put) return put;
  }
  if (dirs.pids.version == Version::kNone) return {};
  return Put(dirs.pids.dir, "pids.max", fmt::format("{}", limits.pids_max));
}

QuotaLift::QuotaLift(const ControlDirs::One& cpu) : cpu_(cpu) {
  if (cpu.version == Version::kNone) return;
  const bool v2 = cpu.version == Version::kV2;
  FileBuffer buffer;
  auto text = ReadAt(cpu.dir, v2 ? "cpu.max" : "cpu.cfs_quota_us", buffer);
  if (!text || !NumberIn(*text) || *NumberIn(*text) < 0) return;  // "max ..." or -1: no quota
  std::string old(FirstLine(*text));
  if (WriteAt(cpu.dir, v2 ? "cpu.max" : "cpu.cfs_quota_us", v2 ? "max" : "-1") == 0) old_ = old;
}

QuotaLift::~QuotaLift() {
  if (old_.empty()) return;
  WriteAt(cpu_.dir, cpu_.version == Version::kV2 ? "cpu.max" : "cpu.cfs_quota_us", old_);
}

std::optional<std::int64_t> CpuAbove(const ControlDirs::One& cpu) {
  if (cpu.version == Version::kNone) return std::nullopt;
  auto quota = QuotaAboveUs(cpu, "./");
  if (!quota) return std::nullopt;
  return *quota * kNanocoresPerQuotaUs;
}

std::optional<std::int64_t> MemoryAbove(const ControlDirs::One& memory) {
  if (memory.version == Version::kNone) return std::nullopt;
  const bool v2 = memory.version == Version::kV2;
  std::optional<std::int64_t> tightest;
  std::string up = "./";
  FileBuffer buffer;
  for (int level = 0; level < 64; ++level, up += "../") {
    if (!Exists(memory.dir, (up + "cgroup.procs").c_str())) break;
    auto text =
        ReadAt(memory.dir, (up + (v2 ? "memory.max" : "memory.limit_in_bytes")).c_str(), buffer);
    if (!text) continue;  // the v2 root has no limit
    auto value = NumberIn(*text);
    if (value && *value < kUnlimitedBytes && (!tightest || *value < *tightest)) tightest = value;
  }
  return tightest;
}

}  // namespace mete::cgroup
