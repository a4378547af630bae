#include "agent/adopt.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "agent/agent_group.h"
#include "agent/runtime_dir.h"
#include "cgroup/fake_host.h"

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Time kNow{seconds(1000)};

// --- what is decided: one row each ---

struct Row {
  const char* what;
  Owner owner;
  bool file, record, group, leaf, populated, frozen;
  Phase phase;
  OrphanPolicy orphan;
  int lease;  // seconds from now; 0: none
  Decision decision;
};

constexpr auto kAlive = Owner::kAlive;
constexpr auto kGone = Owner::kGone;
constexpr auto kUnknown = Owner::kUnknown;
constexpr auto kRuns = Phase::kRunning;
constexpr auto kStands = Phase::kSuspended;
constexpr auto kEnding = Phase::kEnding;
constexpr auto kEnd = OrphanPolicy::kEnd;
constexpr auto kThaw = OrphanPolicy::kThaw;

constexpr Row kRows[] = {
    // what, owner, file record group leaf populated frozen, phase, policy, lease -> decision
    {"owned", kAlive, 0, 1, 1, 1, 1, 1, kStands, kEnd, 0, Decision::kLeave},
    {"not to be told", kUnknown, 0, 1, 1, 1, 1, 1, kStands, kEnd, 0, Decision::kLeave},
    {"a stranger", kUnknown, 0, 0, 1, 1, 1, 0, kRuns, kEnd, 0, Decision::kLeave},
    {"an empty stranger", kUnknown, 0, 0, 1, 1, 0, 0, kRuns, kEnd, 0, Decision::kLeave},
    {"no group", kGone, 1, 1, 0, 0, 0, 0, kRuns, kEnd, 0, Decision::kForget},
    {"no group, a lease", kGone, 1, 1, 0, 0, 0, 0, kRuns, kEnd, 9, Decision::kForget},
    {"half a record", kGone, 1, 0, 0, 0, 0, 0, kRuns, kEnd, 0, Decision::kForget},
    {"an empty level", kGone, 0, 0, 1, 0, 0, 0, kRuns, kEnd, 0, Decision::kEnd},
    {"runs", kGone, 1, 1, 1, 1, 1, 0, kRuns, kEnd, 0, Decision::kEnd},
    {"runs, by its label", kGone, 0, 1, 1, 1, 1, 0, kRuns, kEnd, 0, Decision::kEnd},
    {"frozen", kGone, 1, 1, 1, 1, 1, 1, kStands, kEnd, 0, Decision::kEnd},
    {"a lease", kGone, 1, 1, 1, 1, 1, 1, kStands, kEnd, 1, Decision::kKeep},
    {"a lease that is over", kGone, 1, 1, 1, 1, 1, 1, kStands, kEnd, -1, Decision::kEnd},
    {"a lease, to thaw", kGone, 1, 1, 1, 1, 1, 1, kStands, kThaw, 1, Decision::kKeep},
    {"over, to thaw", kGone, 1, 1, 1, 1, 1, 1, kStands, kThaw, -1, Decision::kThaw},
    {"frozen unrecorded", kGone, 1, 1, 1, 1, 1, 1, kRuns, kThaw, 0, Decision::kThaw},
    {"runs, may run on", kGone, 1, 1, 1, 1, 1, 0, kRuns, kThaw, 0, Decision::kKeep},
    {"to end, a lease", kGone, 1, 1, 1, 1, 1, 1, kEnding, kThaw, 9, Decision::kEnd},
    {"to end", kGone, 1, 1, 1, 1, 1, 0, kEnding, kThaw, 0, Decision::kEnd},
    {"nobody in it", kGone, 1, 1, 1, 1, 0, 0, kRuns, kThaw, 9, Decision::kEnd},
};

