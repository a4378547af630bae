#include "agent/key_text.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

TEST(KeyText, IsTheSameWithAndWithoutQuotes) {
  EXPECT_EQ(KeyText(""), "");
  EXPECT_EQ(KeyText("batch-7"), "batch-7");
  EXPECT_EQ(KeyText("\"batch-7\""), "batch-7");
  EXPECT_EQ(KeyText("\"a\\\"b\\\\c\""), "a\"b\\c");
  EXPECT_EQ(KeyText("\"k\";a=1"), "k");
  EXPECT_EQ(KeyText("\"\""), "");
  for (const char* bad : {"\"", "\"k", "\"k\"x", "\"k\\", "\"k\\n\"", "\"a\tb\"", "\"\xc3\xa4\""}) {
    const auto refused = KeyText(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(KeyText, IsBounded) {
  EXPECT_EQ(KeyText(std::string(255, 'k')), std::string(255, 'k'));
  EXPECT_EQ(KeyText(std::string(256, 'k')).error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(KeyText('"' + std::string(256, 'k') + '"').has_value());
}

TEST(KeyText, AFieldIsReadBack) {
  for (const std::string key : {"k", "a\"b\\c", "with space; and more", "\\"}) {
    EXPECT_EQ(KeyText(KeyField(key)), key);
  }
}

}  // namespace
}  // namespace mete::agent
