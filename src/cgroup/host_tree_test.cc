// What every host promises about the tree of groups, tried on the control groups of this machine,
// on trees of processes without any, and on the fake: levels, labels, rates, and finding it all
// again.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cgroup/fake_host.h"
#include "cgroup/process_tree_host.h"
#include "cgroup/test_group.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

using agent::FoundGroup;
using agent::GroupId;
using agent::KernelLimits;
using agent::Sample;

constexpr std::int64_t kMiB = 1 << 20;

class HostTree : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (GetParam() == std::string("fake")) {
      auto fake = std::make_unique<FakeHost>();
      fake_ = fake.get();
      host_ = std::move(fake);
    } else if (GetParam() == std::string("processes")) {
      folder_.Dir("run");
      host_ = std::make_unique<ProcessTreeHost>(folder_.path("run"), "a test says so");
    } else {
      host_ = agent::OpenHost();
      const agent::Capabilities seen = host_->Look();
      if (seen.layout != "hybrid" && seen.layout != "v2") {
        GTEST_SKIP() << "no control groups here: " << seen.freeze.how;
      }
    }
    tenant_ = TestName("tenant");
  }

  GroupId Id(const std::string& session, const std::string& agent,
             std::uint64_t generation = 1) const {
    return {tenant_, session, agent, generation};
  }
  std::unique_ptr<agent::Group> MustFind(const GroupId& id) {
    auto found = host_->Find(GroupNameOf(id));
    EXPECT_TRUE(found.has_value()) << (found ? "" : found.error().ToString());
    return found ? *std::move(found) : nullptr;
  }
  // What is there of this test's tenant.
  std::vector<FoundGroup> Found() {
    auto all = host_->Scan();
    EXPECT_TRUE(all.has_value());
    const std::string tenant = GroupNameOf(GroupId{tenant_, "", ""});
    std::erase_if(*all, [&](const FoundGroup& group) {
      return group.name != tenant && !group.name.starts_with(tenant + "/");
    });
    return *all;
  }
  std::vector<std::string> FoundNames() {
    std::vector<std::string> names;
    for (const FoundGroup& group : Found()) names.push_back(group.name);
    return names;
  }

  TestTree folder_;
  std::unique_ptr<agent::Host> host_;
  FakeHost* fake_ = nullptr;  // null on the real one
  std::string tenant_;
};

// A leaf of the test's tenant, ended and removed with the object.
class TestLeaf : public TestGroup {
 public:
  TestLeaf(agent::Host& host, const GroupId& id, const KernelLimits& limits = {},
           const agent::LevelLimits& levels = {})
      : TestGroup(agent::CreateLeaf(host, id, limits, levels)) {}
};

TEST_P(HostTree, LevelsComeWithTheirFirstAgentAndGoWithTheLast) {
  const std::string tenant = GroupNameOf(Id("", "")), session = GroupNameOf(Id("s", ""));
  auto one = CreateLeaf(*host_, Id("s", "one"), {});
  ASSERT_TRUE(one) << one.error().ToString();
  EXPECT_EQ((*one)->name(), session + "/a-one.1");
  auto other = CreateLeaf(*host_, Id("", "other"), {});
  ASSERT_TRUE(other) << other.error().ToString();
  EXPECT_EQ(FoundNames(), (std::vector<std::string>{tenant, tenant + "/a-other.1", session,
                                                    session + "/a-one.1"}));
  EXPECT_TRUE((*one)->Remove());
  EXPECT_EQ(FoundNames(), (std::vector<std::string>{tenant, tenant + "/a-other.1"}));
  EXPECT_EQ(host_->Find(session).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE((*one)->Remove()) << "safe to repeat";
  EXPECT_TRUE((*other)->Remove());
  EXPECT_TRUE(FoundNames().empty());
}

TEST_P(HostTree, ALevelWithGroupsInItIsNotRemovedAndAnEmptyOneIs) {
  auto tenant = host_->Create(GroupNameOf(Id("", "")), {});
  ASSERT_TRUE(tenant) << tenant.error().ToString();
  EXPECT_EQ(host_->Create(GroupNameOf(Id("", "")), {}).error().code, ErrorCode::kAlreadyExists);
  {
    const TestLeaf leaf(*host_, Id("", "a"));
    auto removed = (*tenant)->Remove();
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().code, ErrorCode::kInUse) << removed.error().ToString();
    EXPECT_EQ(FoundNames().size(), 2U) << "a refused Remove must change nothing";
  }
  EXPECT_TRUE(FoundNames().empty());
  auto again = host_->Create(GroupNameOf(Id("", "")), {});
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_TRUE((*again)->Remove());
}