class AdoptTest : public testing::Test {
 protected:
  AdoptTest() {
    std::string path = testing::TempDir() + "adopt-test-XXXXXX";
    dir_ = mkdtemp(path.data());
  }
  ~AdoptTest() override {
    for (pid_t child : children_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    for (const std::string& path : ListRecords(dir_)) unlink(path.c_str());
    rmdir(dir_.c_str());
  }

  AgentRecord RecordOf(const std::string& id) {
    AgentRecord record = NewRecord(clock_);
    record.id = record.group = id;
    record.phase = Phase::kSuspended;
    record.kernel.pids_max = 64;
    return record;
  }

  pid_t Populate(Group& group) {
    const pid_t child = fork();
    if (child == 0) {
      group.JoinSelf();
      for (;;) pause();
    }
    children_.push_back(child);
    for (int i = 0; i < 2000 && !group.Contains(child); ++i) usleep(1000);
    return child;
  }

  // A group with a process, and a record that nobody holds.
  std::unique_ptr<Group> Leave(AgentRecord record) {
    auto group = *host_.Create(record.group, {});
    record.leader = IdentifyProcess(Populate(*group));
    EXPECT_TRUE(RecordFile::Make(RecordPath(dir_, record.id), record));
    return group;
  }

  FoundAgent Find(const std::string& id) {
    Result<FoundAgent> found = FindAgent(host_, RecordPath(dir_, id), clock_);
    EXPECT_TRUE(found) << (found ? "" : found.error().ToString());
    return found ? *std::move(found) : FoundAgent{};
  }

  VirtualClock clock_{kNow};
  cgroup::FakeHost host_;
  std::string dir_;
  std::vector<pid_t> children_;
};

TEST_F(AdoptTest, DecidesByTheTable) {
  for (const Row& row : kRows) {
    FoundAgent found;
    found.owner = row.owner;
    const std::string path = RecordPath(dir_, "row");
    if (row.file) found.file = *RecordFile::Make(path, RecordOf("row"));
    if (row.record) {
      found.record = RecordOf("row");
      found.record->phase = row.phase;
      found.record->orphan = row.orphan;
      if (row.lease != 0) found.record->lease_end = kNow + seconds(row.lease);
    }
    if (row.group) {
      found.group.emplace();
      found.group->leaf = row.leaf;
      found.group->populated = row.populated;
      found.group->frozen = found.group->freeze_wanted = row.frozen;
    }
    EXPECT_EQ(NameOf(Decide(found, kNow)), NameOf(row.decision)) << row.what;
    if (found.file) found.file->Remove();
  }
}

TEST_F(AdoptTest, ALeaseIsOverAtItsEnd) {
  AgentRecord record = RecordOf("edge");
  record.lease_end = kNow;
  Leave(record);
  const FoundAgent found = Find("edge");
  EXPECT_EQ(Decide(found, kNow - Duration(1)), Decision::kKeep);
  EXPECT_EQ(Decide(found, kNow), Decision::kEnd);
}

TEST_F(AdoptTest, OfAnotherBootIsForgotten) {
  AgentRecord record = RecordOf("boot");
  record.boot = "another";
  Leave(record);
  EXPECT_EQ(Decide(Find("boot"), kNow), Decision::kForget);
}

TEST_F(AdoptTest, WhoRunsInAGroupThatCannotBeSeenIsNotForgotten) {
  AgentRecord record = RecordOf("elsewhere");
  auto group = host_.Create("in-another-place", {});
  ASSERT_TRUE(group);
  record.leader = IdentifyProcess(Populate(**group));
  ASSERT_TRUE(RecordFile::Make(RecordPath(dir_, record.id), record));
  EXPECT_EQ(Decide(Find("elsewhere"), kNow), Decision::kLeave);
  const auto all = FindAgents(host_, dir_, clock_);
  ASSERT_TRUE(all);
  ASSERT_FALSE(all->empty());
  EXPECT_EQ((*all)[0].name, "elsewhere");
  EXPECT_EQ(Decide((*all)[0], kNow), Decision::kLeave);
  EXPECT_FALSE(ClaimRecord(host_, RecordPath(dir_, record.id), record, clock_))
      << "another run would have its id";
}

TEST_F(AdoptTest, FindsEachOnceWithWhatItsOwnerWrote) {
  AgentRecord record = RecordOf("one");
  record.causes = {{{QuotaScope::kAgent, "one"}, LimitKind::kTokensPerHour}};
  record.counters.tokens_consumed = 3;
  auto group = Leave(record);
  ASSERT_TRUE(group->Freeze(seconds(10)));
  const auto all = FindAgents(host_, dir_, clock_);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ((*all)[0].name, "one");
  EXPECT_EQ((*all)[0].owner, Owner::kGone);
  EXPECT_EQ((*all)[0].record->causes, record.causes);
  EXPECT_TRUE((*all)[0].group->frozen);
  const auto second = FindAgents(host_, dir_, clock_);
  ASSERT_TRUE(second);
  EXPECT_EQ((*second)[0].owner, Owner::kAlive) << "the first has it";
}

TEST_F(AdoptTest, AChildThatWasAboutToStartHoldsTheLockForAMomentOnly) {
  const std::string path = RecordPath(dir_, "child");
  const pid_t owner = fork();
  if (owner == 0) {
    AgentRecord record = RecordOf("child");
    record.owner = IdentifyProcess(getpid());
    Result<RecordFile> file = RecordFile::Make(path, record);
    if (fork() == 0) {
      usleep(50'000);
      _exit(0);
    }
    kill(getpid(), SIGKILL);
  }
  ASSERT_EQ(waitpid(owner, nullptr, 0), owner);
  const auto all = FindAgents(host_, dir_, clock_);
  ASSERT_TRUE(all);
  EXPECT_EQ((*all)[0].owner, Owner::kGone);
}

TEST_F(AdoptTest, ByTheLabelWhereTheRecordIsGone) {
  AgentRecord record = RecordOf("labelled");
  auto group = *host_.Create("labelled", {});
  Populate(*group);
  ASSERT_TRUE(group->SetLabel(EncodeRecord(record)));
  auto all = FindAgents(host_, dir_, clock_);
  ASSERT_TRUE(all);
  EXPECT_EQ((*all)[0].owner, Owner::kAlive) << "this process lives";
  record.owner.start += 1;  // the number has come round
  ASSERT_TRUE(group->SetLabel(EncodeRecord(record)));
  all = FindAgents(host_, dir_, clock_);
  EXPECT_EQ((*all)[0].owner, Owner::kGone);
  EXPECT_EQ(Decide((*all)[0], kNow), Decision::kEnd);
  record.pid_space += 1;
  ASSERT_TRUE(group->SetLabel(EncodeRecord(record)));
  all = FindAgents(host_, dir_, clock_);
  EXPECT_EQ((*all)[0].owner, Owner::kUnknown) << "its processes cannot be seen from here";
}

TEST_F(AdoptTest, LimitsAreWrittenBeforeItIsThawed) {
  AgentRecord record = RecordOf("thawed");
  record.orphan = OrphanPolicy::kThaw;
  auto group = Leave(record);
  ASSERT_TRUE(group->Freeze(seconds(10)));
  FoundAgent found = Find("thawed");
  ASSERT_EQ(Decide(found, kNow), Decision::kThaw);
  ASSERT_TRUE(Settle(host_, found, Decision::kThaw));
  EXPECT_EQ(host_.CallsOn("thawed"),
            (std::vector<std::string>{"Create", "Freeze", "SetLimits", "Thaw", "SetLabel"}));
  EXPECT_EQ(host_.LimitsOf("thawed")->pids_max, 64);
  EXPECT_EQ(ReadRecord(RecordPath(dir_, "thawed"))->phase, Phase::kRunning);
}

TEST_F(AdoptTest, EndsWithoutAThawAndLeavesNothing) {
  auto group = Leave(RecordOf("ended"));
  ASSERT_TRUE(group->Freeze(seconds(10)));
  for (const std::string& path :
       {ControlSocketPath(dir_, "ended"), AgentSocketPath(dir_, "ended")}) {
    std::ofstream(path) << "left";
  }
  FoundAgent found = Find("ended");
  ASSERT_TRUE(Settle(host_, found, Decision::kEnd));
  EXPECT_EQ(host_.CallsOn("ended"),
            (std::vector<std::string>{"Create", "Freeze", "SetLabel", "Kill", "Remove"}));
  EXPECT_EQ(rmdir(dir_.c_str()), 0) << "nothing is in it";
}

TEST_F(AdoptTest, WhatCouldNotBeEndedIsThereForTheNextOne) {
  Leave(RecordOf("stuck"));
  host_.FailNext(cgroup::FakeCall::kKill, {ErrorCode::kTerminateFailed, "no"});
  {
    FoundAgent found = Find("stuck");
    EXPECT_EQ(Settle(host_, found, Decision::kEnd).error().code, ErrorCode::kTerminateFailed);
  }
  FoundAgent again = Find("stuck");
  EXPECT_EQ(again.record->phase, Phase::kEnding);
  EXPECT_TRUE(Settle(host_, again, Decide(again, kNow)));
}

TEST_F(AdoptTest, ANewOwnerHasEverything) {
  AgentRecord record = RecordOf("adopted");
  record.owner = {1, 1};
  record.cpu_rate = 20'000'000;
  Leave(record);
  Result<Adopted> adopted = Adopt(host_, Find("adopted"));
  ASSERT_TRUE(adopted) << adopted.error().ToString();
  EXPECT_EQ(adopted->record.owner.pid, getpid());
  EXPECT_TRUE(adopted->leader);
  EXPECT_EQ(adopted->sample.pids, 1);
  EXPECT_EQ(host_.LimitsOf("adopted")->pids_max, 64);
  EXPECT_EQ(ReadRecord(RecordPath(dir_, "adopted"))->owner.pid, getpid());
  EXPECT_EQ(FindAgent(host_, RecordPath(dir_, "adopted"), clock_).error().code, ErrorCode::kInUse);
  RecordedGroup group(std::move(adopted->group), *std::move(adopted->file));
  EXPECT_EQ(group.record().phase, Phase::kSuspended);
  EXPECT_TRUE(group.Thaw());
}

TEST_F(AdoptTest, HowItEndedIsKnownOrUnknown) {
  Leave(RecordOf("exit"));
  Result<Adopted> adopted = Adopt(host_, Find("exit"));
  ASSERT_TRUE(adopted);
  EXPECT_EQ(WaitStatusOf(adopted->leader), std::nullopt) << "it runs";
  ASSERT_TRUE(adopted->group->Kill(seconds(10)));
  int status = 0;
  waitpid(children_[0], &status, 0);
  children_.clear();
  EXPECT_EQ(WaitStatusOf(adopted->leader).value_or(status), status) << "never invented";
}

TEST_F(AdoptTest, ANameThatWasLeftIsClaimedOrKept) {
  Leave(RecordOf("claimed"));
  const std::string path = RecordPath(dir_, "claimed");
  EXPECT_TRUE(ClaimRecord(host_, path, RecordOf("claimed"), clock_)) << "nobody wanted it";
  EXPECT_FALSE(host_.Exists("claimed"));
  AgentRecord kept = RecordOf("kept");
  kept.lease_end = kNow + seconds(1);
  Leave(kept);
  const auto refused = ClaimRecord(host_, RecordPath(dir_, "kept"), RecordOf("kept"), clock_);
  EXPECT_EQ(refused.error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE(host_.Exists("kept"));
}

}  // namespace
}  // namespace mete::agent
