#include "cgroup/limits.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "base/unique_fd.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

using agent::KernelLimits;
using Files = std::map<std::string, std::string>;

constexpr std::int64_t kMiB = 1 << 20;
constexpr const char* kV1None = "9223372036854771712\n";

// What the kernel shows in a group that was just made.
const Files kFreshV2 = {{"cpu.max", "max 100000\n"}, {"memory.max", "max\n"},
                        {"memory.high", "max\n"},    {"memory.swap.max", "max\n"},
                        {"memory.oom.group", "0\n"}, {"memory.current", "0\n"},
                        {"pids.max", "max\n"}};
const Files kFreshV1 = {
    {"cpu.cfs_quota_us", "-1\n"},       {"cpu.cfs_period_us", "100000\n"},
    {"memory.limit_in_bytes", kV1None}, {"memory.memsw.limit_in_bytes", kV1None},
    {"memory.usage_in_bytes", "0\n"},   {"pids.max", "max\n"}};

// "mete/a" in one directory with the files of all controllers.
class LimitFiles : public testing::Test {
 protected:
  void Fill(const Files& files, const std::string& dir = "mete/a") {
    tree_.Dir(dir);
    for (const auto& [name, text] : files) tree_.File(dir + "/" + name, text);
    fd_.reset(open(tree_.path("mete/a").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ControlDirs Dirs(Version version) const {
    const ControlDirs::One one{version, fd_.get()};
    return {one, one, one};
  }
  Files Now(const Files& like) const {
    Files now;
    for (const auto& [name, text] : like) now[name] = tree_.Text("mete/a/" + name);
    return now;
  }

  TestTree tree_;
  UniqueFd fd_;
};

KernelLimits Limits(std::optional<std::int64_t> cpu, std::optional<std::int64_t> memory,
                    std::optional<std::int64_t> line, std::int64_t pids) {
  return {.cpu_nanocores = cpu, .memory_max = memory, .memory_line = line, .pids_max = pids};
}

KernelLimits WithSwap(std::optional<std::int64_t> memory, std::int64_t swap, bool die_together) {
  KernelLimits limits = Limits({}, memory, {}, 64);
  limits.swap_max = swap;
  limits.die_together = die_together;
  return limits;
}

struct Row {
  const char* what;
  Version version;
  bool fresh;
  KernelLimits limits;
  Files written;  // what differs from a fresh group afterwards
};

const std::optional<std::int64_t> kNo;

const Row kRows[] = {
    {"v2: a fresh group without limits gets its pids only",
     Version::kV2,
     true,
     Limits(kNo, kNo, kNo, 4096),
     {{"pids.max", "4096"}}},
    {"v2: half a core",
     Version::kV2,
     true,
     Limits(500'000'000, kNo, kNo, 64),
     {{"cpu.max", "50000 100000"}, {"pids.max", "64"}}},
    {"v2: the smallest share",
     Version::kV2,
     true,
     Limits(10'000'000, kNo, kNo, 1),
     {{"cpu.max", "1000 100000"}, {"pids.max", "1"}}},
    {"v2: a third of a core is rounded down",
     Version::kV2,
     true,
     Limits(333'333'333, kNo, kNo, 64),
     {{"cpu.max", "33333 100000"}, {"pids.max", "64"}}},
    {"v2: many cores",
     Version::kV2,
     true,
     Limits(64'000'000'000, kNo, kNo, 64),
     {{"cpu.max", "6400000 100000"}, {"pids.max", "64"}}},
    {"v2: memory closes swap and makes the group die together",
     Version::kV2,
     true,
     Limits(kNo, 64 * kMiB, kNo, 64),
     {{"memory.max", "67108864"},
      {"memory.swap.max", "0"},
      {"memory.oom.group", "1"},
      {"pids.max", "64"}}},
    {"v2: memory is rounded down to pages",
     Version::kV2,
     true,
     Limits(kNo, 64 * kMiB + 4095, kNo, 64),
     {{"memory.max", "67108864"},
      {"memory.swap.max", "0"},
      {"memory.oom.group", "1"},
      {"pids.max", "64"}}},
    {"v2: some swap, and no end together",
     Version::kV2,
     true,
     WithSwap(64 * kMiB, 8 * kMiB + 1, false),
     {{"memory.max", "67108864"},
      {"memory.swap.max", "8388608"},
      {"memory.oom.group", "0"},
      {"pids.max", "64"}}},
    {"v2: a line alone",
     Version::kV2,
     true,
     Limits(kNo, kNo, 32 * kMiB, 64),
     {{"memory.high", "33554432"}, {"pids.max", "64"}}},
    {"v2: everything",
     Version::kV2,
     true,
     Limits(2'000'000'000, 64 * kMiB, 32 * kMiB, 4'194'304),
     {{"cpu.max", "200000 100000"},
      {"memory.high", "33554432"},
      {"memory.max", "67108864"},
      {"memory.swap.max", "0"},
      {"memory.oom.group", "1"},
      {"pids.max", "4194304"}}},
    {"v2: lifting writes every file",
     Version::kV2,
     false,
     Limits(kNo, kNo, kNo, 64),
     {{"cpu.max", "max 100000"},
      {"memory.high", "max"},
      {"memory.max", "max"},
      {"memory.swap.max", "max"},
      {"memory.oom.group", "0"},
      {"pids.max", "64"}}},

    {"v1: a fresh group without limits gets its pids only",
     Version::kV1,
     true,
     Limits(kNo, kNo, kNo, 4096),
     {{"pids.max", "4096"}}},
    {"v1: half a core",
     Version::kV1,
     true,
     Limits(500'000'000, kNo, kNo, 64),
     {{"cpu.cfs_quota_us", "50000"}, {"pids.max", "64"}}},
    {"v1: the smallest share",
     Version::kV1,
     true,
     Limits(10'000'000, kNo, kNo, 1),
     {{"cpu.cfs_quota_us", "1000"}, {"pids.max", "1"}}},
    {"v1: memory, and memory with swap",
     Version::kV1,
     true,
     Limits(kNo, 64 * kMiB, kNo, 64),
     {{"memory.limit_in_bytes", "67108864"},
      {"memory.memsw.limit_in_bytes", "67112960"},
      {"pids.max", "64"}}},
    {"v1: some swap",
     Version::kV1,
     true,
     WithSwap(64 * kMiB, 8 * kMiB + 1, false),
     {{"memory.limit_in_bytes", "67108864"},
      {"memory.memsw.limit_in_bytes", "75501568"},
      {"pids.max", "64"}}},
    {"v1: the line is no file",
     Version::kV1,
     true,
     Limits(kNo, kNo, 32 * kMiB, 64),
     {{"pids.max", "64"}}},
};

TEST_F(LimitFiles, WhatIsWrittenWhere) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.what);
    Files expected = row.version == Version::kV2 ? kFreshV2 : kFreshV1;
    Fill(expected);
    for (const auto& [name, text] : row.written) expected[name] = text;
    const Result<void> written = WriteLimits(Dirs(row.version), row.limits, row.fresh);
    ASSERT_TRUE(written) << written.error().ToString();
    EXPECT_EQ(Now(expected), expected);
  }
}

TEST_F(LimitFiles, MemoryWithoutSwapFiles) {
  Files v2 = kFreshV2;
  v2.erase("memory.swap.max");
  Fill(v2);
  EXPECT_TRUE(WriteLimits(Dirs(Version::kV2), Limits(kNo, 64 * kMiB, kNo, 64), true));
  EXPECT_FALSE(tree_.Has("mete/a/memory.swap.max"));
  tree_.Remove("mete");
  Files v1 = kFreshV1;
  v1.erase("memory.memsw.limit_in_bytes");
  Fill(v1);
  EXPECT_TRUE(WriteLimits(Dirs(Version::kV1), Limits(kNo, 64 * kMiB, kNo, 64), true));
  EXPECT_FALSE(tree_.Has("mete/a/memory.memsw.limit_in_bytes"));
  EXPECT_EQ(tree_.Text("mete/a/memory.limit_in_bytes"), "67108864");
}

TEST_F(LimitFiles, AFileThatIsMissingIsNamedWithWhatWasAsked) {
  Files files = kFreshV2;
  files.erase("pids.max");
  Fill(files);
  tree_.Dir("mete/a/pids.max");  // cannot be opened for writing
  const Result<void> written = WriteLimits(Dirs(Version::kV2), Limits(kNo, kNo, kNo, 77), true);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kSystem);
  EXPECT_NE(written.error().message.find("pids.max"), std::string::npos);
  EXPECT_NE(written.error().message.find("77"), std::string::npos);
}

TEST_F(LimitFiles, AValueThatIsNotHeldIsNamed) {
  Files files = kFreshV2;
  files.erase("memory.max");
  Fill(files);
  // Takes every write and holds nothing, as a kernel that drops a limit would.
  ASSERT_EQ(symlink("/dev/null", tree_.path("mete/a/memory.max").c_str()), 0);
  const Result<void> written =
      WriteLimits(Dirs(Version::kV2), Limits(kNo, 64 * kMiB, kNo, 64), true);
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message.find("memory.max does not hold"), std::string::npos)
      << written.error().message;
  EXPECT_NE(written.error().message.find("67108864"), std::string::npos);
}

