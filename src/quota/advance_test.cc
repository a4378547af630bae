#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

constexpr Duration kPatience = seconds(20);  // for what takes microseconds

QuotaOptions Below(const TargetName& parent) {
  QuotaOptions options;
  options.parent = parent;
  return options;
}

TEST(Advance, Rule07NextDeadlineIsTheNextWindowOrTheEndOfAnExceededRate) {
  World world(With(kHard, kThrottle));
  EXPECT_FALSE(world->NextDeadline().has_value());
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("requests_per_minute=7 tokens_per_hour=10")));
  EXPECT_EQ(world->NextDeadline(), world.at(hours(1)));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("requests=8")));
  EXPECT_TRUE(*world->IsThrottled("a"));
  // One request drains in 60 s / 7, a fraction of a nanosecond more than 8571428571 ns.
  EXPECT_EQ(world->NextDeadline(), world.at(Duration(8'571'428'572)));
  world.TakeEvents();
  world.MoveTo(Duration(8'571'428'571));
  world->Advance();
  EXPECT_EQ(world.TakeEvents(), "");
  EXPECT_TRUE(*world->IsThrottled("a"));
  world.MoveTo(Duration(8'571'428'572));
  world->Advance();
  EXPECT_EQ(world.TakeEvents(), "resumed requests_per_minute");
  EXPECT_EQ(world->NextDeadline(), world.at(hours(1)));
}

// Nobody may have called Advance: a report of something else ends it too.
TEST(Advance, Rule16AReportEndsTheViolationOfARateThatHasDrained) {
  const char* violated =
      "threshold 80% requests_per_minute; threshold 95% requests_per_minute; "
      "violation requests_per_minute; throttled requests_per_minute";
  Play(With(kHard, kThrottle), "requests_per_minute=60",
       {
           {"0s", "report requests=61", "requests_per_minute 61/60 pending retry 2s", violated,
            "throttle: requests_per_minute"},
           {"0.9s", "report tokens=1", "ok", "", "throttle: requests_per_minute"},
           {"1s", "report tokens=1", "ok", "resumed requests_per_minute"},
       });
}

TEST(Advance, Rule07EachAccountHasItsOwnWindows) {
  World world(With(kHard, kSuspend));
  const TargetName session{QuotaScope::kSession, "s"};
  ASSERT_TRUE(world->CreateQuota(session, LimitsOf("tokens_per_hour=10")));
  world.TakeEvents();
  world.MoveTo(seconds(600));
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=10"), Below(session)));
  world.TakeEvents();
  world.MoveTo(seconds(1200));
  ASSERT_TRUE(world->CreateQuota("b", LimitsOf("tokens_per_day=10"), Below(session)));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=11")));
  EXPECT_EQ(world->NextDeadline(), world.at(hours(1)));
  world.TakeEvents();
  // The account above may end its window first, or the one below.
  world.MoveTo(hours(1) - Duration(1));
  world->Advance();
  EXPECT_EQ(world.TakeEvents(), "");
  world.MoveTo(hours(1));
  world->Advance();
  EXPECT_EQ(world.TakeEvents(),
            "session s: window_rolled tokens_per_hour 11 x1; session s: resumed tokens_per_hour; "
            "b: resumed tokens_per_hour of session s");
  EXPECT_EQ(world->NextDeadline(), world.at(seconds(4200)));
  world.MoveTo(seconds(4200));
  world->Advance();
  EXPECT_EQ(world.TakeEvents(), "window_rolled tokens_per_hour 11 x1; resumed tokens_per_hour");
}

TEST(Advance, UsageIsRecordedAtTheIntervalForEveryTargetThatChanged) {
  ManagerConfig config = Plain();
  config.usage_report_interval = seconds(60);
  World world(config);
  const TargetName session{QuotaScope::kSession, "s"};
  EXPECT_EQ(world->NextDeadline(), world.at(seconds(60)));
  ASSERT_TRUE(world->CreateQuota(session));
  ASSERT_TRUE(world->CreateQuota("a", {}, Below(session)));
  ASSERT_TRUE(world->CreateQuota("b"));
  EventReader events = world->Events();
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=5 memory=7")));
  ASSERT_TRUE(world->ReportUsage("b", AmountsOf("tokens=0 cost=0")));  // changes nothing
  world.MoveTo(seconds(60) - Duration(1));
  world->Advance();
  EXPECT_TRUE(events.Take().events.empty());
  world.MoveTo(seconds(60));
  world->Advance();
  world->Advance();
  const std::vector<Event> told = events.Take().events;
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(TextOf(told), "session s: usage; usage");
  ResourceUsage usage;
  usage.tokens_consumed = 5;
  usage.memory_bytes = usage.memory_peak_bytes = 7;
  EXPECT_EQ(told[0].usage, usage);
  EXPECT_EQ(told[1].usage, usage);
  // One record, however many intervals have passed.
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
  world.MoveTo(seconds(1000));
  world->Advance();
  EXPECT_EQ(TextOf(events.Take().events), "session s: usage; usage");
  EXPECT_EQ(world->NextDeadline(), world.at(seconds(1060)));
  world.MoveTo(seconds(1060));
  world->Advance();
  EXPECT_TRUE(events.Take().events.empty());
}

// What the thread of Start() was asked to do.
class Doer final : public Enforcer {
 public:
  Result<void> Suspend(const Intent& intent) override { return Do(intent); }
  Result<void> Resume(const Intent& intent) override { return Do(intent); }
  Result<void> Throttle(const Intent& intent) override { return Do(intent); }
  Result<void> ClearThrottle(const Intent& intent) override { return Do(intent); }
  Result<void> Terminate(const Intent& intent) override { return Do(intent); }

  // Waits until so many were done.
  bool WaitFor(std::size_t count) {
    std::unique_lock lock(mutex_);
    return more_.wait_for(lock, kPatience, [&] { return done_.size() >= count; });
  }
  std::vector<std::string> done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  std::atomic<int> failures = 0;  // so many of the next ones

 private:
  Result<void> Do(const Intent& intent) {
    const std::lock_guard lock(mutex_);
    done_.push_back(std::string(NameOf(intent.verb)) + " " + intent.target.id);
    more_.notify_all();
    if (failures > 0) return --failures, Fail(ErrorCode::kSystem, "not now");
    return {};
  }

  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<std::string> done_;
};

TEST(Advance, TheThreadCarriesOutWhatTheCausesAskFor) {
  Doer doer;
  std::atomic<int> woken = 0;
  auto manager = *ResourceManager::Create(With(kHard, kSuspend));
  manager->Start(&doer, [&] { ++woken; });
  ASSERT_TRUE(manager->CreateQuota("a", LimitsOf("tokens_per_hour=0")));
  ASSERT_TRUE(manager->ReportUsage("a", AmountsOf("tokens=1")));
  ASSERT_TRUE(doer.WaitFor(1));
  ASSERT_TRUE(manager->ResetQuota("a"));
  ASSERT_TRUE(doer.WaitFor(2));
  ASSERT_TRUE(manager->Terminate("a"));
  ASSERT_TRUE(doer.WaitFor(3));
  manager->Stop();
  EXPECT_EQ(doer.done(), (std::vector<std::string>{"suspend a", "resume a", "terminate a"}));
  EXPECT_GT(woken, 0);
  manager->Stop();
}

TEST(Advance, TheThreadEndsWindowsAndRetriesOnTime) {
  Doer doer;
  doer.failures = 1;
  ManagerConfig config = With(kHard, kSuspend);
  config.window = seconds(1);
  auto manager = *ResourceManager::Create(config);
  manager->Start(&doer);
  EventReader events = manager->Events();
  ASSERT_TRUE(manager->CreateQuota("a", LimitsOf("tokens_per_day=0")));
  ASSERT_TRUE(manager->CreateQuota("b", LimitsOf("tokens_per_hour=0")));
  ASSERT_TRUE(manager->ReportUsage("a", AmountsOf("tokens=1")));
  ASSERT_TRUE(doer.WaitFor(2));  // tried again after a second
  ASSERT_TRUE(manager->ReportUsage("b", AmountsOf("tokens=1")));
  ASSERT_TRUE(doer.WaitFor(4));  // suspended, and resumed as its window ends
  manager->Stop();
  EXPECT_EQ(doer.done(),
            (std::vector<std::string>{"suspend a", "suspend a", "suspend b", "resume b"}));
  bool failed = false, rolled = false;
  for (const Event& event : events.Take().events) {
    failed |= event.kind == EventKind::kActionFailed;
    rolled |= event.kind == EventKind::kWindowRolled;
  }
  EXPECT_TRUE(failed);
  EXPECT_TRUE(rolled);
}

// Those that were asked for before it started too, however many.
TEST(Advance, TheThreadDoesAllOfThem) {
  constexpr int kAgents = 1000;
  Doer doer;
  auto manager = *ResourceManager::Create(With(kHard, kSuspend));
  const TargetName session{QuotaScope::kSession, "s"};
  ASSERT_TRUE(manager->CreateQuota(session));
  for (int i = 0; i < kAgents; ++i) {
    ASSERT_TRUE(manager->CreateQuota("a" + std::to_string(i), {}, Below(session)));
  }
  ASSERT_TRUE(manager->Suspend(session));
  manager->Start(&doer);
  EXPECT_TRUE(doer.WaitFor(kAgents));
  manager->Stop();
}

// What it had not done when it was stopped is done by the next one.
TEST(Advance, StoppingLosesNothing) {
  class Slow final : public Enforcer {
   public:
    Result<void> Suspend(const Intent&) override { return Do(); }
    Result<void> Resume(const Intent&) override { return Do(); }
    Result<void> Throttle(const Intent&) override { return Do(); }
    Result<void> ClearThrottle(const Intent&) override { return Do(); }
    Result<void> Terminate(const Intent&) override { return Do(); }
    std::atomic<int> begun = 0;
    std::atomic<bool> may_end = false;

   private:
    Result<void> Do() {
      ++begun;
      begun.notify_all();
      may_end.wait(false);
      return {};
    }
  };
  Slow slow;
  Doer doer;
  auto manager = *ResourceManager::Create(With(kHard, kSuspend));
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(manager->CreateQuota(id));
    ASSERT_TRUE(manager->Suspend(id));
  }
  manager->Start(&slow);
  slow.begun.wait(0);
  std::jthread stops([&] { manager->Stop(); });
  std::this_thread::sleep_for(milliseconds(20));  // so that it is likely in Stop by now
  slow.may_end = true;
  slow.may_end.notify_all();
  stops.join();
  const int done = slow.begun;
  manager->Start(&doer);
  EXPECT_TRUE(doer.WaitFor(static_cast<std::size_t>(3 - done)));
  manager->Stop();
  EXPECT_EQ(doer.done().size(), static_cast<std::size_t>(3 - done));
}

TEST(Advance, AnEnforcerMayCallBack) {
  class Calls final : public Enforcer {
   public:
    Result<void> Suspend(const Intent& intent) override {
      const Result<void> resumed = manager->Resume(intent.target);
      if (resumed) ++calls;
      return resumed;
    }
    Result<void> Resume(const Intent&) override {
      calls += 10;
      calls.notify_all();
      return {};
    }
    Result<void> Throttle(const Intent&) override { return {}; }
    Result<void> ClearThrottle(const Intent&) override { return {}; }
    Result<void> Terminate(const Intent&) override { return {}; }
    ResourceManager* manager = nullptr;
    std::atomic<int> calls = 0;
  };
  Calls calls;
  auto manager = *ResourceManager::Create(Plain());
  calls.manager = manager.get();
  manager->Start(&calls);
  ASSERT_TRUE(manager->CreateQuota("a"));
  ASSERT_TRUE(manager->Suspend("a"));
  for (int seen = 0; seen < 11; seen = calls.calls) calls.calls.wait(seen);
  EXPECT_EQ(calls.calls, 11);
}

// With a clock of the caller's own the thread looks at it now and then.
TEST(Advance, TheThreadFollowsAClockOfTheCallersOwn) {
  class Shared final : public Clock {
   public:
    Time Now() const override { return Time(Duration(now.load())); }
    WallTime WallNow() const override { return WallTime{}; }
    std::atomic<std::int64_t> now{0};
  };
  Shared clock;
  auto manager = *ResourceManager::Create(Plain(), clock);
  manager->Start();
  EventReader events = manager->Events();
  ASSERT_TRUE(manager->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  ASSERT_EQ(events.Take().events.size(), 1u);
  clock.now = Duration(hours(1)).count();
  ASSERT_TRUE(events.Wait(kPatience));
  EXPECT_EQ(events.Take().events[0].kind, EventKind::kWindowRolled);
  manager->Stop();
}

}  // namespace
}  // namespace mete
