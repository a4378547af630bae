#include "cli/doctor.h"

#include <gtest/gtest.h>

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
  found.notes = {"same user"};
  return found;
}

TEST(Doctor, PrintsATable) {
  EXPECT_EQ(
      DoctorText(Hybrid()),
      "control groups: hybrid, made in /sys/fs/cgroup/mete\n"
      "\n"
      "         WHAT                    GRADE     HOW\n"
      "limit    cpu                     kernel    cpu.cfs_quota_us (v1)\n"
      "         memory                  kernel    memory.limit_in_bytes (v1)\n"
      "         pids                    absent    no pids controller\n"
      "         tokens, requests, cost  reported  counted when the agent reports, acted on by "
      "the kernel\n"
      "action   suspend                 kernel    cgroup.freeze\n"
      "         terminate               kernel    cgroup.kill\n"
      "reading  cpu time                kernel    cpu.stat\n"
      "         memory                  kernel    memory.usage_in_bytes\n"
      "         memory peak             sampled   sampled \"often\"\n"
      "\n"
      "note: same user\n");
}

TEST(Doctor, PrintsJsonWithTheSameRows) {
  Result<wire::Json> json = wire::ParseJson(DoctorJson(Hybrid()));
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(*json->Find("layout")->AsString(), "hybrid");
  const wire::JsonArray& rows = *json->Find("grades")->AsArray();
  ASSERT_EQ(rows.size(), 9U);
  EXPECT_EQ(*rows[2].Find("what")->AsString(), "pids");
  EXPECT_EQ(*rows[2].Find("kind")->AsString(), "limit");
  EXPECT_EQ(*rows[2].Find("grade")->AsString(), "absent");
  EXPECT_EQ(*rows[8].Find("how")->AsString(), "sampled \"often\"");
  EXPECT_EQ(json->Find("notes")->AsArray()->size(), 1U);
}

// Reports are only as good as what can be done about them.
TEST(Doctor, WithoutAFreezerReportsAreAdvisory) {
  Capabilities found = Hybrid();
  found.freeze.grade = Grade::kAbsent;
  EXPECT_NE(DoctorText(found).find("tokens, requests, cost  advisory"), std::string::npos);
}

TEST(Doctor, ShowsAMachineThatHoldsNothing) {
  Capabilities none;
  none.layout = "none";
  const std::string text = DoctorText(none);
  EXPECT_TRUE(text.starts_with("control groups: none\n")) << text;
  EXPECT_EQ(text.find("kernel"), std::string::npos) << text;
}

}  // namespace
}  // namespace mete::cli
