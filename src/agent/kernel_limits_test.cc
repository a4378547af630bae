#include "agent/kernel_limits.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "cgroup/fake_host.h"

namespace mete::agent {
namespace {

constexpr std::int64_t kMebi = 1 << 20;

ResourceLimits Limits(std::initializer_list<std::pair<LimitKind, const char*>> texts) {
  ResourceLimits limits;
  for (auto [kind, text] : texts) limits[kind] = *ParseLimit(kind, text);
  return limits;
}

PolicySet MemoryPolicy(QuotaAction action, EnforcementMode mode = EnforcementMode::kHard) {
  PolicySet policies;
  policies[static_cast<std::size_t>(Resource::kMemory)] = {mode, action};
  return policies;
}

TEST(KernelLimits, OfNothingHoldOnlyTheNumberOfProcesses) {
  const KernelLimits kernel = KernelLimitsOf({}, {}, 77);
  EXPECT_FALSE(kernel.cpu_nanocores);
  EXPECT_FALSE(kernel.memory_max);
  EXPECT_FALSE(kernel.memory_line);
  EXPECT_EQ(kernel.pids_max, 77);
}

TEST(KernelLimits, HoldCpuUnlessItOnlyWarns) {
  const ResourceLimits limits = Limits({{LimitKind::kCpu, "500m"}});
  EXPECT_EQ(KernelLimitsOf(limits, {}, 1).cpu_nanocores, 500'000'000);
  PolicySet warn;
  warn[static_cast<std::size_t>(Resource::kCpu)].mode = EnforcementMode::kWarnOnly;
  EXPECT_FALSE(KernelLimitsOf(limits, warn, 1).cpu_nanocores);
  EXPECT_FALSE(KernelLimitsOf(limits, {}, 1, {.cpu = false, .memory = true}).cpu_nanocores);
}

TEST(KernelLimits, HoldMemoryAsTheActionSays) {
  const ResourceLimits limits = Limits({{LimitKind::kMemory, "1Gi"}});
  const auto of = [&](QuotaAction action, EnforcementMode mode = EnforcementMode::kHard) {
    return KernelLimitsOf(limits, MemoryPolicy(action, mode), 1);
  };
  EXPECT_EQ(of(QuotaAction::kTerminate).memory_max, 1024 * kMebi);
  EXPECT_FALSE(of(QuotaAction::kTerminate).memory_line);
  // The line is the first page that is too much; the kernel kills well above it.
  EXPECT_EQ(of(QuotaAction::kSuspend).memory_line, 1024 * kMebi + sysconf(_SC_PAGESIZE));
  EXPECT_EQ(of(QuotaAction::kSuspend).memory_max, (1024 + 256) * kMebi);
  for (const KernelLimits& kernel :
       {of(QuotaAction::kWarn), of(QuotaAction::kSuspend, EnforcementMode::kWarnOnly)}) {
    EXPECT_FALSE(kernel.memory_max);
    EXPECT_FALSE(kernel.memory_line);
  }
  EXPECT_FALSE(KernelLimitsOf(limits, MemoryPolicy(QuotaAction::kTerminate), 1,
                              {.cpu = true, .memory = false})
                   .memory_max);
}

TEST(KernelLimits, OfUnlimitedAreNone) {
  ResourceLimits limits;
  limits[LimitKind::kCpu] = Limit{};
  limits[LimitKind::kMemory] = Limit{};
  const KernelLimits kernel = KernelLimitsOf(limits, MemoryPolicy(QuotaAction::kSuspend), 1);
  EXPECT_FALSE(kernel.cpu_nanocores);
  EXPECT_FALSE(kernel.memory_max);
  EXPECT_FALSE(kernel.memory_line);
}

TEST(KernelLimits, NearTheLargestNumberDoNotOverflow) {
  ResourceLimits limits;
  limits[LimitKind::kMemory] = Limit{kUnlimited - 1, "most"};
  const KernelLimits kernel = KernelLimitsOf(limits, MemoryPolicy(QuotaAction::kSuspend), 1);
  EXPECT_EQ(kernel.memory_max, kUnlimited - 1);
  EXPECT_EQ(kernel.memory_line, kUnlimited - 1);
}

TEST(MemoryHeadroom, IsAQuarterAndAtLeast64Mebi) {
  EXPECT_EQ(MemoryHeadroom(0), 64 * kMebi);
  EXPECT_EQ(MemoryHeadroom(256 * kMebi), 64 * kMebi);
  EXPECT_EQ(MemoryHeadroom(260 * kMebi), 65 * kMebi);
}

TEST(CheckRanges, NamesTheMinimumOrTheMaximum) {
  struct Row {
    LimitKind kind;
    const char* text;
    const char* says;  // nullptr: accepted
  };
  const Row rows[] = {
      {LimitKind::kCpu, "10m", nullptr},
      {LimitKind::kCpu, "9999u",
       "cpu: less than the kernel can hold, allowed: at least 10m, "
       "given: 9999u"},
      {LimitKind::kCpu, "0", "at least 10m"},
      {LimitKind::kMemory, "1Mi", nullptr},
      {LimitKind::kMemory, "1048575",
       "memory: less than the kernel can hold, allowed: at least "
       "1Mi, given: 1048575"},
      {LimitKind::kMemory, "0", "at least 1Mi"},
      {LimitKind::kCpu, "1000000", nullptr},
      {LimitKind::kCpu, "1000000.001",
       "cpu: more than the kernel can hold, allowed: at most 1000000, given: 1000000.001"},
      {LimitKind::kMemory, "2Ei", nullptr},
      {LimitKind::kMemory, "2305843009213693953",
       "memory: more than the kernel can hold, allowed: at most 2Ei, given: 2305843009213693953"},
      {LimitKind::kMemory, "7Ei", "at most 2Ei, given: 7Ei"},
      {LimitKind::kTokensPerHour, "0", nullptr},  // allows nothing; the kernel has no part in it
  };
  for (const Row& row : rows) {
    const Result<void> checked = CheckRanges(Limits({{row.kind, row.text}}));
    if (row.says == nullptr) {
      EXPECT_TRUE(checked) << row.text;
      continue;
    }
    ASSERT_FALSE(checked) << row.text;
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(checked.error().message.find(row.says), std::string::npos) << checked.error().message;
  }
}

TEST(CheckRanges, UnlimitedIsNotTooMuch) {
  ResourceLimits limits;
  limits[LimitKind::kMemory] = Limit{kUnlimited, "unlimited"};
  limits[LimitKind::kCpu] = Limit{kUnlimited, "unlimited"};
  EXPECT_TRUE(CheckRanges(limits));
}

// What is allowed here, no group refuses, whatever lies above the limit itself.
TEST(CheckRanges, TheMostIsHeld) {
  const ResourceLimits most = Limits({{LimitKind::kCpu, "1000000"}, {LimitKind::kMemory, "2Ei"}});
  for (const QuotaAction action : {QuotaAction::kTerminate, QuotaAction::kSuspend}) {
    cgroup::FakeHost host;
    PolicySet policies = DefaultPolicies();
    policies[static_cast<std::size_t>(Resource::kMemory)].action = action;
    const auto group = host.Create("most", KernelLimitsOf(most, policies, 1));
    EXPECT_TRUE(group) << group.error().message;
  }
}

Capabilities Everything() {
  Capabilities host;
  for (GradeInfo* info : {&host.cpu, &host.memory, &host.pids, &host.freeze, &host.kill,
                          &host.cpu_usage, &host.memory_usage, &host.memory_peak}) {
    *info = {Grade::kKernel, "file"};
  }
  return host;
}

TEST(GradeOf, SaysHowALimitIsHeld) {
  const Capabilities host = Everything();
  const Policy suspend{EnforcementMode::kHard, QuotaAction::kSuspend};
  const Policy terminate{EnforcementMode::kHard, QuotaAction::kTerminate};
  const Policy warn{EnforcementMode::kHard, QuotaAction::kWarn};
  EXPECT_EQ(GradeOf(LimitKind::kCpu, suspend, host).grade, Grade::kKernel);
  EXPECT_EQ(GradeOf(LimitKind::kMemory, terminate, host).grade, Grade::kKernel);
  EXPECT_NE(GradeOf(LimitKind::kMemory, suspend, host).how.find("64Mi"), std::string::npos);
  EXPECT_NE(GradeOf(LimitKind::kMemory, warn, host).how.find("warns only"), std::string::npos);
  EXPECT_EQ(GradeOf(LimitKind::kCpuSecondsPerHour, suspend, host).grade, Grade::kSampled);
  for (LimitKind kind : {LimitKind::kTokensPerHour, LimitKind::kTokensPerDay,
                         LimitKind::kRequestsPerMinute, LimitKind::kCostPerDay}) {
    EXPECT_EQ(GradeOf(kind, suspend, host).grade, Grade::kReported);
  }
}

TEST(GradeOf, IsNoBetterThanTheAction) {
  const Policy suspend{EnforcementMode::kHard, QuotaAction::kSuspend};
  Capabilities host = Everything();
  host.freeze = {Grade::kAbsent, "no cgroup.freeze"};
  for (LimitKind kind :
       {LimitKind::kTokensPerHour, LimitKind::kCpuSecondsPerHour, LimitKind::kMemory}) {
    EXPECT_EQ(GradeOf(kind, suspend, host).grade, Grade::kAbsent);
    EXPECT_EQ(GradeOf(kind, suspend, host).how, "no cgroup.freeze");
  }
  EXPECT_EQ(GradeOf(LimitKind::kCpu, suspend, host).grade, Grade::kKernel);
  host = Everything();
  host.cpu_usage = {Grade::kAbsent, "no cpu.stat"};
  EXPECT_EQ(GradeOf(LimitKind::kCpuSecondsPerHour, suspend, host).grade, Grade::kAbsent);
}

}  // namespace
}  // namespace mete::agent