TEST_F(LimitFiles, MemoryBelowUseIsRefusedBeforeAnythingIsWritten) {
  struct UseRow {
    Version version;
    const char* file;
    std::int64_t used, asked;
    bool fits;
  };
  const UseRow rows[] = {
      {Version::kV2, "memory.current", 8 * kMiB, 8 * kMiB - 1, false},
      {Version::kV2, "memory.current", 8 * kMiB, 8 * kMiB, true},
      {Version::kV2, "memory.current", 8 * kMiB, 8 * kMiB + 1, true},
      {Version::kV1, "memory.usage_in_bytes", 8 * kMiB, 8 * kMiB - 1, false},
      {Version::kV1, "memory.usage_in_bytes", 8 * kMiB, 8 * kMiB, true},
      // The kernel would round this one down to below what is in use.
      {Version::kV1, "memory.usage_in_bytes", 8 * kMiB + 4096, 8 * kMiB + 4095, false},
  };
  for (const UseRow& row : rows) {
    const Files files = row.version == Version::kV2 ? kFreshV2 : kFreshV1;
    Fill(files);
    tree_.File(std::string("mete/a/") + row.file, std::to_string(row.used) + "\n");
    const Result<void> fits = CheckMemoryFits(Dirs(row.version), row.asked);
    EXPECT_EQ(fits.has_value(), row.fits) << row.file << " asked " << row.asked;
    if (fits) continue;
    EXPECT_EQ(fits.error().code, ErrorCode::kUpdateFailed);
    EXPECT_NE(fits.error().message.find(std::to_string(row.used)), std::string::npos);
  }
}