TEST_P(HostTree, NoProcessIsPutIntoALevel) {
  TestLeaf leaf(*host_, Id("", "a"));
  ASSERT_TRUE(leaf);
  auto tenant = MustFind(Id("", ""));
  ASSERT_TRUE(tenant);
  EXPECT_LT(tenant->CloneFd(), 0);
  EXPECT_NE(tenant->JoinSelf(), 0);
  EXPECT_FALSE(tenant->Contains(getpid()));
  EXPECT_FALSE(tenant->Adopt(getpid()));
}

TEST_P(HostTree, ProcessesAreKnownByTheLeafAndCountedAbove) {
  TestLeaf one(*host_, Id("s", "one")), other(*host_, Id("", "other"));
  ASSERT_TRUE(one && other);
  TestChild first(*one, SleepLong), second(*other, SleepLong);
  EXPECT_EQ(host_->GroupOf(first.pid()), one->name());
  EXPECT_EQ(host_->GroupOf(second.pid()), other->name());
  auto tenant = MustFind(Id("", "")), session = MustFind(Id("s", ""));
  ASSERT_TRUE(tenant && session);
  EXPECT_EQ(tenant->Read()->pids, 2);
  EXPECT_EQ(session->Read()->pids, 1);
  EXPECT_TRUE(tenant->Contains(first.pid()) && tenant->Contains(second.pid()));
  EXPECT_TRUE(session->Contains(first.pid()));
  EXPECT_FALSE(session->Contains(second.pid()));
  EXPECT_TRUE(one->Holds(first.pid()));
  EXPECT_FALSE(one->Holds(second.pid()));
  EXPECT_TRUE(one->Holds(INT32_MAX)) << "one that is gone";
}

TEST_P(HostTree, ARunningProcessIsTakenInWithItsThreadsAndChildrenToCome) {
  TestLeaf from(*host_, Id("", "from")), leaf(*host_, Id("s", "to"));
  ASSERT_TRUE(from && leaf);
  SharedPage page;
  TestChild child(*from, [&page] {
    while (page[0] == 0) SleepFor(milliseconds(1));
    if (fork() == 0) alarm(60);
    return SleepLong();
  });
  auto taken = leaf->Adopt(child.pid());
  ASSERT_TRUE(taken) << taken.error().ToString();
  EXPECT_TRUE(leaf->Holds(child.pid()));
  EXPECT_FALSE(from->Contains(child.pid()));
  page[0] = 1;
  EXPECT_TRUE(Eventually([&] { return leaf.Read().pids == 2; }));
  EXPECT_EQ(from.Read().pids, 0);
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  ASSERT_EQ(waitpid(gone, nullptr, 0), gone);
  taken = leaf->Adopt(gone);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::kNotFound) << taken.error().ToString();
}

