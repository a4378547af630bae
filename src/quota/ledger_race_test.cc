// Many threads at once: nothing is lost, nothing is counted twice, and a limit holds exactly.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using enum EnforcementMode;
using enum QuotaAction;

// Under a sanitizer a tenth does: it sees a race that happens once.
constexpr int Times(int count) { return kIsSlowed ? count / 10 : count; }

const TargetName kTenant{QuotaScope::kTenant, "t"};
const TargetName kSession{QuotaScope::kSession, "s"};

QuotaOptions Under(const TargetName& parent) {
  QuotaOptions options;
  options.parent = parent;
  return options;
}

// Runs it on so many threads, which begin together; each gets its number.
void Together(int threads, const std::function<void(int)>& run) {
  std::barrier begin(threads);
  std::vector<std::jthread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back([&, i] {
      begin.arrive_and_wait();
      run(i);
    });
  }
}

// Two threads that meet before each round.
void InRounds(int rounds, const std::function<void()>& prepare,
              const std::function<void(int)>& race, const std::function<void()>& check) {
  std::barrier both(2);
  const auto play = [&](int who) {
    for (int round = 0; round < rounds; ++round) {
      if (who == 0) prepare();
      both.arrive_and_wait();
      race(who);
      both.arrive_and_wait();
      if (who == 0) check();
    }
  };
  std::jthread other([&] { play(1); });
  play(0);
}

TEST(LedgerRace, Rule18SixtyFourThreadsReportAndTheTotalIsExactOnAllLevels) {
  constexpr int kThreads = 64, kAgents = 8;
  const int reports = Times(5000);
  auto manager = *ResourceManager::Create(With(kWarnOnly, kWarn));
  ASSERT_TRUE(manager->CreateQuota(kTenant, LimitsOf("tokens_per_hour=1000 memory=100")));
  ASSERT_TRUE(manager->CreateQuota(kSession, {}, Under(kTenant)));
  std::vector<std::string> names;
  std::vector<QuotaHandle> handles;
  for (int i = 0; i < kAgents; ++i) {
    names.push_back("agent-" + std::to_string(i));
    ASSERT_TRUE(
        manager->CreateQuota(names.back(), LimitsOf("tokens_per_hour=500"), Under(kSession)));
    handles.push_back(*manager->Resolve(names.back()));
  }
  Together(kThreads, [&](int who) {
    const auto which = static_cast<std::size_t>(who % kAgents);
    for (int i = 0; i < reports; ++i) {
      Amounts amounts = Amounts().Set(Resource::kTokens, 3).Set(Resource::kCpu, 7);
      if (i % 3 == 0) amounts.Set(Resource::kMemory, who + i % 50);
      if (i % 7 == 0) amounts.Set(Resource::kRequests, 1).Set(Resource::kCost, 11);
      const auto receipt = who % 2 == 0 ? manager->ReportUsage(names[which], amounts)
                                        : manager->ReportUsage(handles[which], amounts);
      ASSERT_TRUE(receipt.has_value());
      // No one sees half of a report: whoever has used tokens has used CPU to match.
      if (i % 64 == 0) {
        const ResourceUsage usage = *manager->GetUsage(kTenant);
        ASSERT_EQ(usage.tokens_consumed % 3, 0);
        ASSERT_EQ(usage.tokens_consumed / 3, usage.cpu_ns / 7);
        ASSERT_EQ(usage.requests * 11, usage.cost_nano);
      }
    }
  });
  const std::int64_t all = std::int64_t{kThreads} * reports;
  std::int64_t memory = 0;
  for (const std::string& name : names) {
    const ResourceUsage usage = *manager->GetUsage(name);
    EXPECT_EQ(usage.tokens_consumed, all / kAgents * 3);
    memory += usage.memory_bytes;
  }
  for (const TargetName& above : {kSession, kTenant}) {
    const ResourceUsage usage = *manager->GetUsage(above);
    EXPECT_EQ(usage.tokens_consumed, all * 3);
    EXPECT_EQ(usage.cpu_ns, all * 7);
    EXPECT_EQ(usage.requests, std::int64_t{kThreads} * ((reports + 6) / 7));
    EXPECT_EQ(usage.memory_bytes, memory);
  }
}

