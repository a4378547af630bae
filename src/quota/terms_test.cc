#include "quota/terms.h"

#include <gtest/gtest.h>

#include <memory>

namespace mete {
namespace {

TEST(Terms, TheSameOnesAreKeptOnce) {
  auto pool = std::make_unique<TermsPool>();
  Terms terms{.policies = DefaultPolicies(), .window = std::chrono::hours(1)};
  EXPECT_EQ(pool->IndexOf(terms), 0);
  EXPECT_EQ(pool->IndexOf(terms), 0);
  std::uint16_t index = 0;
  // Each part of them counts.
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    Terms other = terms;
    other.policies[i].mode = EnforcementMode::kWarnOnly;
    EXPECT_EQ(pool->IndexOf(other), ++index);
    other.policies[i] = terms.policies[i];
    other.policies[i].action = QuotaAction::kTerminate;
    EXPECT_EQ(pool->IndexOf(other), ++index);
  }
  Terms other = terms;
  other.window += Duration(1);
  EXPECT_EQ(pool->IndexOf(other), ++index);
  EXPECT_EQ((*pool)[index].window, other.window);
  EXPECT_EQ((*pool)[2].of(Resource::kCpu).action, QuotaAction::kTerminate);
  EXPECT_EQ(pool->IndexOf(terms), 0);
}

}  // namespace
}  // namespace mete
