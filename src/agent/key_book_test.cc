#include "agent/key_book.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

constexpr Duration kSecond = std::chrono::seconds(1);

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

TEST(KeyBook, KnowsAKeyFor24Hours) {
  KeyBook book;
  const Time start{};
  EXPECT_FALSE(book.Find("a", start));
  book.Remember("a", {.content = 7, .result = 9}, start);
  ASSERT_TRUE(book.Find("a", start));
  EXPECT_EQ(book.Find("a", start)->content, 7u);
  EXPECT_EQ(book.Find("a", start)->result, 9u);
  EXPECT_FALSE(book.Find("b", start));
  EXPECT_TRUE(book.Find("a", start + KeyBook::kKept - Duration(1)));
  EXPECT_FALSE(book.Find("a", start + KeyBook::kKept));
  EXPECT_EQ(book.size(), 0u);
}

TEST(KeyBook, KeepsTheFirstEntryOfAKey) {
  KeyBook book;
  book.Remember("a", {.content = 1, .result = 1}, Time());
  book.Remember("a", {.content = 2, .result = 2}, Time(kSecond));
  EXPECT_EQ(book.Find("a", Time(kSecond))->content, 1u);
  EXPECT_EQ(book.size(), 1u);
  EXPECT_FALSE(book.Find("a", Time(KeyBook::kKept)));
}

TEST(KeyBook, ForgetsTheOldestFirstWhenItIsFull) {
  KeyBook book;
  for (std::size_t i = 0; i <= KeyBook::kMostKeys; ++i) {
    book.Remember(std::to_string(i), {.content = i, .result = 0}, Time());
  }
  EXPECT_EQ(book.size(), KeyBook::kMostKeys);
  EXPECT_FALSE(book.Find("0", Time()));
  EXPECT_TRUE(book.Find("1", Time()));
  EXPECT_TRUE(book.Find(std::to_string(KeyBook::kMostKeys), Time()));
}

}  // namespace
}  // namespace mete::agent
