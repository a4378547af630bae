#include "cgroup/cpu_quota.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "base/unique_fd.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

constexpr const char* kV1 = "cpu.cfs_quota_us";
constexpr const char* kV2 = "cpu.max";

// "t-a/s-b/a-c.1", each with the files of the CPU controller.
class QuotaFiles : public testing::Test {
 protected:
  void Fill(Version version, const std::string& dir, const std::string& quota) {
    tree_.Dir(dir);
    tree_.File(dir + "/cgroup.procs", "");
    tree_.File(dir + "/" + File(version), quota + "\n");
    if (version == Version::kV1) tree_.File(dir + "/cpu.cfs_period_us", "100000\n");
  }
  static std::string File(Version version) { return version == Version::kV2 ? kV2 : kV1; }
  std::string Quota(Version version, const std::string& dir) const {
    return tree_.Text(dir + "/" + File(version));
  }
  ControlDirs::One At(Version version, const std::string& dir) {
    fd_.reset(open(tree_.path(dir).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return {version, fd_.get()};
  }

  QuotaPlace Place(Version version, const std::string& dir) {
    const ControlDirs::One cpu = At(version, dir);
    return {cpu, cpu.dir};
  }
  // As the group of a tenant or session has it written on it; false: this file system takes none.
  bool Note(const std::string& dir, std::int64_t nanocores) {
    const UniqueFd fd(open(tree_.path(dir).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return NoteLevelQuota(fd.get(), nanocores) == 0;
  }

  TestTree tree_;
  UniqueFd fd_;
};

constexpr const char* kNoAttributes = "the folder for temporary files takes no attributes";
constexpr std::int64_t kSmall = 999'900'000;

TEST_F(QuotaFiles, IsOffWhileItIsLiftedAndTheSameAfterwards) {
  for (Version version : {Version::kV1, Version::kV2}) {
    const bool v2 = version == Version::kV2;
    const std::string held = v2 ? "2500 50000" : "2500", lifted = v2 ? "max" : "-1";
    Fill(version, "a", held);
    {
      const QuotaLift lift(Place(version, "a"), 0, false);
      EXPECT_EQ(Quota(version, "a"), lifted);
    }
    EXPECT_EQ(Quota(version, "a"), held);
    {
      QuotaLift lift(Place(version, "a"), 0, false);
      lift.KeepOwn();
    }
    EXPECT_EQ(Quota(version, "a"), lifted);
    {
      const QuotaLift nothing_to_lift(Place(version, "a"), 0, false);
    }
    EXPECT_EQ(Quota(version, "a"), lifted);
  }
}

struct LevelRow {
  Version version;
  const char *large, *small, *lifted;
};

const LevelRow kLevelRows[] = {{Version::kV2, "100000 100000", "99990 100000", "max"},
                               {Version::kV1, "100000", "99990", "-1"}};

// A group is slowed down by those above it as much as by its own quota; one that has a core is not
// short of it.
TEST_F(QuotaFiles, SmallOnesAboveAreLiftedToo) {
  for (const LevelRow& row : kLevelRows) {
    Fill(row.version, "mete", row.small);  // above the levels: not this group's
    Fill(row.version, "mete/t-a", row.small);
    Fill(row.version, "mete/t-a/s-b", row.large);
    Fill(row.version, "mete/t-a/s-b/a-c.1", row.large);
    Fill(row.version, "mete/t-a/s-b/a-d.1", row.small);
    if (!Note("mete/t-a", kSmall)) GTEST_SKIP() << kNoAttributes;
    {
      QuotaLift lift(Place(row.version, "mete/t-a/s-b/a-c.1"), 2, false);
      EXPECT_EQ(Quota(row.version, "mete/t-a"), row.lifted);
      EXPECT_TRUE(Quota(row.version, "mete/t-a/s-b").starts_with(row.large));
      EXPECT_EQ(Quota(row.version, "mete/t-a/s-b/a-c.1"), row.lifted);
      EXPECT_TRUE(Quota(row.version, "mete/t-a/s-b/a-d.1").starts_with(row.small));
      EXPECT_TRUE(Quota(row.version, "mete").starts_with(row.small));
      lift.KeepOwn();
    }
    EXPECT_EQ(Quota(row.version, "mete/t-a"), row.small);
    EXPECT_EQ(Quota(row.version, "mete/t-a/s-b/a-c.1"), row.lifted) << "it was to be kept off";
  }
}

TEST_F(QuotaFiles, SmallOnesBelowAreLiftedWithALevel) {
  for (const LevelRow& row : kLevelRows) {
    Fill(row.version, "mete/t-a", row.large);
    Fill(row.version, "mete/t-a/s-b", row.small);
    Fill(row.version, "mete/t-a/s-b/a-c.1", row.small);
    Fill(row.version, "mete/t-a/a-d.1", row.large);
    if (!Note("mete/t-a", kOneCore) || !Note("mete/t-a/s-b", kSmall)) GTEST_SKIP() << kNoAttributes;
    {
      const QuotaLift lift(Place(row.version, "mete/t-a"), 0, true);
      EXPECT_TRUE(Quota(row.version, "mete/t-a").starts_with(row.large));
      EXPECT_EQ(Quota(row.version, "mete/t-a/s-b"), row.lifted);
      EXPECT_EQ(Quota(row.version, "mete/t-a/s-b/a-c.1"), row.lifted);
      EXPECT_TRUE(Quota(row.version, "mete/t-a/a-d.1").starts_with(row.large));
    }
    EXPECT_TRUE(Quota(row.version, "mete/t-a").starts_with(row.large));
    EXPECT_EQ(Quota(row.version, "mete/t-a/s-b"), row.small);
    EXPECT_EQ(Quota(row.version, "mete/t-a/s-b/a-c.1"), row.small);
  }
}

TEST_F(QuotaFiles, WithoutANoteALevelIsNotLifted) {
  for (const LevelRow& row : kLevelRows) {
    Fill(row.version, "mete/t-a", row.small);
    Fill(row.version, "mete/t-a/a-b.1", row.small);
    const QuotaLift lift(Place(row.version, "mete/t-a/a-b.1"), 1, false);
    EXPECT_TRUE(Quota(row.version, "mete/t-a").starts_with(row.small));
    EXPECT_EQ(Quota(row.version, "mete/t-a/a-b.1"), row.lifted);
  }
}

TEST_F(QuotaFiles, AV1PeriodOfSomebodyElseIsReset) {
  Fill(Version::kV1, "a", "-1");
  tree_.File("a/cpu.cfs_period_us", "10000\n");
  ASSERT_TRUE(WriteCpuQuota(At(Version::kV1, "a"), 500'000'000, true));
  EXPECT_EQ(tree_.Text("a/cpu.cfs_period_us"), "100000");
  EXPECT_EQ(Quota(Version::kV1, "a"), "50000");
}

TEST_F(QuotaFiles, AreReadInAnyPeriod) {
  Fill(Version::kV2, "a", "5000 50000");
  EXPECT_EQ(QuotaNanocores(At(Version::kV2, "a"), ""), 100'000'000);
  Fill(Version::kV2, "a", "max 50000");
  EXPECT_EQ(QuotaNanocores(At(Version::kV2, "a"), ""), std::nullopt);
  EXPECT_EQ(QuotaNanocores(At(Version::kV2, "a"), "../"), std::nullopt);
  Fill(Version::kV1, "a", "-1");
  EXPECT_EQ(QuotaNanocores(At(Version::kV1, "a"), ""), std::nullopt);
  Fill(Version::kV1, "a", "30000");
  tree_.File("a/cpu.cfs_period_us", "20000\n");
  EXPECT_EQ(QuotaNanocores(At(Version::kV1, "a"), ""), 1'500'000'000);
}

TEST_F(QuotaFiles, WithoutTheControllerNothingIsWritten) {
  EXPECT_TRUE(WriteCpuQuota({}, 500'000'000, false));
  const QuotaLift nothing({}, 2, true);
  EXPECT_TRUE(RestoreLevelsAbove({}, 2));
}

}  // namespace
}  // namespace mete::cgroup