TEST(LedgerRace, Rule03SixtyFourReserversAdmitExactlyTheLimit) {
  constexpr int kThreads = 64, kLimit = 10'000;
  auto manager = *ResourceManager::Create(With(kHard, kSuspend));
  ASSERT_TRUE(manager->CreateQuota(kTenant, LimitsOf("tokens_per_hour=10000")));
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(manager->CreateQuota("a" + std::to_string(i), {}, Under(kTenant)));
  }
  std::atomic<int> admitted = 0, refused = 0;
  Together(kThreads, [&](int who) {
    const std::string name = "a" + std::to_string(who % 8);
    for (int i = 0; i < kLimit / kThreads + 10; ++i) {
      Result<Reservation> hold = manager->Reserve(name, Amounts().Set(Resource::kTokens, 1));
      ++(hold ? admitted : refused);
      if (!hold) {
        ASSERT_EQ(hold.error().code, ErrorCode::kLimitExceeded);
        continue;
      }
      if (i % 2 == 0) {
        ASSERT_TRUE(hold->Settle({}).has_value());
      } else {
        hold->Detach();
      }
    }
  });
  EXPECT_EQ(admitted, kLimit);
  const LimitUsage line = manager->GetQuota(kTenant)->windows[0];
  EXPECT_EQ(line.used + line.held, kLimit);
  EXPECT_FALSE(line.violated);
}

// As many as there is room for at any time are admitted, since each gives back what it took.
TEST(LedgerRace, Rule03ThereIsNoFalseRefusal) {
  constexpr int kThreads = 16;
  auto manager = *ResourceManager::Create(With(kHard, kSuspend));
  ASSERT_TRUE(manager->CreateQuota(kTenant, LimitsOf("tokens_per_hour=16 memory=160")));
  for (int i = 0; i < kThreads; ++i) {
    ASSERT_TRUE(manager->CreateQuota("a" + std::to_string(i), {}, Under(kTenant)));
  }
  Together(kThreads, [&](int who) {
    const std::string name = "a" + std::to_string(who);
    for (int i = 0; i < Times(2000); ++i) {
      Result<Reservation> hold =
          manager->Reserve(name, Amounts().Set(Resource::kTokens, 1).Set(Resource::kMemory, 10));
      ASSERT_TRUE(hold.has_value()) << hold.error().message;
      if (i % 2 == 0) hold->Release().value();
    }
  });
  const ResourceQuota tenant = *manager->GetQuota(kTenant);
  for (const LimitUsage& line : tenant.windows) {
    EXPECT_EQ(line.used + line.held, 0);
  }
}

TEST(LedgerRace, Rule03OfTwoThatReserveSixtyOfAHundredExactlyOneIsAdmitted) {
  auto manager = *ResourceManager::Create(With(kHard, kSuspend));
  ASSERT_TRUE(manager->CreateQuota(kSession, LimitsOf("tokens_per_hour=100")));
  ASSERT_TRUE(manager->CreateQuota("a0", {}, Under(kSession)));
  ASSERT_TRUE(manager->CreateQuota("a1", {}, Under(kSession)));
  std::vector<Result<Reservation>> holds(2);
  int wrong = 0;
  InRounds(
      10'000, [] {},
      [&](int who) {
        holds[static_cast<std::size_t>(who)] =
            manager->Reserve("a" + std::to_string(who), Amounts().Set(Resource::kTokens, 60));
      },
      [&] {
        wrong += holds[0].has_value() == holds[1].has_value() ? 1 : 0;
        for (Result<Reservation>& hold : holds) hold = Reservation();
      });
  EXPECT_EQ(wrong, 0);
}