TEST_P(HostTree, AFrozenLevelStopsAllBelowAndLeavesAnAgentsOwnFreeze) {
  TestLeaf one(*host_, Id("s", "one")), other(*host_, Id("", "other"));
  ASSERT_TRUE(one && other);
  SharedPage page;
  TestChild first(*one, [&page] {
    for (;;) page[0] = page[0] + 1;
    return 0;
  });
  TestChild second(*other, [&page] {
    for (;;) page[1] = page[1] + 1;
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return page[0] > 0 && page[1] > 0; }));
  ASSERT_TRUE(one->Freeze(kSoon));
  auto tenant = MustFind(Id("", ""));
  ASSERT_TRUE(tenant);
  auto frozen = tenant->Freeze(kSoon);
  ASSERT_TRUE(frozen) << frozen.error().ToString();
  const long at_first = page[0], at_second = page[1];
  SleepFor(milliseconds(30));
  EXPECT_EQ(page[0], at_first);
  EXPECT_EQ(page[1], at_second);
  EXPECT_TRUE(tenant->Read()->frozen);
  EXPECT_TRUE(other.Read().frozen) << "by the level";
  for (const FoundGroup& group : Found()) {
    EXPECT_TRUE(group.frozen) << group.name;
    EXPECT_EQ(group.freeze_wanted, group.name == tenant->name() || group.name == one->name())
        << group.name;
  }
  EXPECT_TRUE(one->Thaw());
  SleepFor(milliseconds(30));
  EXPECT_EQ(page[0], at_first) << "a thawed agent ran in a frozen tenant";
  ASSERT_TRUE(one->Freeze(kSoon));
  ASSERT_TRUE(tenant->Thaw());
  EXPECT_TRUE(Eventually([&] { return page[1] > at_second; }));
  EXPECT_EQ(page[0], at_first) << "a suspended agent was thawed with its tenant";
  EXPECT_TRUE(one->Thaw());
  EXPECT_TRUE(Eventually([&] { return page[0] > at_first; }));
}

TEST_P(HostTree, AFreezeOfALevelThatDoesNotCompleteIsUndone) {
  TestLeaf leaf(*host_, Id("s", "one"));
  ASSERT_TRUE(leaf);
  SharedPage page;
  TestChild child(*leaf, [&page] {
    for (;;) page[0] = page[0] + 1;
    return 0;
  });
  auto tenant = MustFind(Id("", ""));
  ASSERT_TRUE(tenant);
  for (int round = 0; round < 20; ++round) {
    auto frozen = tenant->Freeze(Duration(0));
    if (frozen) {
      ASSERT_TRUE(tenant->Thaw());  // it was quick enough
    } else {
      EXPECT_EQ(frozen.error().code, ErrorCode::kSuspendFailed);
    }
    const long at = page[0];
    EXPECT_TRUE(Eventually([&] { return page[0] > at; })) << "left frozen after a failure";
    EXPECT_FALSE(Found().front().freeze_wanted);
  }
}

TEST_P(HostTree, AKilledLevelIsEmptyAndCanBeUsedAgain) {
  TestLeaf one(*host_, Id("s", "one")), other(*host_, Id("", "other"));
  TestLeaf beside(*host_, {"", "", TestName("beside"), 1});
  ASSERT_TRUE(one && other && beside);
  TestChild first(*one, SleepLong), second(*other, SleepLong), neighbour(*beside, SleepLong);
  auto tenant = MustFind(Id("", ""));
  ASSERT_TRUE(tenant);
  ASSERT_TRUE(one->Freeze(kSoon));
  auto killed = tenant->Kill(kSoon);
  ASSERT_TRUE(killed) << killed.error().ToString();
  EXPECT_FALSE(tenant->Read()->populated);
  EXPECT_TRUE(WIFSIGNALED(first.Wait()) && WIFSIGNALED(second.Wait()));
  EXPECT_EQ(kill(neighbour.pid(), 0), 0);
  // A fresh leaf is all that a start needs: what a kill leaves behind stays on the group itself.
  TestLeaf fresh(*host_, Id("s", "one", 2));
  ASSERT_TRUE(fresh);
  TestChild again(*fresh, SleepLong);
  EXPECT_EQ(tenant->Read()->pids, 1);
}

