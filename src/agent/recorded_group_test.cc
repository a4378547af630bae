#include "agent/recorded_group.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "cgroup/fake_host.h"

namespace mete::agent {
namespace {

using std::chrono::seconds;

KernelLimits PidsOnly(std::int64_t pids) {
  KernelLimits limits;
  limits.pids_max = pids;
  return limits;
}

// Notes what its record said at the moment of each call on the group.
class WatchedGroup final : public Group {
 public:
  WatchedGroup(std::unique_ptr<Group> group, std::string path, std::vector<std::string>* seen)
      : group_(std::move(group)), path_(std::move(path)), seen_(seen) {}

  const std::string& name() const override { return group_->name(); }
  Result<void> SetLimits(const KernelLimits& limits) override {
    Note("SetLimits");
    return group_->SetLimits(limits);
  }
  int JoinSelf() noexcept override { return group_->JoinSelf(); }
  Result<Sample> Read() override { return group_->Read(); }
  Result<void> Freeze(Duration deadline) override {
    Note("Freeze");
    return group_->Freeze(deadline);
  }
  Result<void> Thaw() override {
    Note("Thaw");
    return group_->Thaw();
  }
  Result<void> Signal(int number) override {
    Note("Signal");
    return group_->Signal(number);
  }
  Result<void> Kill(Duration deadline) override {
    Note("Kill");
    return group_->Kill(deadline);
  }
  Result<void> Remove() override {
    Note("Remove");
    return group_->Remove();
  }
  Result<void> SetLabel(std::string_view text) override {
    label = text;
    return {};
  }
  int EventsFd() const override { return group_->EventsFd(); }
  void DrainEvents() override { group_->DrainEvents(); }
  bool Contains(pid_t pid) override { return group_->Contains(pid); }

  std::string label;

 private:
  void Note(const char* call) {
    const Result<AgentRecord> record = ReadRecord(path_);
    const std::string pids = record ? std::to_string(record->kernel.pids_max) : "?";
    seen_->push_back(std::string(call) + " " +
                     (record ? std::string(NameOf(record->phase)) : "none") +
                     (std::string_view(call) == "SetLimits" ? " " + pids : ""));
  }

  std::unique_ptr<Group> group_;
  std::string path_;
  std::vector<std::string>* seen_;
};

class RecordedGroupTest : public testing::Test {
 protected:
  RecordedGroupTest() {
    std::string path = testing::TempDir() + "recorded-test-XXXXXX";
    dir_ = mkdtemp(path.data());
    path_ = RecordPath(dir_, "one");
    AgentRecord record;
    record.id = record.group = "one";
    auto watched = std::make_unique<WatchedGroup>(*host_.Create("one", {}), path_, &seen_);
    inner_ = watched.get();
    group_.emplace(std::move(watched), *RecordFile::Make(path_, record));
  }
  ~RecordedGroupTest() override {
    group_.reset();
    unlink(path_.c_str());
    rmdir(dir_.c_str());
  }

  AgentRecord Written() { return ReadRecord(path_).value_or(AgentRecord{}); }

  cgroup::FakeHost host_;
  std::string dir_, path_;
  std::vector<std::string> seen_;
  WatchedGroup* inner_ = nullptr;
  std::optional<RecordedGroup> group_;
};

TEST_F(RecordedGroupTest, WritesDownWhatItIsAboutToDo) {
  group_->SetLeader(getpid());
  ASSERT_TRUE(group_->Freeze(seconds(10)));
  ASSERT_TRUE(group_->Thaw());
  ASSERT_TRUE(group_->SetLimits(PidsOnly(77)));
  ASSERT_TRUE(group_->Signal(SIGTERM));
  ASSERT_TRUE(group_->Thaw());
  ASSERT_TRUE(group_->Kill(seconds(10)));
  ASSERT_TRUE(group_->Remove());
  EXPECT_EQ(seen_, (std::vector<std::string>{"Freeze suspended", "Thaw suspended",
                                             "SetLimits running 77", "Signal ending", "Thaw ending",
                                             "Kill ending", "Remove ending"}));
  EXPECT_EQ(Written().leader.pid, getpid()) << "the record is the last to go";
  group_->Forget();
  EXPECT_FALSE(ReadRecord(path_));
}

TEST_F(RecordedGroupTest, TakesBackWhatItCouldNotDo) {
  group_->SetLeader(getpid());
  host_.FailNext(cgroup::FakeCall::kFreeze, {ErrorCode::kSuspendFailed, "no"});
  EXPECT_FALSE(group_->Freeze(seconds(1)));
  EXPECT_EQ(Written().phase, Phase::kRunning);
  host_.FailNext(cgroup::FakeCall::kSetLimits, {ErrorCode::kUpdateFailed, "no"});
  EXPECT_FALSE(group_->SetLimits(PidsOnly(99)));
  EXPECT_EQ(Written().kernel.pids_max, 4096);
}

TEST_F(RecordedGroupTest, TellsTheSameInTheLabel) {
  ASSERT_TRUE(group_->Freeze(seconds(10)));
  const Result<AgentRecord> label = DecodeRecord(inner_->label);
  ASSERT_TRUE(label);
  EXPECT_EQ(*label, Written());
}

TEST_F(RecordedGroupTest, WritesWhatItIsDescribedAs) {
  std::int64_t tokens = 5;
  group_->DescribeBy([&](AgentRecord& record) {
    record.counters.tokens_consumed = tokens;
    record.lease_end = Time(seconds(9));
  });
  const Time now{seconds(100)};
  group_->Refresh(now);
  EXPECT_EQ(Written().counters.tokens_consumed, 5);
  EXPECT_EQ(Written().lease_end, Time(seconds(9)));
  const std::uint64_t sequence = Written().sequence;
  group_->Refresh(now + seconds(5));
  EXPECT_EQ(Written().sequence, sequence) << "nothing is new";
  tokens = 6;
  group_->Refresh(now + std::chrono::milliseconds(999));
  EXPECT_EQ(Written().counters.tokens_consumed, 5) << "counters alone can wait";
  group_->Refresh(now + seconds(1));
  EXPECT_EQ(Written().counters.tokens_consumed, 6);
}

TEST_F(RecordedGroupTest, DoesWhatItCannotWriteDownAndTellsOnce) {
  // Longer than a record may be.
  group_->DescribeBy([](AgentRecord& record) { record.limits[0] = std::string(5000, '1'); });
  ASSERT_TRUE(group_->Freeze(seconds(10)));
  EXPECT_EQ(Written().phase, Phase::kStarting) << "the one before";
  const std::optional<Error> trouble = group_->TakeTrouble();
  ASSERT_TRUE(trouble);
  EXPECT_NE(trouble->message.find("too long"), std::string::npos);
  ASSERT_TRUE(group_->Kill(seconds(10)));
  EXPECT_FALSE(group_->TakeTrouble()) << "told once";
  EXPECT_EQ(seen_, (std::vector<std::string>{"Freeze starting", "Kill starting"}));
  group_->DescribeBy([](AgentRecord& record) { record.limits[0].clear(); });
  ASSERT_TRUE(group_->Thaw());
  ASSERT_TRUE(group_->Freeze(seconds(10)));
  EXPECT_FALSE(group_->TakeTrouble());
}

}  // namespace
}  // namespace mete::agent
