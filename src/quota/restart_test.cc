// What is there again after a restart: everything that was answered, as it was.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "quota/memory_store.h"
#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

// A machine with one folder of state. A crash keeps what was written, an end writes all.
class Machine {
 public:
  explicit Machine(ManagerConfig config = Plain()) : config_(std::move(config)) { Start(); }

  ResourceManager* operator->() const { return manager_.get(); }
  void Start() { manager_ = *ResourceManager::Create(config_, clock, NewMemoryStore(content_)); }
  void End() { manager_.reset(); }
  void Restart() { End(), Start(); }
  // What is in memory only is lost: whoever goes on has a copy of the store of before the end.
  void Crash() {
    auto kept = std::make_shared<MemoryStoreContent>(*content_);
    End();
    content_ = std::move(kept);
    Start();
  }
  const MemoryStoreContent& content() const { return *content_; }

  VirtualClock clock{Time(hours(1000)), WallTime(hours(500'000))};

 private:
  ManagerConfig config_;
  std::shared_ptr<MemoryStoreContent> content_ = NewMemoryStoreContent();
  std::unique_ptr<ResourceManager> manager_;
};

ManagerConfig In(Durability durability, ManagerConfig config = Plain()) {
  config.durability = durability;
  return config;
}

constexpr Durability kModes[] = {Durability::kSync, Durability::kBounded, Durability::kNone};

Amounts Tokens(std::int64_t tokens) { return Amounts().Set(Resource::kTokens, tokens); }

TEST(Restart, UsageIsThereAgainAfterAnOrderlyEndInEveryMode) {
  for (const Durability mode : kModes) {
    Machine machine(In(mode));
    ASSERT_TRUE(machine->CreateQuota({QuotaScope::kTenant, "t"}, LimitsOf("tokens_per_day=500")));
    QuotaOptions below;
    below.parent = TargetName{QuotaScope::kTenant, "t"};
    ASSERT_TRUE(machine->CreateQuota("a", LimitsOf("tokens_per_hour=100 memory=1Gi"), below));
    ASSERT_TRUE(machine->ReportUsage("a", AmountsOf("tokens=30 memory=64Mi cpu=2 cost=0.5")));
    const ResourceQuota before = *machine->GetQuota("a");
    machine.Restart();
    const ResourceQuota after = *machine->GetQuota("a");
    EXPECT_EQ(after.usage, before.usage);
    EXPECT_EQ(after.usage.tokens_consumed, 30);
    EXPECT_EQ(after.parent, before.parent);
    ASSERT_EQ(after.windows.size(), before.windows.size());
    EXPECT_EQ(after.windows[1].limit.text, before.windows[1].limit.text);
    EXPECT_EQ(after.reset_at, before.reset_at);
    EXPECT_EQ(machine->GetQuota({QuotaScope::kTenant, "t"})->usage.tokens_consumed, 30);
    EXPECT_EQ(machine->ListQuotas().size(), 2u);
  }
}

TEST(Restart, InSyncNothingThatWasAnsweredIsLostInACrash) {
  Machine machine(In(Durability::kSync));
  ASSERT_TRUE(machine->CreateQuota("a"));
  for (int i = 1; i <= 20; ++i) {
    ASSERT_TRUE(machine->ReportUsage("a", Tokens(7)));
    machine.Crash();
    EXPECT_EQ(machine->GetUsage("a")->tokens_consumed, 7 * i);
  }
}

TEST(Restart, AFlushKeepsWhatWasBeforeItInEveryMode) {
  for (const Durability mode : kModes) {
    Machine machine(In(mode));
    ASSERT_TRUE(machine->CreateQuota("a"));
    ASSERT_TRUE(machine->ReportUsage("a", Tokens(7)));
    ASSERT_TRUE(machine->Flush());
    ASSERT_TRUE(machine->Flush());
    EXPECT_TRUE(machine->store_status().has_store);
    EXPECT_EQ(machine->store_status().oldest_unwritten, Duration(0));
    machine.Crash();
    EXPECT_EQ(machine->GetUsage("a")->tokens_consumed, 7);
  }
}

TEST(Restart, Rule10NoSecondWarningIsFree) {
  Machine machine(
      In(Durability::kSync, With(EnforcementMode::kSoftThenHard, QuotaAction::kSuspend)));
  ASSERT_TRUE(machine->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  EventReader first = machine->Events();
  ASSERT_TRUE(machine->ReportUsage("a", Tokens(11)));
  EXPECT_NE(TextOf(first.Take().events).find("warned"), std::string::npos);
  machine.Crash();
  EventReader second = machine->Events();
  EXPECT_TRUE(machine->ReportUsage("a", Tokens(1))->suspended);
  EXPECT_EQ(TextOf(second.Take().events).find("warned"), std::string::npos);
  machine.Crash();
  EXPECT_TRUE(machine->GetQuota("a")->suspended);
  const std::vector<Intent> intents = machine->TakeIntents();
  ASSERT_EQ(intents.size(), 1u);  // asked for anew: whoever was told is gone
  EXPECT_EQ(intents[0].verb, Verb::kSuspend);
}

TEST(Restart, AWindowGoesOnAndEndsWhereItWouldHave) {
  Machine machine(In(Durability::kSync));
  ASSERT_TRUE(machine->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  machine.clock.Advance(minutes(20));
  ASSERT_TRUE(machine->ReportUsage("a", Tokens(5)));
  machine.End();
  machine.clock.Advance(minutes(39));
  machine.Start();
  EXPECT_EQ(machine->GetQuota("a")->usage.tokens_consumed, 5);
  machine.clock.Advance(minutes(1));
  EXPECT_EQ(machine->GetQuota("a")->usage.tokens_consumed, 0);
  EXPECT_EQ(machine->GetUsage("a")->tokens_consumed, 5);
}

TEST(Restart, Rule07OverARebootTheWallClockLeadsAndOneEventTellsOfSkippedWindows) {
  Machine machine(In(Durability::kSync));
  ASSERT_TRUE(machine->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  machine.clock.Advance(minutes(20));
  ASSERT_TRUE(machine->ReportUsage("a", Tokens(5)));
  machine.End();
  machine.clock.Reboot(minutes(39));
  machine.Start();
  EXPECT_EQ(machine->GetQuota("a")->usage.tokens_consumed, 5);
  machine.End();
  machine.clock.Reboot(hours(3));
  machine.Start();
  EventReader events = machine->Events();
  EXPECT_EQ(machine->GetQuota("a")->usage.tokens_consumed, 0);
  ASSERT_TRUE(machine->Flush());
  const std::vector<Event> rolled = events.Take().events;
  ASSERT_EQ(rolled.size(), 1u);
  EXPECT_EQ(rolled[0].windows, 3);
}

TEST(Restart, Rule07AWallClockThatIsWrongMovesNothingOverAReboot) {
  for (const bool behind : {false, true}) {
    Machine machine(In(Durability::kSync));
    ASSERT_TRUE(machine->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
    machine.clock.Advance(minutes(59));
    ASSERT_TRUE(machine->ReportUsage("a", Tokens(5)));
    machine.End();
    machine.clock.SetSynchronised(behind);
    machine.clock.Reboot(behind ? -hours(3) : hours(3));
    machine.Start();
    EXPECT_EQ(machine->GetQuota("a")->usage.tokens_consumed, 5);
    machine.clock.Advance(minutes(1));
    EXPECT_EQ(machine->GetQuota("a")->usage.tokens_consumed, 0);
  }
}

TEST(Restart, Rule14AHoldOfTheProcessEndsWithItAndADetachedOneLivesOn) {
  Machine machine(In(Durability::kSync));
  ASSERT_TRUE(machine->CreateQuota("a", LimitsOf("tokens_per_hour=100 cost_per_day=10")));
  auto owned = *machine->Reserve("a", AmountsOf("tokens=10 cost=1"));
  const HoldId detached = machine->Reserve("a", Tokens(20))->Detach();
  ASSERT_TRUE(machine->Flush());
  const HoldId timed = machine->Reserve("a", Tokens(5), {.ttl = minutes(10)})->Detach();
  ASSERT_TRUE(machine->Flush());
  owned.Keep();
  machine.Crash();
  EXPECT_EQ(machine->GetQuota("a")->windows[0].held, 25);
  EXPECT_EQ(machine->GetUsage("a")->cost_nano, 1'000'000'000);  // may have been spent
  EXPECT_EQ(machine->Settle(detached, Tokens(15))->used, Tokens(15));
  machine.Crash();
  EXPECT_EQ(machine->GetUsage("a")->tokens_consumed, 15);
  EXPECT_EQ(machine->Settle(detached, Tokens(9))->used, Tokens(15));  // the first answer
  EXPECT_EQ(machine->GetUsage("a")->tokens_consumed, 15);
  machine.clock.Advance(minutes(10));
  machine->Advance();
  EXPECT_EQ(machine->Settle(timed, {}).error().code, ErrorCode::kNotFound);
  EXPECT_GT(machine->Reserve("a", Tokens(1))->Detach(), timed);
}

TEST(Restart, Rule17AKeyCountsOnceAlsoOverARestart) {
  Machine machine(In(Durability::kSync));
  ASSERT_TRUE(machine->CreateQuota("a"));
  EXPECT_FALSE(machine->ReportUsage("a", Tokens(5), {.key = "k"})->replayed);
  EXPECT_TRUE(machine->ReportUsage("a", Tokens(5), {.key = "k"})->replayed);
  machine.Crash();
  const Receipt again = *machine->ReportUsage("a", Tokens(5), {.key = "k"});
  EXPECT_TRUE(again.replayed);
  EXPECT_EQ(again.used[static_cast<std::size_t>(Resource::kTokens)], 5);
  EXPECT_EQ(machine->ReportUsage("a", Tokens(6), {.key = "k"}).error().code,
            ErrorCode::kInvalidArgument);
  machine.clock.Advance(hours(24));
  EXPECT_FALSE(machine->ReportUsage("a", Tokens(6), {.key = "k"})->replayed);
  EXPECT_EQ(machine->GetUsage("a")->tokens_consumed, 11);
}

TEST(Restart, Rule09EventsGoOnByNumber) {
  Machine machine(In(Durability::kSync));
  ASSERT_TRUE(machine->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  ASSERT_TRUE(machine->ReportUsage("a", Tokens(8)));
  const std::vector<Event> before = machine->EventsAfter(0).Take().events;
  ASSERT_EQ(before.size(), 2u);
  machine.Crash();
  EventReader reader = machine->EventsAfter(1);
  EXPECT_EQ(TextOf(reader.Take().events), TextOf(before[1]));
  ASSERT_TRUE(machine->ReportUsage("a", Tokens(2)));
  const std::vector<Event> after = reader.Take().events;
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].sequence, 3u);
}

TEST(Restart, ARemovedAccountStaysRemovedAndItsPlaceIsGivenAway) {
  Machine machine(In(Durability::kSync));
  ASSERT_TRUE(machine->CreateQuota("a"));
  ASSERT_TRUE(machine->ReportUsage("a", Tokens(8), {.key = "k"}));
  ASSERT_TRUE(machine->CleanupQuota("a"));
  ASSERT_TRUE(machine->CreateQuota("b"));
  machine.Crash();
  EXPECT_FALSE(machine->GetQuota("a"));
  EXPECT_EQ(machine->GetUsage("b")->tokens_consumed, 0);
  EXPECT_FALSE(machine->ReportUsage("b", Tokens(8), {.key = "k"})->replayed);
  EXPECT_EQ(machine.content().quotas.size(), 1u);
}

}  // namespace
}  // namespace mete
