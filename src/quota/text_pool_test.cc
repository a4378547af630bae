#include "quota/text_pool.h"

#include <gtest/gtest.h>

#include <string>

namespace mete {
namespace {

TEST(TextPool, ATextIsKeptOnceForAsLongAsItIsUsed) {
  TextPool pool;
  EXPECT_EQ(pool.Take(""), 0u);
  EXPECT_EQ(pool.TextOf(0), "");
  pool.Release(0);
  const std::uint32_t first = pool.Take("2Gi");
  const std::uint32_t other = pool.Take("500m");
  EXPECT_NE(first, 0u);
  EXPECT_NE(first, other);
  EXPECT_EQ(pool.Take(std::string("2Gi")), first);
  pool.Release(first);
  EXPECT_EQ(pool.TextOf(first), "2Gi");
  EXPECT_EQ(pool.Take("2Gi"), first);
  pool.Release(first);
  pool.Release(first);
  EXPECT_EQ(pool.Take("100k"), first);  // its number is free again
  EXPECT_EQ(pool.TextOf(first), "100k");
  EXPECT_EQ(pool.TextOf(other), "500m");
  EXPECT_NE(pool.Take("2Gi"), first);
}

// The pool looks texts up by views of its own copies, which must not move.
TEST(TextPool, HoldsManyTexts) {
  TextPool pool;
  constexpr std::uint32_t kCount = 5000;
  for (std::uint32_t i = 0; i < kCount; ++i) EXPECT_EQ(pool.Take(std::to_string(i)), i + 1);
  for (std::uint32_t i = 0; i < kCount; i += 2) pool.Release(i + 1);
  for (std::uint32_t i = 1; i < kCount; i += 2) {
    ASSERT_EQ(pool.TextOf(i + 1), std::to_string(i));
    ASSERT_EQ(pool.Take(std::to_string(i)), i + 1);
  }
}

}  // namespace
}  // namespace mete
