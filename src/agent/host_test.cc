#include "agent/host.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

TEST(Grade, HasAName) {
  EXPECT_EQ(NameOf(Grade::kKernel), "kernel");
  EXPECT_EQ(NameOf(Grade::kSampled), "sampled");
  EXPECT_EQ(NameOf(Grade::kReported), "reported");
  EXPECT_EQ(NameOf(Grade::kAdvisory), "advisory");
  EXPECT_EQ(NameOf(Grade::kAbsent), "absent");
}

}  // namespace
}  // namespace mete::agent
