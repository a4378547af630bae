#include "cgroup/level_quota.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "cgroup/cpu_quota.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

constexpr std::int64_t kNoted = 200'000'000;

// "t-a/a-b.1" and "t-a/a-c.1", with the files of the CPU controller as they are on v2.
class LevelQuota : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* dir : {"t-a", "t-a/a-b.1", "t-a/a-c.1"}) {
      tree_.Dir(dir);
      tree_.File(std::string(dir) + "/cgroup.procs", "");
      tree_.File(std::string(dir) + "/cpu.max", "max 100000\n");
      fds_[dir].reset(open(tree_.path(dir).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    if (!Note(kNoted)) GTEST_SKIP() << "the folder for temporary files takes no attributes";
    Hold("20000 100000");
  }
  QuotaPlace Place(const std::string& dir) {
    return {{Version::kV2, fds_[dir].get()}, fds_[dir].get()};
  }
  bool Note(std::optional<std::int64_t> nanocores) {
    return NoteLevelQuota(fds_["t-a"].get(), nanocores) == 0;
  }
  void Hold(const std::string& text) { tree_.File("t-a/cpu.max", text + "\n"); }
  // Without the rest of a longer text, which a plain file keeps.
  std::string Held() const {
    const std::string text = tree_.Text("t-a/cpu.max");
    return text.substr(0, text.find('\n'));
  }
  bool IsLifted() const { return Held().starts_with("max"); }

  TestTree tree_;
  std::map<std::string, UniqueFd> fds_;
};

TEST_F(LevelQuota, IsLiftedBelowOneCoreOnly) {
  struct Row {
    const char* held;
    bool is_lifted;
  };
  for (const Row& row : {Row{"1000 100000", true}, Row{"99990 100000", true},
                         Row{"100000 100000", false}, Row{"max 100000", false}}) {
    Hold(row.held);
    EXPECT_EQ(LiftLevelQuota(Place("t-a/a-b.1"), "../"), row.is_lifted) << row.held;
  }
}

TEST_F(LevelQuota, WithoutALimitNothingIsLiftedOrPutBack) {
  ASSERT_TRUE(Note(std::nullopt));
  EXPECT_FALSE(LiftLevelQuota(Place("t-a/a-b.1"), "../"));
  EXPECT_TRUE(RestoreLevelQuota(Place("t-a/a-b.1"), "../", true));
  EXPECT_EQ(Held(), "20000 100000");
}

TEST_F(LevelQuota, IsPutBackByWhoeverComesByAndFindsMoreHeld) {
  for (const char* held : {"max", "20010 100000"}) {
    Hold(held);
    EXPECT_TRUE(RestoreLevelsAbove(Place("t-a/a-b.1"), 1));
    EXPECT_EQ(Held(), "20000 100000");
  }
  Hold("10000 100000");  // v1 holds no more than the group above
  EXPECT_TRUE(RestoreLevelsAbove(Place("t-a/a-b.1"), 1));
  EXPECT_EQ(Held(), "10000 100000");
}

// In every order: what is held in the end is the limit.
TEST_F(LevelQuota, OfTwoOwnersNobodyTakesTheOthersLiftForTheLimit) {
  for (const bool first_ends_first : {true, false}) {
    Hold("20000 100000");
    std::optional<QuotaLift> first, second;
    first.emplace(Place("t-a/a-b.1"), 1, false);
    EXPECT_TRUE(IsLifted());
    second.emplace(Place("t-a/a-c.1"), 1, false);
    (first_ends_first ? first : second).reset();
    EXPECT_EQ(Held(), "20000 100000");
    (first_ends_first ? second : first)->LiftAgain();
    EXPECT_TRUE(IsLifted()) << "the one who still waits needs it";
    (first_ends_first ? second : first).reset();
    EXPECT_EQ(Held(), "20000 100000");
  }
}

TEST_F(LevelQuota, ALimitThatIsChangedMeanwhileIsHeldInTheEnd) {
  for (const auto& [changed, text] :
       {std::pair(100'000'000, "10000 100000"), std::pair(400'000'000, "40000 100000")}) {
    Hold("20000 100000");
    ASSERT_TRUE(Note(kNoted));
    {
      const QuotaLift lift(Place("t-a/a-b.1"), 1, false);
      ASSERT_TRUE(Note(changed));
      if (changed < kNoted) Hold(text);  // written, or about to be: the note is first
    }
    EXPECT_EQ(Held(), text);
  }
}

TEST_F(LevelQuota, WhatCannotBePutBackIsNamed) {
  ASSERT_EQ(unlink(tree_.path("t-a/cpu.max").c_str()), 0);
  Result<void> put = RestoreLevelsAbove(Place("t-a/a-b.1"), 1);
  ASSERT_FALSE(put);
  EXPECT_NE(put.error().message.find("cpu.max cannot be written: asked 20000 100000"),
            std::string::npos)
      << put.error().message;
}

}  // namespace
}  // namespace mete::cgroup
