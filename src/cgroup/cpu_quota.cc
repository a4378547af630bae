#include "cgroup/cpu_quota.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

// The kernel's own default. Shorter periods throttle in finer steps and cost more switches.
constexpr std::int64_t kPeriodUs = 100'000;
constexpr std::int64_t kNanocoresPerQuotaUs = 1'000'000'000 / kPeriodUs;
// Groups nest as deep as an agent likes to make them; deeper ones than this are its own affair.
constexpr int kMaxDepth = 32;

const char* QuotaFile(const ControlDirs::One& cpu) {
  return cpu.version == Version::kV2 ? "cpu.max" : "cpu.cfs_quota_us";
}

std::string_view Unlimited(const ControlDirs::One& cpu) {
  return cpu.version == Version::kV2 ? "max" : "-1";
}

bool Exists(int dir, const std::string& file) { return faccessat(dir, file.c_str(), F_OK, 0) == 0; }

// Calls `visit` with each group in `dir`, "a/b/" relative to the descriptor.
template <class Visit>
void EachGroupIn(int base, const std::string& dir, Visit visit) {
  UniqueFd opened(
      openat(base, dir.empty() ? "." : dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* listing = opened ? fdopendir(opened.get()) : nullptr;
  if (listing == nullptr) return;
  (void)opened.release();
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') visit(dir + entry->d_name + "/");
  }
  closedir(listing);
}

// The tightest quota further up; v1 names one above it EINVAL.
std::optional<std::int64_t> TightestAbove(const ControlDirs::One& cpu) {
  std::optional<std::int64_t> tightest;
  std::string up = "../";
  for (int level = 0; level < 64 && Exists(cpu.dir, up + "cgroup.procs"); ++level, up += "../") {
    auto quota = QuotaNanocores(cpu, up);
    if (quota && (!tightest || *quota < *tightest)) tightest = quota;
  }
  return tightest;
}

// v1: no group below may hold more than this one is to hold. From the bottom up, because each of
// them is bound in the same way.
void LowerBelow(const ControlDirs::One& cpu, std::int64_t nanocores, const std::string& dir,
                int depth) {
  EachGroupIn(cpu.dir, dir, [&](const std::string& group) {
    if (depth < kMaxDepth) LowerBelow(cpu, nanocores, group, depth + 1);
    auto quota = QuotaNanocores(cpu, group);
    if (!quota || *quota <= nanocores) return;
    FileBuffer buffer;
    auto period = ReadAt(cpu.dir, (group + "cpu.cfs_period_us").c_str(), buffer);
    const std::int64_t us = NumberIn(period.value_or("")).value_or(kPeriodUs);
    WriteAt(cpu.dir, (group + "cpu.cfs_quota_us").c_str(),
            fmt::format("{}", nanocores / kNanocoresPerQuotaUs * us / kPeriodUs));
  });
}

Result<void> WriteV1(const ControlDirs::One& cpu, std::int64_t quota) {
  const std::string text = fmt::format("{}", quota);
  auto put = PutValue(cpu.dir, "cpu.cfs_quota_us", text);
  if (put || quota < 0) return put;
  LowerBelow(cpu, quota * kNanocoresPerQuotaUs, "", 0);
  put = PutValue(cpu.dir, "cpu.cfs_quota_us", text);
  if (put) return put;
  // A group above that holds less is no failure of this limit: hold as little as it does.
  const std::optional<std::int64_t> above = TightestAbove(cpu);
  if (!above || *above / kNanocoresPerQuotaUs >= quota) return put;
  return WriteV1(cpu, *above / kNanocoresPerQuotaUs);
}

}  // namespace

std::optional<std::int64_t> QuotaNanocores(const ControlDirs::One& cpu, const std::string& dir) {
  std::int64_t quota = 0, period = 0;
  FileBuffer buffer;
  auto text = ReadAt(cpu.dir, (dir + QuotaFile(cpu)).c_str(), buffer);
  if (!text) return std::nullopt;
  quota = NumberIn(*text).value_or(-1);
  if (cpu.version == Version::kV2) {
    const std::size_t blank = text->find(' ');
    if (blank != std::string_view::npos) period = NumberIn(text->substr(blank + 1)).value_or(0);
  } else if (quota > 0) {
    text = ReadAt(cpu.dir, (dir + "cpu.cfs_period_us").c_str(), buffer);
    if (text) period = NumberIn(*text).value_or(0);
  }
  if (quota <= 0 || period <= 0) return std::nullopt;
  // The kernel's quotas are below 2^44 us.
  return quota * kPeriodUs / period * kNanocoresPerQuotaUs;
}

