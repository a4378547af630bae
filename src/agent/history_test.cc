#include "agent/history.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

Event At(EventKind kind, LimitKind limit, std::int64_t used, std::int64_t amount, int second) {
  Event event;
  event.kind = kind;
  event.limit = limit;
  event.used = used;
  event.amount = amount;
  event.time = Time(std::chrono::seconds(second));
  return event;
}

TEST(History, KeepsWhatWasDoneUnderItsViolation) {
  History history;
  history.Add({At(EventKind::kThreshold, LimitKind::kTokensPerHour, 900, 1000, 1),
               At(EventKind::kViolation, LimitKind::kTokensPerHour, 1100, 1000, 2),
               At(EventKind::kWarned, LimitKind::kTokensPerHour, 1100, 1000, 2),
               At(EventKind::kViolation, LimitKind::kCostPerDay, 3, 2, 3)});
  history.AddAction(LimitKind::kTokensPerHour, "suspended", Time(std::chrono::seconds(4)));
  history.AddAction(LimitKind::kMemory, "terminated", Time());  // no violation: nowhere
  ASSERT_EQ(history.violations().size(), 2u);
  const Violation& tokens = history.violations()[0];
  EXPECT_EQ(tokens.limit, LimitKind::kTokensPerHour);
  EXPECT_EQ(tokens.used, 1100);
  EXPECT_EQ(tokens.amount, 1000);
  ASSERT_EQ(tokens.actions.size(), 2u);
  EXPECT_EQ(tokens.actions[0].what, "warned");
  EXPECT_EQ(tokens.actions[1].what, "suspended");
  EXPECT_EQ(tokens.actions[1].time, Time(std::chrono::seconds(4)));
  EXPECT_TRUE(history.violations()[1].actions.empty());
}

TEST(History, GivesEachNoticeOnce) {
  History history;
  history.Add({At(EventKind::kWarned, LimitKind::kTokensPerHour, 1100, 1000, 2)});
  history.AddNotice("resumed");
  EXPECT_EQ(history.TakeNotices(),
            (std::vector<std::string>{"warned: tokens_per_hour: 1100 of 1000 used", "resumed"}));
  EXPECT_TRUE(history.TakeNotices().empty());
}

TEST(History, ActionsGoToTheLatestViolation) {
  History history;
  history.AddViolation(LimitKind::kMemory, 2, 1, Time());
  history.AddViolation(LimitKind::kMemory, 3, 1, Time());
  history.AddAction(LimitKind::kMemory, "suspended", Time());
  EXPECT_TRUE(history.violations()[0].actions.empty());
  EXPECT_EQ(history.violations()[1].actions.size(), 1u);
}

// As with a stored account: what happened is told once it is on disk.
TEST(History, AnActionMayComeBeforeItsViolation) {
  const auto at = [](int second) { return Time(std::chrono::seconds(second)); };
  History history;
  history.AddAction(LimitKind::kTokensPerHour, "suspended", at(3));
  history.AddAction(LimitKind::kMemory, "terminated", at(3));
  history.Add({At(EventKind::kViolation, LimitKind::kTokensPerHour, 11, 10, 2),
               At(EventKind::kWarned, LimitKind::kTokensPerHour, 11, 10, 2)});
  ASSERT_EQ(history.violations().size(), 1u);
  ASSERT_EQ(history.violations()[0].actions.size(), 2u);
  EXPECT_EQ(history.violations()[0].actions[0].what, "warned");
  EXPECT_EQ(history.violations()[0].actions[1].what, "suspended");
  // A second one, in the next window, whose action came first too.
  history.AddResumed(at(5));
  history.AddAction(LimitKind::kTokensPerHour, "suspended", at(7));
  history.AddViolation(LimitKind::kTokensPerHour, 12, 10, at(6));
  EXPECT_EQ(history.violations()[0].actions.size(), 3u);
  ASSERT_EQ(history.violations()[1].actions.size(), 1u);
  EXPECT_EQ(history.violations()[1].actions[0].time, at(7));
}

