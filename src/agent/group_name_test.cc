#include "agent/group_name.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace mete::agent {
namespace {

struct NameRow {
  GroupId id;
  const char* name;
};

const NameRow kRows[] = {
    {{"acme", "42", "bot", 7}, "t-acme/s-42/a-bot.7"},
    {{"", "42", "bot", 7}, "s-42/a-bot.7"},
    {{"acme", "", "bot", 7}, "t-acme/a-bot.7"},
    {{"", "", "bot", 1}, "a-bot.1"},
    {{"acme", "", "", 1}, "t-acme"},
    {{"acme", "42", "", 1}, "t-acme/s-42"},
    {{"", "42", "", 1}, "s-42"},
    {{"", "", "bot.7", 18446744073709551615U}, "a-bot.7.18446744073709551615"},
    {{"", "", ".", 1}, "a-..1"},
    {{"", "", "s-1", 1}, "a-s-1.1"},
    {{"", "", "a b%c", 1}, "a-a%20b%25c.1"},
    {{"", "", "\xc3\xa4", 1}, "a-%C3%A4.1"},
    {{"x/y", "", "", 1}, "t-x%2Fy"},
};

TEST(GroupName, IsMadeAndReadBack) {
  for (const NameRow& row : kRows) {
    EXPECT_EQ(GroupNameOf(row.id), row.name);
    EXPECT_EQ(GroupIdOf(row.name), row.id) << row.name;
    EXPECT_TRUE(CheckGroupName(row.name)) << row.name;
    EXPECT_EQ(IsLevel(row.name), row.id.agent.empty()) << row.name;
  }
}

TEST(GroupName, EveryByteComesBack) {
  for (int byte = 1; byte < 256; ++byte) {
    const GroupId id{"", "", std::string(1, static_cast<char>(byte)), 1};
    const std::string name = GroupNameOf(id);
    EXPECT_TRUE(CheckGroupName(name)) << name;
    EXPECT_EQ(GroupIdOf(name), id) << name;
  }
}

// Lengths around the point where a name holds a hash instead, in plain and in escaped bytes.
TEST(GroupName, LongIdsFitAFileNameAndStayApart) {
  std::set<std::string> names;
  std::size_t made = 0;
  for (const char* piece : {"x", "\xc3\xa4", "x\xc3\xa4"}) {
    for (std::size_t length = 1; length <= 255; ++length) {
      GroupId id{"", "", "", UINT64_MAX};
      while (id.agent.size() < length) id.agent += piece;
      id.agent.resize(length);
      const std::string name = GroupNameOf(id);
      EXPECT_LE(name.size(), 255U);
      EXPECT_TRUE(CheckGroupName(name)) << name;
      names.insert(name);
      ++made;
      const std::optional<GroupId> back = GroupIdOf(name);
      if (name.find("%%") == std::string::npos) {
        EXPECT_EQ(back, id);
      } else {
        EXPECT_EQ(back, std::nullopt) << name;
      }
    }
  }
  EXPECT_EQ(names.size(), made - 1) << "\"x\" is made twice";
  const GroupId plain{"", "", std::string(220, 'x'), 1}, longer{"", "", std::string(221, 'x'), 1};
  EXPECT_EQ(GroupNameOf(plain), "a-" + std::string(220, 'x') + ".1");
  EXPECT_EQ(GroupNameOf(longer).find("%%"), 182U);
}

TEST(GroupName, LongIdsThatDifferAtTheEndOnlyStayApart) {
  std::set<std::string> names;
  for (char last = 'a'; last <= 'z'; ++last) {
    names.insert(GroupNameOf({"", "", std::string(254, 'x') + last, 1}));
  }
  EXPECT_EQ(names.size(), 26U);
}

TEST(GroupName, WhatIsNoNameOfAnIdHasNone) {
  for (const char* name :
       {"",        "x",       "probe.1", "a-b",      "a-.1",    "a-b.",       "a-b.x",
        "a-b.01",  "a-b.1/c", "t-",      "t-/a-b.1", "s-1/t-2", "a-%2.1",     "a-%zz.1",
        "a-%41.1", "a-%61.1", "a-%c3.1", "t-1/",     "/t-1",    "t-1//a-b.1", "s-1/s-2/a-b.1"}) {
    EXPECT_EQ(GroupIdOf(name), std::nullopt) << name;
  }
}

TEST(GroupName, Generations) {
  EXPECT_EQ(GenerationIn("t-acme/a-bot.7", "t-acme/a-bot."), 7U);
  EXPECT_EQ(GenerationIn("t-acme/a-bot.", "t-acme/a-bot."), std::nullopt);
  EXPECT_EQ(GenerationIn("t-acme/a-bot.7.8", "t-acme/a-bot."), std::nullopt);
  EXPECT_EQ(GenerationIn("t-acme/a-bottle.7", "t-acme/a-bot."), std::nullopt);
  EXPECT_EQ(GenerationIn("a-bot.7", "t-acme/a-bot."), std::nullopt);
}

TEST(GroupName, Parents) {
  EXPECT_EQ(ParentOf("t-acme/s-42/a-bot.7"), "t-acme/s-42");
  EXPECT_EQ(ParentOf("t-acme"), kTopGroup);
  EXPECT_EQ(ParentOf(kTopGroup), kTopGroup);
  EXPECT_TRUE(IsLevel(kTopGroup));
  EXPECT_FALSE(IsLevel("probe.1"));
}

TEST(GroupName, AllowedAndRefused) {
  for (const char* good : {"a", "A.b_c:d-9", "probe.1", "cgroup.procs", "a%20b"}) {
    EXPECT_TRUE(CheckGroupName(good)) << good;
  }
  EXPECT_TRUE(CheckGroupName(std::string(255, 'x')));
  EXPECT_TRUE(CheckGroupName("t-" + std::string(253, 'x') + "/a-b.1"));
  const std::string bad[] = {"",
                             ".",
                             "..",
                             "...",
                             ".x",
                             "a/b",
                             "a b",
                             "a\n",
                             "\xc3\xa4",
                             "a\\b",
                             "/",
                             "t-1/",
                             "t-1/x",
                             "s-1/t-2",
                             "/t-1",
                             "t-1//s-2",
                             "t-1/../x",
                             "t-1/t-2",
                             "a-1/a-2",
                             "s-1/a-2/x",
                             std::string(1, '\0'),
                             "../x",
                             "t-1/.",
                             "x/a-b.1",
                             std::string(256, 'x'),
                             "t-1/" + std::string(256, 'a')};
  for (const std::string& name : bad) {
    const Result<void> checked = CheckGroupName(name);
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(checked.error().message.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace mete::agent
