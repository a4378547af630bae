#include "agent/key_book.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

constexpr Duration kSecond = std::chrono::seconds(1);

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