TEST(History, ResumedIsNotedUnderWhatWasSuspended) {
  History history;
  history.AddViolation(LimitKind::kMemory, 2, 1, Time());
  history.AddViolation(LimitKind::kTokensPerHour, 2, 1, Time());
  history.AddAction(LimitKind::kMemory, "suspended", Time());
  history.AddResumed(Time());
  history.AddResumed(Time());
  EXPECT_EQ(history.violations()[0].actions.size(), 2u);
  EXPECT_EQ(history.violations()[0].actions[1].what, "resumed");
  EXPECT_TRUE(history.violations()[1].actions.empty());
}

TEST(History, IsBounded) {
  History history;
  for (int i = 0; i < 1500; ++i) history.AddViolation(LimitKind::kMemory, i, 1, Time());
  EXPECT_EQ(history.violations().size(), 1000u);
  EXPECT_EQ(history.dropped(), 500);
  for (int i = 0; i < 500; ++i) history.AddAction(LimitKind::kMemory, "warned", Time());
  EXPECT_EQ(history.violations().back().actions.size(), 100u);
}

TEST(AmountText, IsForPeople) {
  EXPECT_EQ(AmountText(LimitKind::kMemory, 64 << 20), "64 MiB");
  EXPECT_EQ(AmountText(LimitKind::kCpu, 500'000'000), "0.5 cores");
  EXPECT_EQ(AmountText(LimitKind::kCpuSecondsPerHour, 1'250'999'999), "1.25 s");
  EXPECT_EQ(AmountText(LimitKind::kTokensPerHour, 1300), "1300");
  EXPECT_EQ(AmountText(LimitKind::kCostPerDay, 2'500'000'000), "2.5");
}

TEST(RaiseCommand, DoublesWhatWasUsedOrAllowed) {
  struct Row {
    LimitKind kind;
    std::int64_t used, amount;
    const char* flag;
  };
  const Row rows[] = {
      {LimitKind::kTokensPerHour, 1300, 1000, "--tokens-per-hour 2600"},
      {LimitKind::kTokensPerHour, 5, 1000, "--tokens-per-hour 2000"},
      {LimitKind::kTokensPerDay, 1, 0, "--tokens-per-day 2"},
      {LimitKind::kTokensPerDay, 0, 0, "--tokens-per-day 2"},
      {LimitKind::kMemory, (64 << 20) + 1, 64 << 20, "--memory 129Mi"},
      {LimitKind::kMemory, 1 << 30, 1 << 30, "--memory 2Gi"},
      {LimitKind::kCpuSecondsPerHour, 1'000'000'001, 1'000'000'000, "--cpu-seconds-per-hour 3"},
      {LimitKind::kCpuSecondsPerHour, 0, 1'000'000'000, "--cpu-seconds-per-hour 2"},
      {LimitKind::kCostPerDay, 2'500'000'000, 1, "--cost-per-day 5"},
      {LimitKind::kRequestsPerMinute, 61, 60, "--requests-per-minute 122"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(RaiseCommand("a-1", row.kind, row.used, row.amount),
              std::string("mete quota set a-1 ") + row.flag);
  }
}

TEST(RaiseCommand, GivesAnAcceptableAmountForEveryLimit) {
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    const auto kind = static_cast<LimitKind>(i);
    for (std::int64_t used : {std::int64_t{0}, std::int64_t{1}, kUnlimited / 3, kUnlimited - 1}) {
      const std::string command = RaiseCommand("x", kind, used, used);
      const std::string text = command.substr(command.rfind(' ') + 1);
      const Result<Limit> limit = ParseLimit(kind, text);
      ASSERT_TRUE(limit) << command;
      if (used >= kUnlimited / 4) continue;
      EXPECT_GT(limit->amount, used) << command;
    }
  }
}

}  // namespace
}  // namespace mete::agent