TEST_P(HostTree, LimitsOfLevelsAreWrittenWithTheLeafAndReported) {
  if (host_->Look().memory.grade != agent::Grade::kKernel) {
    KernelLimits few;
    few.pids_max = 20;
    auto made = CreateLeaf(*host_, Id("s", "one"), {}, {.tenant = few, .session = {}});
    EXPECT_EQ(made.error().code, ErrorCode::kSystem);
    EXPECT_TRUE(FoundNames().empty());
    return;  // no group holds a sum here: limits of levels are refused, not dropped
  }
  KernelLimits tenant, session, leaf;
  tenant.memory_max = 256 * kMiB;
  tenant.pids_max = 30;
  session.pids_max = 20;
  session.memory_max = 512 * kMiB;  // more than the tenant has
  leaf.pids_max = 25;
  leaf.memory_max = 128 * kMiB;
  TestLeaf group(*host_, Id("s", "one"), leaf, {tenant, session});
  ASSERT_TRUE(group);
  auto effective = group->Effective();
  ASSERT_TRUE(effective);
  EXPECT_EQ(effective->memory_max.value, 128 * kMiB);
  EXPECT_TRUE(effective->memory_max.own);
  EXPECT_EQ(effective->pids_max.value, 20);
  EXPECT_FALSE(effective->pids_max.own);
  EXPECT_TRUE(effective->pids_max.holder.ends_with(GroupNameOf(Id("s", ""))))
      << effective->pids_max.holder;
  effective = MustFind(Id("s", ""))->Effective();
  ASSERT_TRUE(effective);
  EXPECT_EQ(effective->memory_max.value, 256 * kMiB);
  EXPECT_TRUE(effective->memory_max.holder.ends_with(GroupNameOf(Id("", ""))));
}

TEST_P(HostTree, ALevelThatRefusesItsLimitsLeavesNoLeaf) {
  KernelLimits bad;
  bad.pids_max = 0;
  auto made = CreateLeaf(*host_, Id("s", "one"), {}, {.tenant = {}, .session = bad});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(FoundNames().empty());
}

TEST_P(HostTree, ALevelIsTheLedgersThatWasFirstUntilItIsRemoved) {
  const agent::Capabilities seen = host_->Look();
  if (seen.memory.grade != agent::Grade::kKernel) {
    TestLeaf leaf(*host_, Id("s", "one"));
    ASSERT_TRUE(leaf);
    for (const char* ledger : {"/a", "/b"}) EXPECT_EQ(MustFind(Id("", ""))->Claim(ledger), ledger);
    return;  // no group holds a sum here, which ledgers could take from each other
  }
  if (seen.labels.grade != agent::Grade::kKernel) GTEST_SKIP() << seen.labels.how;
  KernelLimits few, more;
  few.pids_max = 20;
  more.pids_max = 30;
  const std::string longest = "/" + std::string(4094, 'x');  // a path of PATH_MAX - 1
  {
    TestLeaf one(*host_, Id("s", "one"), {}, {few, few, "/a"});
    ASSERT_TRUE(one);
    TestLeaf same(*host_, Id("s", "same"), {}, {more, more, "/a"});
    EXPECT_TRUE(same) << "its own ledger may change it";
    const auto before = FoundNames();
    auto other = CreateLeaf(*host_, Id("s", "other"), {}, {few, few, "/b"});
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().ToString(),
              "E2076: agents of a tenant of that name are there already, of another state folder: "
              "tenant " +
                  tenant_ + ", folder \"/a\"");
    EXPECT_EQ(FoundNames(), before) << "a refusal must leave nothing";
    EXPECT_EQ(one->Effective()->pids_max.value, 30) << "a refusal must change nothing";
    TestLeaf nobody(*host_, Id("", "nobody"), {}, {few, {}});
    EXPECT_TRUE(nobody) << "who has no ledger is asked for none";
    EXPECT_EQ(MustFind(Id("s", ""))->Claim("/b"), "/a");
  }
  {
    TestLeaf after(*host_, Id("s", "after"), {}, {few, few, longest});
    ASSERT_TRUE(after) << "the group went with its last agent, and the claim with it";
    auto other = CreateLeaf(*host_, Id("s", "other"), {}, {few, few, "/b"});
    EXPECT_EQ(other.error().code, ErrorCode::kAlreadyExists);
  }
  TestLeaf session(*host_, {"", tenant_, "one", 1}, {}, {{}, few, "/a"});
  ASSERT_TRUE(session);
  auto other = CreateLeaf(*host_, {"", tenant_, "two", 1}, {}, {{}, few, "/b"});
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("session " + tenant_ + ", folder"), std::string::npos)
      << other.error().message;
}

