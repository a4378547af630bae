#include "cgroup/level_quota.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "cgroup/control_file.h"
#include "cgroup/cpu_quota.h"
#include "cgroup/label.h"

namespace mete::cgroup {
namespace {

constexpr std::string_view kAttribute = "cpu";
constexpr std::string_view kNoLimit = "max";
// Each is a limit that was changed between the writing of one and the look at the note after it.
constexpr int kAttempts = 8;

UniqueFd OpenDir(int base, const std::string& dir) {
  return UniqueFd(
      openat(base, dir.empty() ? "." : dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

int NoteLevelQuota(int unified, std::optional<std::int64_t> nanocores) {
  return PutLevelNote(unified, nanocores ? fmt::format("{}", *nanocores) : std::string(kNoLimit));
}

int PutLevelNote(int unified, const std::string& note) {
  return WriteAttribute(unified, kAttribute, note);
}

std::string LevelNote(int unified, const std::string& dir) {
  const UniqueFd opened = OpenDir(unified, dir);
  return opened ? ReadAttribute(opened.get(), kAttribute) : std::string();
}

bool LiftLevelQuota(const QuotaPlace& place, const std::string& dir) {
  const std::optional<std::int64_t> held = QuotaNanocores(place.cpu, dir);
  if (!held || *held >= kOneCore) return false;
  if (!NumberIn(LevelNote(place.unified, dir))) return false;
  return LiftQuota(place.cpu, dir) == 0;
}

Result<void> RestoreLevelQuota(const QuotaPlace& place, const std::string& dir, bool was_lifted) {
  if (place.cpu.version == Version::kNone) return {};
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::string note = LevelNote(place.unified, dir);
    const std::optional<std::int64_t> noted = NumberIn(note);
    if (attempt == 0) {
      if (!noted) return {};
      const std::optional<std::int64_t> held = QuotaNanocores(place.cpu, dir);
      if (!was_lifted && held && *held <= *noted) return {};
    }
    const UniqueFd group = OpenDir(place.cpu.dir, dir);
    if (!group) return {};  // removed
    if (auto put = WriteCpuQuota({place.cpu.version, group.get()}, noted, false); !put) {
      return OpenDir(place.cpu.dir, dir) ? put : Result<void>();
    }
    // Who changes a limit notes it first: what was written here may be older than what is there.
    if (LevelNote(place.unified, dir) == note) break;
  }
  return {};
}

Result<void> RestoreLevelsAbove(const QuotaPlace& place, int levels) {
  Result<void> all;
  std::string up;
  for (int level = 0; level < levels; ++level) {
    up += "../";
    Result<void> restored = RestoreLevelQuota(place, up, false);
    if (!restored && all) all = restored;
  }
  return all;
}

}  // namespace mete::cgroup