TEST(LedgerRace, Rule10OfTwoRacingBreachesOneWarnsAndOneActs) {
  ManagerConfig config = With(kSoftThenHard, kSuspend);
  config.events_kept = 100;
  auto manager = *ResourceManager::Create(config);
  ASSERT_TRUE(manager->CreateQuota(kSession, LimitsOf("tokens_per_hour=10")));
  for (const char* id : {"a0", "a1"}) ASSERT_TRUE(manager->CreateQuota(id, {}, Under(kSession)));
  EventReader events = manager->Events();
  int wrong = 0;
  std::atomic<int> pending = 0;
  InRounds(
      10'000, [&] { pending = 0; },
      [&](int who) {
        const auto receipt =
            manager->ReportUsage("a" + std::to_string(who), Amounts().Set(Resource::kTokens, 11));
        pending += receipt->action_pending ? 1 : 0;
      },
      [&] {
        int violations = 0, warned = 0, suspended = 0, intents = 0;
        for (const Event& event : events.Take().events) {
          if (event.target != kSession) continue;
          violations += event.kind == EventKind::kViolation ? 1 : 0;
          warned += event.kind == EventKind::kWarned ? 1 : 0;
          suspended += event.kind == EventKind::kSuspended ? 1 : 0;
        }
        for (const Intent& intent : manager->TakeIntents()) {
          intents += intent.verb == Verb::kSuspend ? 1 : 0;
          manager->FinishIntent(intent, {});
        }
        const bool good = violations == 1 && warned == 1 && suspended == 1 && intents == 2;
        wrong += good && pending == 1 ? 0 : 1;
        manager->ResetQuota(kSession).value();
        for (const Intent& intent : manager->TakeIntents()) manager->FinishIntent(intent, {});
        events.Take();
      });
  EXPECT_EQ(wrong, 0);
}

