#include "cgroup/tree_registry.h"

#include <gtest/gtest.h>

#include <thread>

#include "cgroup/marked_processes.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

class Registry : public testing::Test {
 protected:
  void SetUp() override { files_.Dir("run"); }
  TestTree files_;
  TreeRegistry registry_{files_.path("run")};
};

TEST_F(Registry, AGroupIsThereUntilItIsRemoved) {
  EXPECT_FALSE(registry_.Has("a"));
  ASSERT_TRUE(registry_.Make("a", kFirstMark + 7));
  EXPECT_TRUE(registry_.Has("a"));
  EXPECT_EQ(registry_.Make("a", kFirstMark).error().code, ErrorCode::kAlreadyExists);
  ASSERT_EQ(registry_.Below("a").size(), 1U);
  EXPECT_EQ(registry_.Below("a")[0].mark, kFirstMark + 7) << "the refusal changed it";
  EXPECT_EQ(registry_.NameOf(kFirstMark + 7), "a");
  EXPECT_EQ(registry_.NameOf(kFirstMark + 8), std::nullopt);
  EXPECT_EQ(registry_.NameOf(0), std::nullopt);
  EXPECT_TRUE(registry_.Remove("a"));
  EXPECT_TRUE(registry_.Remove("a")) << "safe to repeat";
  EXPECT_FALSE(registry_.Has("a"));
  EXPECT_FALSE(files_.Has("run/groups")) << "what Make made goes with the last group";
}

TEST_F(Registry, GroupsAboveComeAndGoWithThoseInThem) {
  ASSERT_TRUE(registry_.Make("t-x/s-y/a-one.1", kFirstMark + 1));
  ASSERT_TRUE(registry_.Make("t-x/a-two.1", kFirstMark + 2));
  const auto all = registry_.Below("");
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].name, "t-x");
  EXPECT_EQ(all[0].mark, 0U);
  EXPECT_EQ(all[1].name, "t-x/a-two.1");
  EXPECT_EQ(all[2].name, "t-x/s-y");
  EXPECT_EQ(all[3].name, "t-x/s-y/a-one.1");
  EXPECT_NE(all[3].inode, all[2].inode);
  EXPECT_EQ(registry_.Below("t-x/s-y").size(), 2U);
  EXPECT_EQ(registry_.Remove("t-x").error().code, ErrorCode::kInUse);
  ASSERT_TRUE(registry_.SetLabel("t-x/s-y", "of a session"));
  ASSERT_TRUE(registry_.Remove("t-x/s-y/a-one.1"));
  EXPECT_FALSE(registry_.Has("t-x/s-y"));
  EXPECT_TRUE(registry_.Has("t-x/a-two.1"));
  ASSERT_TRUE(registry_.Remove("t-x/a-two.1"));
  EXPECT_FALSE(files_.Has("run/groups"));
}

TEST_F(Registry, FreezesAndLabelsAreKept) {
  ASSERT_TRUE(registry_.Make("t-x/a-one.1", kFirstMark + 1));
  EXPECT_FALSE(registry_.Frozen("t-x/a-one.1"));
  ASSERT_TRUE(registry_.SetFrozen("t-x/a-one.1", true));
  ASSERT_TRUE(registry_.SetFrozen("t-x/a-one.1", true));
  EXPECT_TRUE(registry_.Frozen("t-x/a-one.1"));
  EXPECT_FALSE(registry_.FrozenAbove("t-x/a-one.1"));
  ASSERT_TRUE(registry_.SetFrozen("t-x", true));
  EXPECT_TRUE(registry_.FrozenAbove("t-x/a-one.1"));
  ASSERT_TRUE(registry_.SetFrozen("t-x/a-one.1", false));
  ASSERT_TRUE(registry_.SetFrozen("t-x/a-one.1", false));
  EXPECT_FALSE(registry_.Frozen("t-x/a-one.1"));
  EXPECT_EQ(registry_.Label("t-x/a-one.1"), "");
  ASSERT_TRUE(registry_.SetLabel("t-x/a-one.1", "one\ntwo"));
  ASSERT_TRUE(registry_.SetLabel("t-x/a-one.1", "three"));
  EXPECT_EQ(TreeRegistry(files_.path("run")).Label("t-x/a-one.1"), "three");
  EXPECT_EQ(registry_.Below("").size(), 2U) << "its files are no groups";
  EXPECT_TRUE(registry_.Remove("t-x/a-one.1"));
}

// A maker that died in between.
TEST_F(Registry, HalfAGroupIsThereAndCanBeRemoved) {
  files_.Dir("run/groups/half");
  EXPECT_TRUE(registry_.Has("half"));
  ASSERT_EQ(registry_.Below("half").size(), 1U);
  EXPECT_EQ(registry_.Below("half")[0].mark, 0U);
  EXPECT_TRUE(registry_.Remove("half"));
  EXPECT_FALSE(files_.Has("run/groups"));
}

TEST_F(Registry, AFolderThatCannotBeWrittenIsNamed) {
  TreeRegistry nowhere(files_.path("none"));
  const Result<void> made = nowhere.Make("a", kFirstMark);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kSystem);
  EXPECT_NE(made.error().message.find(files_.path("none")), std::string::npos);
  EXPECT_FALSE(nowhere.SetLabel("a", "x"));
  EXPECT_FALSE(nowhere.SetFrozen("a", true));
  EXPECT_TRUE(nowhere.Below("").empty());
}

// Those above go with the last group in them, while another is being made there.
TEST_F(Registry, GroupsComeAndGoAtTheSameTime) {
  std::vector<std::thread> threads;
  std::vector<int> failures(4);
  for (std::size_t t = 0; t < failures.size(); ++t) {
    threads.emplace_back([&, t] {
      const std::string name = "t-x/a-" + std::to_string(t) + ".1";
      for (int i = 0; i < 100; ++i) {
        failures[t] += !registry_.Make(name, kFirstMark + t);
        failures[t] += !registry_.Remove(name);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int failed : failures) EXPECT_EQ(failed, 0);
  EXPECT_FALSE(files_.Has("run/groups"));
}

TEST(Marks, AreInTheirRangeAndDiffer) {
  const rlim_t one = NewMark(), other = NewMark();
  EXPECT_NE(one, other);
  EXPECT_TRUE(IsMark(one));
  EXPECT_FALSE(IsMark(RLIM_INFINITY));
  EXPECT_FALSE(IsMark(0));
  EXPECT_FALSE(IsMark(kFirstMark - 1));
  EXPECT_TRUE(IsMark(kFirstMark));
  EXPECT_TRUE(IsMark(2 * kFirstMark - 1));
  EXPECT_FALSE(IsMark(2 * kFirstMark));
}

}  // namespace
}  // namespace mete::cgroup
