#include "quota/key_book.h"

#include <gtest/gtest.h>

namespace mete {
namespace {

using std::chrono::hours;

TEST(KeyBook, AKeyIsAnAccountsOwnForADay) {
  KeyBook book;
  const Time now(hours(1));
  book.Remember(1, "k", {.content = 7, .hold = 8, .time = now});
  ASSERT_TRUE(book.Find(1, "k", now));
  EXPECT_EQ(book.Find(1, "k", now)->content, 7u);
  EXPECT_EQ(book.Find(1, "k", now)->hold, 8u);
  EXPECT_FALSE(book.Find(2, "k", now));
  EXPECT_FALSE(book.Find(1, "l", now));
  EXPECT_TRUE(book.Find(1, "k", now + KeyBook::kKept - Duration(1)));
  EXPECT_FALSE(book.Find(1, "k", now + KeyBook::kKept));
  EXPECT_TRUE(book.FindOfAnyAge(1, "k"));
  book.Remember(1, "k", {.content = 9, .time = now + KeyBook::kKept});
  EXPECT_EQ(book.Find(1, "k", now + KeyBook::kKept)->content, 9u);
  EXPECT_EQ(book.size(), 1u);
}

TEST(KeyBook, TheOldestAreForgottenForTheirNumberOrAge) {
  KeyBook book;
  book.TakeForgotten();
  for (std::size_t i = 0; i <= kKeysKept; ++i) {
    book.Remember(static_cast<RecordIndex>(i % 3), std::to_string(i),
                  {.time = Time(Duration(static_cast<std::int64_t>(i)))});
  }
  EXPECT_EQ(book.size(), kKeysKept);
  EXPECT_EQ(book.TakeForgotten(), std::vector<KeyBook::Name>({{0, "0"}}));
  EXPECT_TRUE(book.FindOfAnyAge(1, "1"));
  book.Remember(0, "late", {.time = Time(KeyBook::kKept + hours(1))});
  EXPECT_EQ(book.size(), 1u);
  EXPECT_EQ(book.TakeForgotten().size(), kKeysKept);
}

TEST(KeyBook, AnAccountThatIsRemovedTakesItsKeysWithIt) {
  KeyBook book;
  for (const char* key : {"a", "b"}) book.Remember(5, key, {});
  book.Remember(6, "a", {});
  EXPECT_EQ(book.Forget(5).size(), 2u);
  EXPECT_EQ(book.Forget(5).size(), 0u);
  EXPECT_FALSE(book.FindOfAnyAge(5, "a"));
  EXPECT_TRUE(book.FindOfAnyAge(6, "a"));
  book.Remember(5, "a", {.content = 3});
  EXPECT_EQ(book.size(), 2u);
}

TEST(KeyBook, LengthsAreCheckedAndContentsTellApart) {
  EXPECT_TRUE(KeyBook::Check(std::string(255, 'k')));
  EXPECT_FALSE(KeyBook::Check(std::string(256, 'k')));
  const Amounts five = Amounts().Set(Resource::kTokens, 5);
  EXPECT_EQ(ContentOf(1, five, 0), ContentOf(1, five, 0));
  EXPECT_NE(ContentOf(1, five, 0), ContentOf(2, five, 0));
  EXPECT_NE(ContentOf(1, five, 0), ContentOf(1, five, 1));
  EXPECT_NE(ContentOf(1, five, 0), ContentOf(1, Amounts().Set(Resource::kCost, 5), 0));
  EXPECT_NE(ContentOf(1, Amounts(), 0), ContentOf(1, Amounts().Set(Resource::kCpu, 0), 0));
  // Kept in stores: never another one.
  EXPECT_EQ(ContentOf(1, five, 0), 0xe487ab4242428140u);
}

}  // namespace
}  // namespace mete
