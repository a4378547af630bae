#include "cli/gc.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cgroup/fake_host.h"
#include "wire/json.h"

namespace mete::cli {
namespace {

using agent::Phase;
using std::chrono::seconds;

// A folder, a host, and agents on it whose owner let go of their records.
class GcTest : public testing::Test {
 protected:
  GcTest() {
    std::string path = testing::TempDir() + "gc-test-XXXXXX";
    dir_ = mkdtemp(path.data());
  }
  ~GcTest() override {
    for (pid_t child : children_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    for (const std::string& path : agent::ListRecords(dir_)) unlink(path.c_str());
    rmdir(dir_.c_str());
  }

  agent::AgentRecord RecordOf(const std::string& id) {
    agent::AgentRecord record = agent::NewRecord(clock_);
    record.id = record.group = id;
    record.phase = Phase::kSuspended;
    record.limits[static_cast<std::size_t>(LimitKind::kTokensPerHour)] = "1k";
    record.causes = {{{QuotaScope::kAgent, id}, LimitKind::kTokensPerHour}};
    record.counters.tokens_consumed = 1200;
    return record;
  }

  void Populate(agent::Group& group) {
    const pid_t child = fork();
    if (child == 0) {
      group.JoinSelf();
      for (;;) pause();
    }
    children_.push_back(child);
    for (int i = 0; i < 1000 && !group.Contains(child); ++i) usleep(1000);
  }

  // Its record stays, unlocked.
  void Leave(const agent::AgentRecord& record) {
    auto group = host_.Create(record.group, record.kernel);
    ASSERT_TRUE(group);
    Populate(**group);
    ASSERT_TRUE(agent::RecordFile::Make(agent::RecordPath(dir_, record.id), record));
  }

  std::vector<GcEntry> Collect(bool dry_run = false) {
    auto entries = CollectGarbage(host_, dir_, clock_, dry_run);
    EXPECT_TRUE(entries);
    return entries ? *std::move(entries) : std::vector<GcEntry>();
  }

  VirtualClock clock_{Time(std::chrono::hours(10)), WallTime(seconds(1'772'370'000))};
  cgroup::FakeHost host_;
  std::string dir_;
  std::vector<pid_t> children_;
};

TEST_F(GcTest, FindsNothingWhereNothingIs) {
  EXPECT_EQ(GcText(Collect(), clock_, false), "no agents\n");
  EXPECT_EQ(GcJson(Collect(), false), "{\"dry_run\":false,\"agents\":[]}\n");
}

TEST_F(GcTest, EndsWhomNobodyCameBackFor) {
  Leave(RecordOf("gone"));
  const std::string text = GcText(Collect(), clock_, false);
  EXPECT_EQ(text.substr(0, text.find("process")), "gone: ended (its owner, ");
  EXPECT_NE(text.find("is gone; suspended: tokens_per_hour; used 0s of CPU)\n"), text.npos) << text;
  EXPECT_FALSE(host_.Exists("gone"));
  EXPECT_TRUE(agent::ListRecords(dir_).empty());
  EXPECT_TRUE(Collect().empty()) << "once";
}

TEST_F(GcTest, OnlyTellsWhatItWouldDo) {
  Leave(RecordOf("dry"));
  EXPECT_EQ(GcText(Collect(true), clock_, true).substr(0, 20), "dry: would be ended ");
  EXPECT_TRUE(host_.Exists("dry"));
  EXPECT_EQ(agent::ListRecords(dir_).size(), 1u);
  EXPECT_EQ(host_.CallsOn("dry"), std::vector<std::string>{"Create"}) << "and nothing besides";
}

TEST_F(GcTest, LeavesAloneWhoHasAnOwner) {
  const agent::AgentRecord record = RecordOf("owned");
  auto group = host_.Create("owned", {});
  ASSERT_TRUE(group);
  Populate(**group);
  auto held = agent::RecordFile::Make(agent::RecordPath(dir_, "owned"), record);
  ASSERT_TRUE(held);
  EXPECT_EQ(GcText(Collect(), clock_, false),
            "owned: left alone (its owner, process " + std::to_string(getpid()) + ", lives)\n");
  EXPECT_TRUE(host_.Exists("owned"));
}

TEST_F(GcTest, LeavesAloneWhatIsNotIts) {
  auto group = host_.Create("strange", {});
  ASSERT_TRUE(group);
  Populate(**group);
  for (const GcEntry& entry : Collect()) {
    EXPECT_EQ(entry.decision, agent::Decision::kLeave) << entry.found.name;
  }
  EXPECT_TRUE(host_.Exists("strange"));
  EXPECT_EQ(host_.CallsOn("strange"), std::vector<std::string>{"Create"});
}

TEST_F(GcTest, LeavesAloneATenantInWhichARunBeginsAtThatMoment) {
  ASSERT_TRUE(host_.Create("t-acme", {}));
  host_.FailNext(cgroup::FakeCall::kRemove, {ErrorCode::kInUse, "processes are in it"});
  EXPECT_EQ(GcText(Collect(), clock_, false), "t-acme: left alone (its owner lives)\n");
  EXPECT_EQ(GcText(Collect(), clock_, false), "t-acme: ended (it is empty)\n");
}

TEST_F(GcTest, KeepsWhoseLeaseIsValidAndThawsThen) {
  agent::AgentRecord record = RecordOf("leased");
  record.orphan = agent::OrphanPolicy::kThaw;
  record.lease_end = clock_.Now() + seconds(60);
  Leave(record);
  ASSERT_TRUE((*host_.Find("leased"))->Freeze(seconds(10)));
  EXPECT_EQ(GcText(Collect(), clock_, false).substr(0, 30), "leased: kept until 13:01:00 UT");
  EXPECT_TRUE((*host_.Find("leased"))->Read()->frozen);
  clock_.Advance(seconds(60));
  EXPECT_EQ(GcText(Collect(), clock_, false).substr(0, 15), "leased: thawed ");
  EXPECT_FALSE((*host_.Find("leased"))->Read()->frozen);
  EXPECT_EQ(GcText(Collect(), clock_, false).substr(0, 38),
            "leased: kept, runs on in its limits (i");
}

TEST_F(GcTest, ForgetsARecordWithoutAGroup) {
  ASSERT_TRUE(agent::RecordFile::Make(agent::RecordPath(dir_, "old"), RecordOf("old")));
  const std::string text = GcText(Collect(), clock_, false);
  EXPECT_EQ(text.substr(0, 16), "old: forgotten (");
  EXPECT_NE(text.find("; its group is gone)"), text.npos) << text;
  EXPECT_TRUE(agent::ListRecords(dir_).empty());
}

// A socket that is bound, and listened to only while the descriptor is there.
UniqueFd SocketAt(const std::string& path, bool listens) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  UniqueFd made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  if (listens) {
    EXPECT_EQ(listen(made.get(), 1), 0);
  }
  return made;
}

TEST_F(GcTest, ForgetsSocketsThatNobodyListensToAndNoneElse) {
  const std::string shared = dir_ + "/shared";
  ASSERT_EQ(mkdir(shared.c_str(), 0700), 0);
  SocketAt(dir_ + "/old.sock", false).reset();
  SocketAt(dir_ + "/old.agent", true).reset();
  SocketAt(shared + "/else.agent", true).reset();
  const UniqueFd live = SocketAt(dir_ + "/live.sock", true);
  const UniqueFd namesake = SocketAt(shared + "/old.agent", true);
  // Whoever has a record is about to listen, or to go.
  auto record = agent::RecordFile::Make(agent::RecordPath(dir_, "young"), RecordOf("young"));
  const UniqueFd young = SocketAt(dir_ + "/young.sock", false);
  std::ofstream(dir_ + "/file.agent") << "nobody's";
  const auto collect = [&](bool dry_run) {
    auto entries = CollectGarbage(host_, dir_, clock_, dry_run, shared);
    return GcText(*entries, clock_, dry_run);
  };
  const std::string young_line =
      "young: left alone (its owner, process " + std::to_string(getpid()) + ", lives)\n";
  EXPECT_EQ(collect(true),
            "else: would be forgotten (only its sockets are left)\n"
            "old: would be forgotten (only its sockets are left)\n" +
                young_line);
  EXPECT_EQ(access((dir_ + "/old.sock").c_str(), F_OK), 0) << "it was only to tell";
  EXPECT_EQ(collect(false),
            "else: forgotten (only its sockets are left)\n"
            "old: forgotten (only its sockets are left)\n" +
                young_line);
  for (const char* gone : {"/old.sock", "/old.agent", "/shared/else.agent"}) {
    EXPECT_NE(access((dir_ + gone).c_str(), F_OK), 0) << gone;
  }
  for (const char* kept : {"/live.sock", "/shared/old.agent", "/young.sock", "/file.agent"}) {
    EXPECT_EQ(access((dir_ + kept).c_str(), F_OK), 0) << kept;
  }
  EXPECT_EQ(collect(false), young_line);
  std::filesystem::remove_all(shared);
  for (const char* file : {"/live.sock", "/young.sock", "/file.agent"}) {
    unlink((dir_ + file).c_str());
  }
}

TEST_F(GcTest, TellsOfWhatItCouldNotDo) {
  Leave(RecordOf("stuck"));
  host_.FailNext(cgroup::FakeCall::kKill, {ErrorCode::kTerminateFailed, "it does not die"});
  std::vector<GcEntry> entries = Collect();
  EXPECT_EQ(GcText(entries, clock_, false).substr(0, 37), "stuck: failed: E2075: it does not die");
  EXPECT_TRUE(agent::ListRecords(dir_).size() == 1) << "for the next time";
  entries = Collect();
  EXPECT_FALSE(entries.at(0).error);
}

TEST_F(GcTest, TellsEverythingInJson) {
  Leave(RecordOf("json"));
  const Result<wire::Json> json = wire::ParseJson(GcJson(Collect(), false));
  ASSERT_TRUE(json);
  const wire::Json& one = json->Find("agents")->AsArray()->at(0);
  EXPECT_EQ(*one.Find("id")->AsString(), "json");
  EXPECT_EQ(*one.Find("owner")->AsString(), "gone");
  EXPECT_EQ(*one.Find("action")->AsString(), "end");
  EXPECT_EQ(*one.Find("phase")->AsString(), "suspended");
  EXPECT_EQ(*one.Find("causes")->AsArray()->at(0).AsString(), "tokens_per_hour");
  EXPECT_EQ(*one.Find("limits")->Find("tokens_per_hour")->AsString(), "1k");
  EXPECT_EQ(one.Find("usage")->Find("tokens_consumed")->AsNumber()->text, "1200");
  EXPECT_EQ(*one.Find("exit_status")->AsString(), "unknown") << "there was no main process";
}

}  // namespace
}  // namespace mete::cli