TEST(FakeHostTree, WhereNothingSaysWhoseALevelIsItIsEverybodys) {
  FakeHost host;
  host.capabilities.labels = {agent::Grade::kAbsent, "a test says so"};
  TestLeaf one(host, {"t", "", "one", 1}, {}, {KernelLimits{}, {}, "/a"});
  TestLeaf two(host, {"t", "", "two", 1}, {}, {KernelLimits{}, {}, "/b"});
  EXPECT_TRUE(one && two);
}

TEST_P(HostTree, LabelsStayUntilTheGroupIsRemoved) {
  if (host_->Look().labels.grade == agent::Grade::kAbsent) {
    GTEST_SKIP() << host_->Look().labels.how;
  }
  TestLeaf leaf(*host_, Id("s", "one"));
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->Label(), "");
  const std::string text("{\"agent\":\"\xc3\xa4\"}\n\0x", 18);
  auto set = leaf->SetLabel(text);
  ASSERT_TRUE(set) << set.error().ToString();
  EXPECT_EQ(leaf->Label(), text);
  ASSERT_TRUE(leaf->SetLabel("short"));
  EXPECT_EQ(leaf->Label(), "short");
  EXPECT_TRUE(leaf->SetLabel(std::string(agent::kMaxLabelBytes, 'x')));
  set = leaf->SetLabel(std::string(agent::kMaxLabelBytes + 1, 'x'));
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, ErrorCode::kInvalidArgument);
  auto found = MustFind(Id("s", "one"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->Label(), std::string(agent::kMaxLabelBytes, 'x'));
  ASSERT_TRUE(found->SetLabel(""));
  EXPECT_EQ(leaf->Label(), "");
  ASSERT_TRUE(found->SetLabel("seen by a scan"));
  std::vector<FoundGroup> groups = Found();
  ASSERT_EQ(groups.size(), 3U);
  EXPECT_EQ(groups.back().label, "seen by a scan");
  EXPECT_TRUE(groups.back().leaf);
  EXPECT_EQ(groups.front().label, "");
  EXPECT_FALSE(groups.front().leaf);
}

TEST_P(HostTree, AScanTellsWhoIsThere) {
  TestLeaf empty(*host_, Id("", "empty")), full(*host_, Id("s", "full"));
  ASSERT_TRUE(empty && full);
  TestChild child(*full, SleepLong);
  const std::vector<FoundGroup> groups = Found();
  ASSERT_EQ(groups.size(), 4U);
  for (const FoundGroup& group : groups) {
    EXPECT_EQ(group.populated, group.name != empty->name()) << group.name;
    EXPECT_EQ(group.leaf, !agent::IsLevel(group.name));
    EXPECT_FALSE(group.frozen || group.freeze_wanted);
    EXPECT_NE(group.inode, 0U);
    EXPECT_TRUE(host_->Find(group.name)) << group.name;
  }
}

