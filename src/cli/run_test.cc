#include "cli/run.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "cli/command_test.h"

namespace mete::cli {
namespace {

TEST(Run, AsAnotherUserIsForRoot) {
  constexpr uid_t kOther = 65534;
  const uid_t before = geteuid();
  if (before == 0) {
    ASSERT_EQ(seteuid(kOther), 0);
  }
  const Ran ran = RunCli({&kRunCommand}, {"run", "--user", "1:1", "--", "true"});
  ASSERT_EQ(seteuid(before), 0);
  EXPECT_EQ(ran.status, 125);
  ExpectOneErrorLine(ran, "mete: E2078: --user: only root may run a program as another user");
}

}  // namespace
}  // namespace mete::cli
