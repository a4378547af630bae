#include "base/check.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace mete {
namespace {

[[noreturn]] void Throw(const char* condition, const char* file, int line) {
  throw std::runtime_error(std::string(condition) + " " + file + ":" + std::to_string(line));
}

TEST(Check, DoesNothingWhenTheConditionHolds) { METE_CHECK(1 + 1 == 2); }

TEST(Check, CallsTheHandlerWithWhatFailedAndWhere) {
  EXPECT_EQ(SetCheckHandler(Throw), nullptr);
  std::string what;
  const int line = __LINE__ + 2;
  try {
    METE_CHECK(1 + 1 == 3);
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(SetCheckHandler(nullptr), Throw);
  EXPECT_EQ(what, std::string("1 + 1 == 3 ") + __FILE__ + ":" + std::to_string(line));
}

TEST(CheckDeathTest, EndsTheProcessByDefault) {
  EXPECT_DEATH(METE_CHECK(1 + 1 == 3), "mete: check failed: 1 \\+ 1 == 3 \\(.*check_test.cc:");
}

}  // namespace
}  // namespace mete