Result<void> WriteCpuQuota(const ControlDirs::One& cpu, std::optional<std::int64_t> nanocores,
                           bool fresh) {
  if (cpu.version == Version::kNone || (fresh && !nanocores)) return {};
  // Rounded down to 10 us of quota, 0.1 millicores: never more than was allowed.
  const std::int64_t quota = nanocores ? *nanocores / kNanocoresPerQuotaUs : -1;
  if (cpu.version == Version::kV2) {
    return PutValue(
        cpu.dir, "cpu.max",
        nanocores ? fmt::format("{} {}", quota, kPeriodUs) : fmt::format("max {}", kPeriodUs));
  }
  FileBuffer buffer;
  auto period = ReadAt(cpu.dir, "cpu.cfs_period_us", buffer);
  if (!period || NumberIn(*period) != kPeriodUs) {
    auto put = PutValue(cpu.dir, "cpu.cfs_period_us", fmt::format("{}", kPeriodUs));
    if (!put) return put;
  }
  return WriteV1(cpu, quota);
}

int LiftQuota(const ControlDirs::One& cpu, const std::string& dir) {
  return WriteAt(cpu.dir, (dir + QuotaFile(cpu)).c_str(), Unlimited(cpu));
}

QuotaLift::QuotaLift(const QuotaPlace& place, int levels, bool is_level)
    : place_(place), levels_(levels) {
  if (place.cpu.version == Version::kNone) return;
  LiftAgain();
  if (is_level) {
    LiftLevel("");
    LiftBelow("", 0);
  } else {
    LiftLeaf("", false);
  }
}

void QuotaLift::LiftAgain() {
  if (place_.cpu.version == Version::kNone) return;
  std::string up;
  for (int level = 0; level < levels_; ++level) up += "../";
  for (; !up.empty(); up.resize(up.size() - 3)) LiftLevel(up);
}

void QuotaLift::LiftLevel(const std::string& dir) {
  if (!LiftLevelQuota(place_, dir)) return;
  if (std::ranges::find(lifted_, dir, &Lifted::dir) == lifted_.end()) lifted_.push_back({dir, {}});
}

void QuotaLift::LiftLeaf(const std::string& dir, bool only_small) {
  FileBuffer buffer;
  const std::string file = dir + QuotaFile(place_.cpu);
  auto text = ReadAt(place_.cpu.dir, file.c_str(), buffer);
  if (!text || NumberIn(*text).value_or(-1) < 0) return;  // "max ..." or -1: no quota
  std::string old(text->substr(0, text->find('\n')));
  if (only_small && QuotaNanocores(place_.cpu, dir).value_or(kOneCore) >= kOneCore) return;
  if (LiftQuota(place_.cpu, dir) == 0) lifted_.push_back({dir, std::move(old)});
}

void QuotaLift::LiftBelow(const std::string& dir, int depth) {
  EachGroupIn(place_.cpu.dir, dir, [&](const std::string& group) {
    LevelNote(place_.unified, group).empty() ? LiftLeaf(group, true) : LiftLevel(group);
    if (depth < kMaxDepth) LiftBelow(group, depth + 1);
  });
}

void QuotaLift::KeepOwn() {
  std::erase_if(lifted_, [](const Lifted& one) { return one.dir.empty(); });
}

// From the bottom up: v1 takes no quota below that of a group further down. What cannot be put back
// is told by whoever looks after the levels (Group::RestoreAbove).
QuotaLift::~QuotaLift() {
  FileBuffer buffer;
  for (auto one = lifted_.rbegin(); one != lifted_.rend(); ++one) {
    if (one->old.empty()) {
      [[maybe_unused]] Result<void> put = RestoreLevelQuota(place_, one->dir, true);
      continue;
    }
    const std::string file = one->dir + QuotaFile(place_.cpu);
    const auto now = ReadAt(place_.cpu.dir, file.c_str(), buffer);
    if (!now || !now->starts_with(Unlimited(place_.cpu))) continue;  // another owner's, or gone
    if (WriteAt(place_.cpu.dir, file.c_str(), one->old) != EINVAL) continue;
    // v1, and a group was made below with more while this was lifted.
    const UniqueFd dir(openat(place_.cpu.dir, one->dir.empty() ? "." : one->dir.c_str(),
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir) continue;
    const ControlDirs::One group{place_.cpu.version, dir.get()};
    [[maybe_unused]] Result<void> put = WriteV1(group, NumberIn(one->old).value_or(-1));
  }
  [[maybe_unused]] Result<void> above = RestoreLevelsAbove(place_, levels_);
}

}  // namespace mete::cgroup