TEST_P(HostTree, GenerationsAreListed) {
  EXPECT_TRUE(host_->Generations(Id("s", "one"))->empty());
  TestLeaf third(*host_, Id("s", "one", 3)), twelfth(*host_, Id("s", "one", 12)),
      other(*host_, Id("s", "one.3", 4)), without(*host_, Id("", "one", 5));
  ASSERT_TRUE(third && twelfth && other && without);
  EXPECT_EQ(host_->Generations(Id("s", "one")), (std::vector<std::uint64_t>{3, 12}));
  EXPECT_EQ(host_->Generations(Id("s", "one.3")), (std::vector<std::uint64_t>{4}));
  EXPECT_EQ(host_->Generations(Id("", "one")), (std::vector<std::uint64_t>{5}));
}

TEST_P(HostTree, AnyIdMakesAGroup) {
  const std::string odd[] = {"a b",
                             "\xc3\xa4\xf0\x9f\x90\x8d",
                             std::string(255, 'x'),
                             std::string(254, '%'),
                             "..",
                             "t-1",
                             "-",
                             "1.2.3"};
  for (const std::string& id : odd) {
    TestLeaf leaf(*host_, {tenant_ + id.substr(0, 200), id, id, UINT64_MAX});
    EXPECT_TRUE(leaf) << id;
    if (!leaf) continue;
    TestChild child(*leaf, SleepLong);
    EXPECT_EQ(host_->GroupOf(child.pid()), leaf->name());
  }
}

TEST_P(HostTree, ARateIsHeldUntilItIsTakenBack) {
  KernelLimits limits;
  limits.cpu_nanocores = 800'000'000;
  TestLeaf leaf(*host_, Id("s", "one"), limits);
  ASSERT_TRUE(leaf);
  const auto held = [&leaf] {
    return leaf->Effective().value_or(agent::EffectiveLimits{}).cpu_nanocores.value;
  };
  EXPECT_EQ(held(), 800'000'000);
  auto set = leaf->SetCpuRate(400'000'000);
  ASSERT_TRUE(set) << set.error().ToString();
  EXPECT_EQ(held(), 400'000'000);
  limits.cpu_nanocores = 600'000'000;
  ASSERT_TRUE(leaf->SetLimits(limits));
  EXPECT_EQ(held(), 400'000'000) << "a new limit ended the throttle";
  limits.cpu_nanocores = 200'000'000;
  ASSERT_TRUE(leaf->SetLimits(limits));
  EXPECT_EQ(held(), 200'000'000) << "throttled to more than the limit";
  ASSERT_TRUE(leaf->SetCpuRate(agent::kMinCpuNanocores));
  EXPECT_EQ(held(), agent::kMinCpuNanocores);
  ASSERT_TRUE(leaf->Freeze(kSoon));
  EXPECT_EQ(held(), agent::kMinCpuNanocores);
  ASSERT_TRUE(leaf->Thaw());
  set = leaf->SetCpuRate(agent::kMinCpuNanocores - 1);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(leaf->SetCpuRate(std::nullopt));
  EXPECT_EQ(held(), 200'000'000);
  limits.cpu_nanocores.reset();
  ASSERT_TRUE(leaf->SetLimits(limits));
  ASSERT_TRUE(leaf->SetCpuRate(300'000'000));
  EXPECT_EQ(held(), 300'000'000);
  ASSERT_TRUE(leaf->SetCpuRate(std::nullopt));
  EXPECT_NE(held(), 300'000'000);
  auto found = MustFind(Id("s", "one"));
  set = found->SetCpuRate(300'000'000);
  ASSERT_FALSE(set) << "there would be no limit to go back to";
  EXPECT_EQ(set.error().code, ErrorCode::kUpdateFailed);
  ASSERT_TRUE(found->SetLimits(limits));
  EXPECT_TRUE(found->SetCpuRate(300'000'000));
}

