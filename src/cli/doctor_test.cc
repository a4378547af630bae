#include "cli/doctor.h"

#include <gtest/gtest.h>

#include "mete/quota.h"
#include "wire/json.h"

namespace mete::cli {
namespace {

using agent::Capabilities;
using agent::Grade;

Capabilities Hybrid() {
  Capabilities found;
  found.layout = "hybrid";
  found.root = "/sys/fs/cgroup/mete";
  found.cpu = {Grade::kKernel, "cpu.cfs_quota_us (v1)"};
  found.memory = {Grade::kKernel, "memory.limit_in_bytes (v1)"};
  found.pids = {Grade::kAbsent, "no pids controller"};
  found.freeze = {Grade::kKernel, "cgroup.freeze"};
  found.kill = {Grade::kKernel, "cgroup.kill"};
  found.cpu_usage = {Grade::kKernel, "cpu.stat"};
  found.memory_usage = {Grade::kKernel, "memory.usage_in_bytes"};
  found.memory_peak = {Grade::kSampled, "sampled \"often\""};
  found.labels = {Grade::kKernel, "trusted.mete.label"};
  found.pressure = {Grade::kKernel, "memory.pressure"};
  found.clone = {Grade::kKernel, "clone3 into the group"};
  found.above = {Grade::kAbsent, "none"};
  found.other_user = {Grade::kKernel, "root"};
  found.notes = {"same user"};
  return found;
}

TEST(Doctor, PrintsATable) {
  const std::string text = DoctorText(Hybrid());
  EXPECT_TRUE(
      text.starts_with("control groups: hybrid, made in /sys/fs/cgroup/mete\n"
                       "\n"
                       "             WHAT                  GRADE     HOW\n"
                       "limit        cpu                   kernel    cpu.cfs_quota_us (v1)\n"))
      << text;
  for (const char* line : {
           "             memory                kernel    memory.limit_in_bytes (v1)\n",
           "             cpu_seconds_per_hour  sampled   read when it could be used up, at least 2 "
           "ms apart; at worst: 10 ms of every core\n",
           "             tokens_per_hour       reported  ",
           "             pids                  absent    no pids controller\n",
           "action       warn                  kernel    ",
           "             throttle              kernel    cpu.cfs_quota_us (v1); in steps",
           "             terminate             kernel    SIGTERM, the grace, then cgroup.kill\n",
           "reading      cpu time              kernel    cpu.stat\n",
           "             memory peak           sampled   sampled \"often\"\n",
           "environment  start in the group    kernel    clone3 into the group\n",
           "             limits above          absent    none\n",
           "\nnote: same user\n",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST(Doctor, PrintsJsonWithTheSameRows) {
  Result<wire::Json> json = wire::ParseJson(DoctorJson(Hybrid()));
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(*json->Find("layout")->AsString(), "hybrid");
  const wire::JsonArray& rows = *json->Find("grades")->AsArray();
  const std::string text = DoctorText(Hybrid());
  std::size_t sampled = 0;
  for (const wire::Json& row : rows) {
    const std::string what(*row.Find("what")->AsString());
    EXPECT_NE(text.find(" " + what + " "), std::string::npos) << what;
    EXPECT_FALSE(row.Find("kind")->AsString()->empty());
    EXPECT_FALSE(row.Find("grade")->AsString()->empty());
    EXPECT_FALSE(row.Find("how")->AsString()->empty()) << what;
    sampled += row.Find("overshoot") != nullptr;
  }
  EXPECT_EQ(rows.size(), mete::kLimitKindCount + 1 + 4 + 3 + 6);
  EXPECT_EQ(sampled, 1U) << "cpu_seconds_per_hour alone is sampled here";
  EXPECT_EQ(json->Find("notes")->AsArray()->size(), 1U);
}

// Reports are only as good as what can be done about them.
TEST(Doctor, WithoutAFreezerReportsAreNotActedOn) {
  Capabilities found = Hybrid();
  found.freeze.grade = Grade::kAbsent;
  EXPECT_NE(DoctorText(found).find("tokens_per_hour       absent"), std::string::npos);
}

TEST(Doctor, ShowsAMachineThatHoldsNothing) {
  Capabilities none;
  none.layout = "none";
  const std::string text = DoctorText(none);
  EXPECT_TRUE(text.starts_with("control groups: none\n")) << text;
  const std::size_t first = text.find(" kernel ");
  EXPECT_NE(text.find("warn", first - 40), std::string::npos) << "only warning needs nothing";
  EXPECT_EQ(text.find(" kernel ", first + 1), std::string::npos) << text;
}

TEST(Doctor, SaysThatThereAreNoControlGroups) {
  Capabilities found;
  found.layout = "processes";
  found.root = "/run/x";
  EXPECT_TRUE(
      DoctorText(found).starts_with("no control groups: trees of processes, made in /run/x"));
}

}  // namespace
}  // namespace mete::cli