TEST(LedgerRace, Rule14OfTwoThatSettleOneHoldOneCountsAndBothAreAnswered) {
  auto manager = *ResourceManager::Create(Plain());
  ASSERT_TRUE(manager->CreateQuota("a", LimitsOf("tokens_per_hour=1000000")));
  HoldId id = 0;
  std::vector<Result<Settlement>> answers(2);
  const int rounds = Times(10'000);
  int wrong = 0;
  InRounds(
      rounds, [&] { id = manager->Reserve("a", Amounts().Set(Resource::kTokens, 5))->Detach(); },
      [&](int who) {
        answers[static_cast<std::size_t>(who)] =
            manager->Settle(id, Amounts().Set(Resource::kTokens, 1 + who));
      },
      [&] {
        const bool both = answers[0] && answers[1] && answers[0]->used == answers[1]->used;
        wrong += both ? 0 : 1;
      });
  EXPECT_EQ(wrong, 0);
  const LimitUsage line = manager->GetQuota("a")->windows[0];
  EXPECT_EQ(line.held, 0);
  EXPECT_GE(line.used, rounds);
  EXPECT_LE(line.used, 2 * rounds);
}

// What one thread does at random to a few accounts that all threads know.
class Churn {
 public:
  Churn(ResourceManager& manager, int who)
      : manager_(manager),
        random_(static_cast<std::uint32_t>(who) * 2654435761u + 1),
        handles_(8) {}

  void Step() {
    const std::string agent = "a" + std::to_string(Below(16));
    const TargetName tenant{QuotaScope::kTenant, "t" + std::to_string(Below(2))};
    const TargetName session{QuotaScope::kSession, "s" + std::to_string(Below(4))};
    const TargetName& above = Below(2) == 0 ? session : tenant;
    switch (Below(16)) {
      case 0: return void(manager_.CreateQuota(session, {}, Under(tenant)));
      case 1:
      case 2: return void(manager_.CreateQuota(agent, {}, Under(above)));
      case 3: return void(manager_.CleanupQuota(agent));
      case 4: return void(manager_.CleanupQuota(session, Below(4) == 0));
      case 5: return void(manager_.ResetQuota(above));
      case 6:
        if (const auto handle = manager_.Resolve(agent)) handles_[Below(8)] = *handle;
        return;
      case 7: return Reserve(agent);
      case 8: return void(manager_.UpdateQuota(agent, LimitsOf("tokens_per_hour=3")));
      case 9: return void(manager_.Suspend(session)), void(manager_.Resume(session, true));
      case 10: return Enforce();
      case 11: return void(manager_.ListQuotas(QuotaScope::kSession)), manager_.Advance();
      default: return Report(agent);
    }
  }

  std::int64_t recorded() const { return recorded_; }

 private:
  std::uint32_t Below(std::uint32_t bound) {
    random_ = random_ * 1664525 + 1013904223;
    return (random_ >> 16) % bound;
  }

  void Reserve(const std::string& agent) {
    Result<Reservation> hold = manager_.Reserve(agent, Amounts().Set(Resource::kTokens, 1));
    if (hold && Below(2) == 0 && hold->Settle({})) ++recorded_;
  }

  void Enforce() {
    for (const Intent& intent : manager_.TakeIntents(4)) {
      const bool done = Below(2) == 0;
      manager_.FinishIntent(intent, done ? Result<void>() : Fail(ErrorCode::kSystem, "no"));
    }
  }

  void Report(const std::string& agent) {
    const Amounts amounts = Amounts().Set(Resource::kTokens, 1).Set(Resource::kMemory, Below(9));
    const auto receipt = Below(2) == 0 ? manager_.ReportUsage(agent, amounts)
                                       : manager_.ReportUsage(handles_[Below(8)], amounts);
    if (receipt) ++recorded_;
  }

  ResourceManager& manager_;
  std::uint32_t random_;
  std::vector<QuotaHandle> handles_;
  std::int64_t recorded_ = 0;
};

// Accounts come and go under those who report to them by name and by handles that go stale; in the
// end nothing is left but what was recorded.
TEST(LedgerRace, Rule06CreateRemoveReportAndResetAllAtOnce) {
  ManagerConfig config = With(kHard, kSuspend);
  config.events_kept = 1000;
  auto manager = *ResourceManager::Create(config);
  for (const char* id : {"t0", "t1"}) {
    ASSERT_TRUE(manager->CreateQuota({QuotaScope::kTenant, id}, LimitsOf("tokens_per_hour=50")));
  }
  std::atomic<std::int64_t> recorded = 0;
  Together(12, [&](int who) {
    Churn churn(*manager, who);
    for (int i = 0; i < Times(20'000); ++i) churn.Step();
    recorded += churn.recorded();
  });
  std::int64_t total = 0, memory = 0;
  for (const ResourceQuota& quota : manager->ListQuotas()) {
    if (quota.target.scope == QuotaScope::kTenant) {
      total += manager->GetUsage(quota.target)->tokens_consumed;
      memory += quota.usage.memory_bytes;
    }
    if (quota.target.scope == QuotaScope::kAgent) memory -= quota.usage.memory_bytes;
  }
  EXPECT_EQ(total, recorded);
  EXPECT_EQ(memory, 0);
  for (const char* id : {"t0", "t1"}) {
    ASSERT_TRUE(manager->CleanupQuota({QuotaScope::kTenant, id}, true));
  }
  EXPECT_TRUE(manager->ListQuotas().empty());
}

// Nobody who is there is ever not found, while the table of names grows and closes its gaps.
TEST(LedgerRace, LookupsWhileTheTableGrowsAndShrinks) {
  ManagerConfig config = Plain();
  config.events_kept = 100;
  auto manager = *ResourceManager::Create(config);
  std::vector<std::string> fixed;
  for (int i = 0; i < 40; ++i) {
    fixed.push_back("fixed " + std::to_string(i));
    ASSERT_TRUE(manager->CreateQuota(fixed.back()));
  }
  std::atomic<bool> stop = false;
  std::atomic<int> missed = 0;
  {
    std::vector<std::jthread> readers;
    for (int who = 0; who < 4; ++who) {
      readers.emplace_back([&] {
        while (!stop) {
          for (const std::string& name : fixed) {
            if (!manager->ReportUsage(name, Amounts().Set(Resource::kTokens, 1))) ++missed;
          }
        }
      });
    }
    for (int round = 0; round < 3; ++round) {
      const int count = Times(30'000);
      for (int i = 0; i < count; ++i) {
        ASSERT_TRUE(manager->CreateQuota("comes and goes " + std::to_string(i)));
      }
      for (int i = 0; i < count; ++i) {
        ASSERT_TRUE(manager->CleanupQuota("comes and goes " + std::to_string(i * 7 % count)));
      }
    }
    stop = true;
  }
  EXPECT_EQ(missed, 0);
}

TEST(LedgerRace, SubscribersSeeEveryEventOnceAndInOrder) {
  ManagerConfig config = With(kHard, kSuspend);
  config.events_kept = 100'000;
  auto manager = *ResourceManager::Create(config);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(manager->CreateQuota("a" + std::to_string(i), LimitsOf("memory=10")));
  }
  const int rounds = Times(3000);
  EventReader reader = manager->Events();
  std::atomic<bool> done = false;
  std::uint64_t seen = 0, last = 0, disorder = 0;
  std::jthread subscriber([&] {
    for (bool last_time = false; !last_time;) {
      last_time = done;
      reader.Wait(std::chrono::milliseconds(5));
      for (auto batch = reader.Take(64); !batch.events.empty(); batch = reader.Take(64)) {
        disorder += batch.missed;
        for (const Event& event : batch.events) {
          if (last != 0 && event.sequence != last + 1) ++disorder;
          last = event.sequence;
          ++seen;
        }
      }
    }
  });
  Together(4, [&](int who) {
    const std::string name = "a" + std::to_string(who);
    for (int i = 0; i < rounds; ++i) {
      ASSERT_TRUE(manager->ReportUsage(name, Amounts().Set(Resource::kMemory, 11)));
      ASSERT_TRUE(manager->ReportUsage(name, Amounts().Set(Resource::kMemory, 0)));
    }
  });
  done = true;
  subscriber.join();
  // Two thresholds, the violation, suspended, resumed.
  EXPECT_EQ(seen, 4u * static_cast<std::uint64_t>(rounds) * 5);
  EXPECT_EQ(disorder, 0u);
}

TEST(LedgerRace, AHundredThousandAgentsInOneTenant) {
  const int agents = Times(100'000);
  ManagerConfig config = With(kHard, kSuspend);
  config.events_kept = 1'000'000;
  auto manager = *ResourceManager::Create(config);
  ASSERT_TRUE(manager->CreateQuota(kTenant, LimitsOf("tokens_per_hour=1000000000 memory=1")));
  ASSERT_TRUE(manager->CreateQuota(kSession, {}, Under(kTenant)));
  Together(4, [&](int who) {
    for (int i = who; i < agents; i += 4) {
      ASSERT_TRUE(manager->CreateQuota("agent-" + std::to_string(i),
                                       LimitsOf("tokens_per_hour=1000 memory=1Gi cpu=2"),
                                       Under(kSession)));
    }
  });
  Together(4, [&](int who) {
    for (int i = who; i < agents; i += 4) {
      ASSERT_TRUE(manager->ReportUsage("agent-" + std::to_string(i),
                                       Amounts().Set(Resource::kTokens, i % 10)));
    }
  });
  EXPECT_EQ(manager->ListQuotas().size(), static_cast<std::size_t>(agents) + 2);
  EXPECT_EQ(manager->GetUsage(kTenant)->tokens_consumed, std::int64_t{agents} / 10 * 45);
  // What is above acts on every one of them, in one step.
  EventReader events = manager->Events();
  ASSERT_TRUE(manager->ReportUsage("agent-7", Amounts().Set(Resource::kMemory, 2)));
  int suspended = 0;
  for (const Event& event : events.Take(1'000'000).events) {
    suspended += event.kind == EventKind::kSuspended ? 1 : 0;
  }
  EXPECT_EQ(suspended, agents + 1);
  int intents = 0;
  for (auto taken = manager->TakeIntents(); !taken.empty(); taken = manager->TakeIntents()) {
    for (const Intent& intent : taken) manager->FinishIntent(intent, {}), ++intents;
  }
  EXPECT_EQ(intents, agents);
  ASSERT_TRUE(manager->CleanupQuota(kTenant, true));
  EXPECT_TRUE(manager->ListQuotas().empty());
}

}  // namespace
}  // namespace mete