TEST_P(HostTree, CpuTimeOfALevelStandsStillWhileNobodyRuns) {
  TestLeaf one(*host_, Id("s", "one")), other(*host_, Id("", "other"));
  ASSERT_TRUE(one && other);
  SharedPage page;
  if (fake_ != nullptr) {
    fake_->meter = [&page](std::string_view, Sample& sample) { sample.cpu_ns = page[0]; };
  }
  TestChild sleeper(*other, SleepLong);
  TestChild spinner(*one, [&page] {
    for (;;) page[0] = page[0] + 1;
    return 0;
  });
  auto tenant = MustFind(Id("", ""));
  auto top = host_->Find(agent::kTopGroup);
  ASSERT_TRUE(tenant && top) << top.error().ToString();
  const auto grows = [](agent::Group& group) {
    const std::int64_t before = *group.ReadCpu();
    return Eventually([&] { return *group.ReadCpu() > before; });
  };
  EXPECT_TRUE(grows(*tenant) && grows(**top) && grows(*one));
  ASSERT_TRUE(one->Freeze(kSoon));
  SleepFor(milliseconds(50));
  const std::int64_t before = *tenant->ReadCpu();
  EXPECT_GE(before, *one->ReadCpu());
  SleepFor(milliseconds(100));
  EXPECT_EQ(*tenant->ReadCpu(), before);
  EXPECT_EQ(top->get()->name(), agent::kTopGroup);
}

TEST_P(HostTree, PressureIsWatchedAndTold) {
  TestLeaf leaf(*host_, Id("", "one"));
  ASSERT_TRUE(leaf);
  if (host_->Look().pressure.grade == agent::Grade::kAbsent) {
    EXPECT_FALSE(leaf->WatchPressure(agent::Pressure::kCpuSome, seconds(1), seconds(2)));
    return;  // graded absent, and refused
  }
  for (const auto& [stall, window] : {std::pair(milliseconds(0), milliseconds(2000)),
                                      std::pair(milliseconds(10), milliseconds(400)),
                                      std::pair(milliseconds(600), milliseconds(500)),
                                      std::pair(milliseconds(10), milliseconds(10001))}) {
    auto refused = leaf->WatchPressure(agent::Pressure::kCpuSome, stall, window);
    if (fake_ != nullptr) break;  // it takes any
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
  for (auto what : {agent::Pressure::kMemorySome, agent::Pressure::kMemoryFull}) {
    auto watched = leaf->WatchPressure(what, milliseconds(100), milliseconds(1000));
    ASSERT_TRUE(watched) << watched.error().ToString();
    pollfd none{watched->fd.get(), watched->events, 0};
    EXPECT_EQ(poll(&none, 1, 0), 0);
  }
  auto watch = leaf->WatchPressure(agent::Pressure::kCpuSome, milliseconds(50), milliseconds(500));
  ASSERT_TRUE(watch) << watch.error().ToString();
  EXPECT_GE(watch->window, milliseconds(500));
  EXPECT_EQ(watch->stall.count() * 10, watch->window.count());
  if (fake_ != nullptr) fake_->AnnouncePressure(leaf->name(), agent::Pressure::kCpuSome);
  // More who want to run than there are processors.
  std::vector<std::unique_ptr<TestChild>> children;
  const long spinners = fake_ != nullptr ? 0 : 2 * sysconf(_SC_NPROCESSORS_ONLN);
  for (long i = 0; i < spinners; ++i) {
    children.push_back(std::make_unique<TestChild>(*leaf, SpinLong));
  }
  pollfd event{watch->fd.get(), watch->events, 0};
  EXPECT_EQ(poll(&event, 1, static_cast<int>(kSoon / milliseconds(1))), 1);
  EXPECT_EQ(event.revents & POLLERR, 0);
  EXPECT_TRUE(leaf->Kill(kSoon));
}

INSTANTIATE_TEST_SUITE_P(Hosts, HostTree, testing::Values("kernel", "processes", "fake"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace mete::cgroup