TEST_F(LimitFiles, AMemoryLimitThatIsNotLoweredIsWrittenWhateverIsInUse) {
  for (Version version : {Version::kV1, Version::kV2}) {
    const bool v2 = version == Version::kV2;
    Fill(v2 ? kFreshV2 : kFreshV1);
    tree_.File(v2 ? "mete/a/memory.max" : "mete/a/memory.limit_in_bytes", "8388608\n");
    tree_.File(v2 ? "mete/a/memory.current" : "mete/a/memory.usage_in_bytes", "8392704\n");
    EXPECT_TRUE(CheckMemoryFits(Dirs(version), 8 * kMiB));
    EXPECT_TRUE(CheckMemoryFits(Dirs(version), 8 * kMiB + 4096));
    EXPECT_FALSE(CheckMemoryFits(Dirs(version), 8 * kMiB - 1));
  }
}

TEST_F(LimitFiles, WhatWasHeldIsPutBack) {
  for (const Files& files : {kFreshV2, kFreshV1}) {
    const Version version = files.contains("cpu.max") ? Version::kV2 : Version::kV1;
    Fill(files);
    const KernelLimits before = Limits(500'000'000, 64 * kMiB, kNo, 64);
    ASSERT_TRUE(WriteLimits(Dirs(version), before, true));
    Files held = Now(files);
    for (auto& [name, text] : held) {
      if (text.ends_with('\n') && !name.ends_with("current") && !name.ends_with("usage_in_bytes")) {
        text.pop_back();  // a file here keeps the newline of the kernel until it is written
      }
    }
    const SavedLimits saved(Dirs(version));
    ASSERT_TRUE(WriteLimits(Dirs(version), Limits(kNo, 128 * kMiB, kNo, 9), false));
    ASSERT_NE(Now(files), held);
    saved.Restore();
    EXPECT_EQ(Now(files), held);
  }
}

// v2 would kill down to it.
TEST_F(LimitFiles, AMemoryLimitIsNotPutBackBelowUse) {
  Fill(kFreshV2);
  ASSERT_TRUE(WriteLimits(Dirs(Version::kV2), Limits(kNo, 8 * kMiB, kNo, 64), true));
  const SavedLimits saved(Dirs(Version::kV2));
  ASSERT_TRUE(WriteLimits(Dirs(Version::kV2), Limits(kNo, 64 * kMiB, kNo, 9), false));
  tree_.File("mete/a/memory.current", "9437184\n");
  saved.Restore();
  EXPECT_EQ(tree_.Text("mete/a/memory.max"), "67108864");
  EXPECT_EQ(tree_.Text("mete/a/pids.max"), "64");
}

