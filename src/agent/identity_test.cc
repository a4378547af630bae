#include "agent/identity.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mete::agent {
namespace {

TEST(Identity, OfAUserThatTheSystemKnows) {
  const Result<Identity> by_name = FindIdentity("root");
  ASSERT_TRUE(by_name) << by_name.error().message;
  EXPECT_EQ(by_name->uid, 0u);
  EXPECT_EQ(by_name->gid, 0u);
  EXPECT_NE(std::ranges::find(by_name->groups, 0u), by_name->groups.end());
  EXPECT_EQ(by_name->environment,
            (std::vector<std::string>{"HOME=/root", "USER=root", "LOGNAME=root"}));
  const Result<Identity> by_number = FindIdentity("0");
  ASSERT_TRUE(by_number);
  EXPECT_EQ(by_number->environment, by_name->environment);
}

TEST(Identity, WithAGroupOfItsOwn) {
  const Result<Identity> named = FindIdentity("root:12345");
  ASSERT_TRUE(named) << named.error().message;
  EXPECT_EQ(named->uid, 0u);
  EXPECT_EQ(named->gid, 12345u);
  EXPECT_EQ(FindIdentity("0:root")->gid, 0u);
}

TEST(Identity, OfANumberThatNobodyHas) {
  const Result<Identity> unknown = FindIdentity("3999999999:3999999998");
  ASSERT_TRUE(unknown) << unknown.error().message;
  EXPECT_EQ(unknown->uid, 3999999999u);
  EXPECT_EQ(unknown->gid, 3999999998u);
  EXPECT_TRUE(unknown->groups.empty());
  EXPECT_EQ(unknown->environment,
            (std::vector<std::string>{"HOME=/", "USER=3999999999", "LOGNAME=3999999999"}));
}

TEST(Identity, RefusesWhatNamesNobody) {
  struct Row {
    const char* text;
    const char* why;
  };
  for (const Row& row :
       {Row{"", "no user"}, Row{":0", "no user"}, Row{"no-such-user-here", "no such user"},
        Row{"-1", "no such user"}, Row{"4294967295:0", "no such user"},
        Row{"99999999999:0", "no such user"}, Row{"3999999999", "a group must be named"},
        Row{"root:", "no such group"}, Row{"root:no-such-group-here", "no such group"},
        Row{"root:4294967295", "no such group"}}) {
    const Result<Identity> identity = FindIdentity(row.text);
    ASSERT_FALSE(identity) << row.text;
    EXPECT_EQ(identity.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(identity.error().message.find(row.why), std::string::npos)
        << identity.error().message;
    EXPECT_NE(identity.error().message.find("NAME"), std::string::npos);
  }
}

}  // namespace
}  // namespace mete::agent