TEST_F(LimitFiles, TheTightestOnTheWayUpIsEffective) {
  Fill(kFreshV1);
  for (const char* dir : {"", "mete/", "mete/a/"}) {
    tree_.File(std::string(dir) + "cgroup.procs", "");
  }
  tree_.File("mete/cpu.cfs_quota_us", "-1\n");
  tree_.File("mete/memory.limit_in_bytes", "1073741824\n");
  tree_.File("mete/pids.max", "max\n");
  tree_.File("cpu.cfs_quota_us", "30000\n");
  tree_.File("cpu.cfs_period_us", "20000\n");
  tree_.File("memory.limit_in_bytes", kV1None);
  const std::string own = tree_.path("mete/a");
  const std::array<std::string, 3> directories = {own, own, own};
  agent::EffectiveLimits seen = ReadEffective(Dirs(Version::kV1), directories);
  EXPECT_EQ(seen.cpu_nanocores.value, 1'500'000'000);
  EXPECT_EQ(seen.cpu_nanocores.holder + "/", tree_.path(""));
  EXPECT_FALSE(seen.cpu_nanocores.own);
  EXPECT_EQ(seen.memory_max.value, 1073741824);
  EXPECT_EQ(seen.memory_max.holder, tree_.path("mete"));
  EXPECT_EQ(seen.pids_max.value, std::nullopt);
  EXPECT_EQ(seen.pids_max.holder, "");

  ASSERT_TRUE(WriteLimits(Dirs(Version::kV1), Limits(1'500'000'000, 1 << 30, kNo, 64), true));
  seen = ReadEffective(Dirs(Version::kV1), directories);
  EXPECT_TRUE(seen.cpu_nanocores.own) << "of equal ones the group's own is named";
  EXPECT_TRUE(seen.memory_max.own);
  EXPECT_TRUE(seen.pids_max.own);
  EXPECT_EQ(seen.pids_max.value, 64);
  EXPECT_EQ(seen.pids_max.holder, own);
  seen = ReadEffective({}, directories);
  EXPECT_EQ(seen.cpu_nanocores.value, std::nullopt);
}

struct RangeRow {
  KernelLimits limits;
  const char* refused;  // the field, or nullptr if it is allowed
};

TEST(CheckLimits, Ranges) {
  constexpr std::int64_t kMax = INT64_MAX;
  constexpr std::int64_t kMostCpu = 1'000'000'000'000'000;
  constexpr std::int64_t kMostBytes = (1LL << 62) - 1;
  const RangeRow rows[] = {
      {Limits(kNo, kNo, kNo, 1), nullptr},
      {Limits(kNo, kNo, kNo, 0), "pids_max"},
      {Limits(kNo, kNo, kNo, -1), "pids_max"},
      {Limits(kNo, kNo, kNo, 4'194'304), nullptr},
      {Limits(kNo, kNo, kNo, 4'194'305), "pids_max"},
      {Limits(kNo, kNo, kNo, kMax), "pids_max"},
      {Limits(0, kNo, kNo, 9), "cpu_nanocores"},
      {Limits(-1, kNo, kNo, 9), "cpu_nanocores"},
      {Limits(9'999'999, kNo, kNo, 9), "cpu_nanocores"},
      {Limits(10'000'000, kNo, kNo, 9), nullptr},
      {Limits(kMostCpu, kNo, kNo, 9), nullptr},
      {Limits(kMostCpu + 1, kNo, kNo, 9), "cpu_nanocores"},
      {Limits(kMax, kNo, kNo, 9), "cpu_nanocores"},
      {Limits(kNo, 0, kNo, 9), "memory_max"},
      {Limits(kNo, kMiB - 1, kNo, 9), "memory_max"},
      {Limits(kNo, kMiB, kNo, 9), nullptr},
      {Limits(kNo, kMostBytes, kNo, 9), nullptr},
      {Limits(kNo, kMostBytes + 1, kNo, 9), "memory_max"},
      {Limits(kNo, kMax, kNo, 9), "memory_max"},
      {Limits(kNo, kNo, kMiB - 1, 9), "memory_line"},
      {Limits(kNo, kNo, kMiB, 9), nullptr},
      {Limits(kNo, 8 * kMiB, 8 * kMiB, 9), nullptr},
      {Limits(kNo, 8 * kMiB, 8 * kMiB + 1, 9), "memory_line"},
      {Limits(kNo, kNo, kMax, 9), "memory_line"},
      {WithSwap(kMiB, 0, true), nullptr},
      {WithSwap(kMiB, -1, true), "swap_max"},
      {WithSwap(kMiB, kMostBytes / 2, true), nullptr},
      {WithSwap(kMiB, kMostBytes / 2 + 1, true), "swap_max"},
      {WithSwap(kNo, kMiB, true), "swap_max"},
  };
  for (const RangeRow& row : rows) {
    const Result<void> checked = CheckLimits(row.limits);
    SCOPED_TRACE(row.refused != nullptr ? row.refused : "allowed");
    ASSERT_EQ(checked.has_value(), row.refused == nullptr);
    if (checked) continue;
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(checked.error().message.starts_with(row.refused)) << checked.error().message;
  }
}

}  // namespace
}  // namespace mete::cgroup
