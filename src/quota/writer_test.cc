// What each mode promises, with a disk that stands still, or fails.
#include "quota/writer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "quota/rule_rows_test.h"
#include "quota/store_double_test.h"

namespace mete {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

constexpr int kTokenIndex = static_cast<int>(Resource::kTokens);
constexpr int kALot = 1'000'000;  // of failures

Amounts Tokens(std::int64_t tokens) { return Amounts().Set(Resource::kTokens, tokens); }

std::unique_ptr<ResourceManager> Open(StoreSwitch& disk, Durability durability,
                                      Duration timeout = seconds(60)) {
  ManagerConfig config = Plain();
  config.durability = durability;
  config.store_timeout = timeout;
  return *ResourceManager::Create(config, SystemClock::Instance(),
                                  std::make_unique<StoreDouble>(disk));
}

// What somebody would find who opened a copy of it.
std::unique_ptr<ResourceManager> OpenImage(MemoryStoreContent image) {
  auto content = std::make_shared<MemoryStoreContent>(std::move(image));
  return *ResourceManager::Create(Plain(), SystemClock::Instance(), NewMemoryStore(content));
}

std::int64_t TokensIn(StoreSwitch& disk) {
  return OpenImage(disk.Image())->GetUsage("a")->tokens_consumed;
}

void AwaitAvailable(ResourceManager& manager, bool is) {
  while (manager.store_status().available != is) std::this_thread::sleep_for(milliseconds(1));
}

// Reports one token after the other while the disk stands still, and says by how much the last one
// was begun after the first one that is not on disk had been answered.
Duration AheadOfAStalledDisk(Durability durability) {
  StoreSwitch disk;
  auto manager = Open(disk, durability);
  EXPECT_TRUE(manager->CreateQuota("a"));
  EXPECT_TRUE(manager->Flush());
  std::vector<Steady::time_point> began, answered;
  std::atomic<bool> stop{false};
  std::thread reporter([&] {
    while (!stop) {
      const Steady::time_point before = Steady::now();
      if (!manager->ReportUsage("a", Tokens(1))) break;
      began.push_back(before);
      answered.push_back(Steady::now());
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  std::this_thread::sleep_for(milliseconds(50));
  disk.Stall();
  if (durability == Durability::kBounded) disk.AwaitStalled();
  std::this_thread::sleep_for(milliseconds(600));
  const auto on_disk = static_cast<std::size_t>(TokensIn(disk));
  const Steady::time_point ended = Steady::now();
  stop = true;
  disk.GoOn();
  reporter.join();
  Duration ahead{0};
  for (std::size_t i = on_disk; i < began.size(); ++i) {
    if (answered[i] > ended) break;
    ahead = std::max<Duration>(ahead, began[i] - answered[on_disk]);
  }
  return ahead;
}

TEST(Writer, InBoundedReportsWaitRatherThanRunAheadOfTheDisk) {
  EXPECT_LE(AheadOfAStalledDisk(Durability::kBounded), Writer::kPromise);
}

// The same measurement, where nobody waits: it sees that.
TEST(Writer, WithoutTheWaitMemoryRunsAhead) {
  EXPECT_GT(AheadOfAStalledDisk(Durability::kNone), 3 * Writer::kPromise);
}

TEST(Writer, InSyncNothingIsAnsweredBeforeItIsOnDisk) {
  StoreSwitch disk;
  auto manager = Open(disk, Durability::kSync);
  ASSERT_TRUE(manager->CreateQuota("a"));
  for (int round = 1; round <= 5; ++round) {
    disk.Stall();
    std::atomic<int> answers{0};
    std::vector<std::jthread> clients;
    for (int i = 0; i < 4; ++i) {
      clients.emplace_back([&] {
        const Result<Receipt> receipt = manager->ReportUsage("a", Tokens(1));
        EXPECT_TRUE(receipt && receipt->durable);
        ++answers;
      });
    }
    disk.AwaitStalled();
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_EQ(answers, 0);
    disk.GoOn();
    clients.clear();
    EXPECT_EQ(TokensIn(disk), 4 * round);
  }
}

TEST(Writer, InBoundedAReportIsAnsweredBeforeItIsOnDisk) {
  StoreSwitch disk;
  auto manager = Open(disk, Durability::kBounded);
  ASSERT_TRUE(manager->CreateQuota("a"));
  ASSERT_TRUE(manager->Flush());
  disk.Stall();
  EXPECT_TRUE(manager->ReportUsage("a", Tokens(1))->durable);
  EXPECT_EQ(TokensIn(disk), 0);
  disk.AwaitStalled();  // by itself
  EXPECT_EQ(manager->GetUsage("a")->tokens_consumed, 1);
  disk.GoOn();
  ASSERT_TRUE(manager->Flush());
  EXPECT_EQ(TokensIn(disk), 1);
}

TEST(Writer, WhileTheStoreCannotBeWrittenReportsCountAndNothingNewIsPromised) {
  StoreSwitch disk;
  auto manager = Open(disk, Durability::kBounded);
  ASSERT_TRUE(manager->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  ASSERT_TRUE(manager->CreateQuota("b"));
  ASSERT_TRUE(manager->ReportUsage("a", Tokens(1)));
  const HoldId hold = manager->Reserve("a", Tokens(5))->Detach();
  ASSERT_TRUE(manager->Flush());
  EventReader events = manager->Events();
  disk.Fail(kALot);
  ASSERT_TRUE(manager->ReportUsage("a", Tokens(1)));
  EXPECT_EQ(manager->Flush().error().code, ErrorCode::kStoreUnavailable);
  const auto is_refused = [](const auto& result) {
    return !result && result.error().code == ErrorCode::kStoreUnavailable;
  };
  EXPECT_TRUE(is_refused(manager->Reserve("a", Tokens(1))));
  EXPECT_TRUE(is_refused(manager->CreateQuota("c")));
  EXPECT_TRUE(is_refused(manager->UpdateQuota("a", LimitsOf("tokens_per_hour=20"))));
  EXPECT_TRUE(is_refused(manager->ResetQuota("a")));
  EXPECT_TRUE(is_refused(manager->CleanupQuota("b")));
  EXPECT_TRUE(manager->GetQuota("b"));
  EXPECT_FALSE(manager->ReportUsage("a", Tokens(7))->durable);
  EXPECT_FALSE(manager->Settle(hold, Tokens(3))->receipt.durable);
  EXPECT_TRUE(manager->GetQuota("a")->windows[0].violated);
  const StoreStatus status = manager->store_status();
  EXPECT_FALSE(status.available);
  EXPECT_NE(status.error.find("no space"), std::string::npos);
  EXPECT_GT(status.unavailable_since, WallTime());
  EXPECT_EQ(TokensIn(disk), 1);
  const std::string told = TextOf(events.Take().events);
  EXPECT_NE(told.find("store_unavailable"), std::string::npos) << told;
  EXPECT_NE(told.find("violation"), std::string::npos) << told;

  disk.Fail(0);
  AwaitAvailable(*manager, true);  // by itself
  EXPECT_TRUE(manager->ReportUsage("a", Tokens(1))->durable);
  EXPECT_TRUE(manager->CreateQuota("c"));
  ASSERT_TRUE(manager->Flush());
  EXPECT_NE(TextOf(events.Take().events).find("store_recovered"), std::string::npos);
  EXPECT_EQ(TokensIn(disk), 13);
  auto after = OpenImage(disk.Image());
  EXPECT_EQ(TextOf(after->EventsAfter(0).Take().events),
            TextOf(manager->EventsAfter(0).Take().events));
  EXPECT_EQ(after->Settle(hold, {})->used, Tokens(3));
}

TEST(Writer, InSyncAReportThatTimesOutIsSafeToRepeatWithItsKey) {
  StoreSwitch disk;
  auto manager = Open(disk, Durability::kSync, milliseconds(50));
  ASSERT_TRUE(manager->CreateQuota("a"));
  disk.Fail(kALot);
  const Result<Receipt> lost = manager->ReportUsage("a", Tokens(5), {.key = "k"});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, ErrorCode::kStoreUnavailable);
  EXPECT_FALSE(manager->ReportUsage("a", Tokens(5), {.key = "k"}));  // still
  disk.Fail(0);
  AwaitAvailable(*manager, true);
  EXPECT_TRUE(manager->ReportUsage("a", Tokens(5), {.key = "k"})->replayed);
  EXPECT_EQ(TokensIn(disk), 5);
}

TEST(Writer, AWriteThatDoesNotReturnCountsAsAFailureUntilItDoes) {
  for (const Durability mode : {Durability::kBounded, Durability::kSync}) {
    StoreSwitch disk;
    auto manager = Open(disk, mode, milliseconds(60));
    ASSERT_TRUE(manager->CreateQuota("a"));
    ASSERT_TRUE(manager->Flush());
    disk.Stall();
    while (true) {
      const Result<Receipt> receipt = manager->ReportUsage("a", Tokens(1));
      if (mode == Durability::kSync ? !receipt : !receipt->durable) break;
      std::this_thread::sleep_for(milliseconds(1));
    }
    EXPECT_FALSE(manager->store_status().available);
    EXPECT_FALSE(manager->Reserve("a", Tokens(1)));
    EXPECT_GT(manager->store_status().oldest_unwritten, Duration(0));
    disk.GoOn();
    AwaitAvailable(*manager, true);
    ASSERT_TRUE(manager->Flush());
    EXPECT_EQ(TokensIn(disk), manager->GetUsage("a")->tokens_consumed);
  }
}

// Its first tree still has it in its list.
TEST(Writer, ASlotThatWasGivenAwayBetweenTwoBatchesIsWhatItIsNow) {
  for (const char* next : {"one", "two"}) {
    StoreSwitch disk;
    auto manager = Open(disk, Durability::kNone);
    QuotaOptions in;
    for (const char* tenant : {"two", "one"}) {
      in.parent = TargetName{QuotaScope::kTenant, tenant};
      ASSERT_TRUE(manager->CreateQuota(*in.parent));
    }
    ASSERT_TRUE(manager->CreateQuota("a", {}, in));
    ASSERT_TRUE(manager->ReportUsage("a", Tokens(3)));
    ASSERT_TRUE(manager->CleanupQuota("a"));
    in.parent->id = next;
    ASSERT_TRUE(manager->CreateQuota("b", {}, in));
    ASSERT_TRUE(manager->ReportUsage("b", Tokens(4)));
    ASSERT_TRUE(manager->Flush());
    const MemoryStoreContent once = disk.Image();
    EXPECT_EQ(once.states.size(), 3u);
    ASSERT_TRUE(manager->ReportUsage("b", Tokens(1)));
    ASSERT_TRUE(manager->Flush());
    auto image = OpenImage(disk.Image());
    EXPECT_FALSE(image->GetUsage("a"));
    EXPECT_EQ(image->GetUsage("b")->tokens_consumed, 5);
    EXPECT_EQ(image->GetUsage({QuotaScope::kTenant, next})->tokens_consumed,
              next == std::string_view("one") ? 8 : 5);
  }
}

TEST(Writer, NobodyWaitsForWhatAStorePutsOffUntilItDoesNotReturn) {
  for (const Durability mode : {Durability::kBounded, Durability::kSync}) {
    StoreSwitch disk;
    auto manager = Open(disk, mode, milliseconds(200));
    disk.StallCatchingUp();
    ASSERT_TRUE(manager->CreateQuota("a"));
    ASSERT_TRUE(manager->Flush());
    EXPECT_TRUE(OpenImage(disk.Image())->GetUsage("a"));
    AwaitAvailable(*manager, false);
    disk.GoOn();
    AwaitAvailable(*manager, true);
    ASSERT_TRUE(manager->ReportUsage("a", Tokens(1)));
    ASSERT_TRUE(manager->Flush());
    EXPECT_EQ(TokensIn(disk), 1);
  }
}

TEST(Writer, NoReaderSeesAnEventBeforeItIsOnDisk) {
  for (const Durability mode : {Durability::kBounded, Durability::kNone}) {
    StoreSwitch disk;
    auto manager = Open(disk, mode);
    ASSERT_TRUE(manager->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
    ASSERT_TRUE(manager->Flush());
    EventReader events = manager->Events();
    disk.Stall();
    ASSERT_TRUE(manager->ReportUsage("a", Tokens(8)));
    if (mode == Durability::kNone) {
      EXPECT_EQ(events.Take().events.size(), 1u);
      disk.GoOn();
      continue;
    }
    disk.AwaitStalled();
    EXPECT_FALSE(events.Wait(milliseconds(20)));
    EXPECT_TRUE(events.Take().events.empty());
    disk.GoOn();
    EXPECT_TRUE(events.Wait(seconds(20)));
    EXPECT_EQ(TextOf(events.Take().events), "threshold 80% tokens_per_hour");
  }
}

TEST(Writer, TheEndWritesWhatIsLeftAlsoInNone) {
  for (const Durability mode : {Durability::kBounded, Durability::kNone}) {
    StoreSwitch disk;
    auto manager = Open(disk, mode);
    ASSERT_TRUE(manager->CreateQuota("a"));
    ASSERT_TRUE(manager->ReportUsage("a", Tokens(8)));
    disk.Fail(1);  // and asks twice
    manager.reset();
    EXPECT_EQ(TokensIn(disk), 8);
  }
}

// A number above the one of a batch that is still to come is never written: so a store may keep
// them in order.
TEST(Writer, EventsRiseFromBatchToBatchWhateverRaisesThem) {
  StoreSwitch disk;
  disk.KeepImages();
  {
    auto manager = Open(disk, Durability::kBounded);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, name = std::string(1, static_cast<char>('a' + t))] {
        for (int i = 0; i < (kIsSlowed ? 100 : 300); ++i) {
          EXPECT_TRUE(manager->CreateQuota(name, LimitsOf("tokens_per_hour=10")));
          EXPECT_TRUE(manager->ReportUsage(name, Tokens(11)));
          EXPECT_TRUE(manager->CleanupQuota(name));
          if (i % 20 == 0) {
            EXPECT_TRUE(manager->Flush());
          }
        }
      });
    }
  }
  std::uint64_t last = 0;
  std::size_t images = 0;
  for (const MemoryStoreContent& image : disk.TakeImages()) {
    ++images;
    // The store leaves out what is not above what it has, and then some would be missing.
    EXPECT_EQ(image.events.size(), image.events.empty() ? 0 : image.events.back().sequence);
    last = image.events.empty() ? last : image.events.back().sequence;
  }
  EXPECT_GT(images, 5u);
  EXPECT_GT(last, 500u);
}

// Every image is a state of each tree between two steps: what a tenant used is the sum of what is
// below it, and a warning is there exactly with its event.
TEST(Writer, EveryImageIsAStateBetweenTwoSteps) {
  StoreSwitch disk;
  disk.KeepImages();
  constexpr int kThreads = 3, kAgents = 40, kReports = kIsSlowed ? 4'000 : 60'000;
  const auto agent = [](int thread, int i) {
    return "agent " + std::to_string(thread) + "." + std::to_string(i);
  };
  std::array<std::atomic<std::int64_t>, kThreads> answered{};
  {
    ManagerConfig config = With(EnforcementMode::kSoftThenHard, QuotaAction::kThrottle);
    auto manager = *ResourceManager::Create(config, SystemClock::Instance(),
                                            std::make_unique<StoreDouble>(disk));
    QuotaOptions below;
    below.parent = TargetName{QuotaScope::kTenant, "t"};
    ASSERT_TRUE(manager->CreateQuota(*below.parent, LimitsOf("tokens_per_day=1000000")));
    for (int t = 0; t < kThreads; ++t) {
      for (int i = 0; i < kAgents; ++i) {
        const QuotaOptions& options = t == 0 ? QuotaOptions() : below;  // or a tree of its own
        ASSERT_TRUE(manager->CreateQuota(agent(t, i), LimitsOf("tokens_per_hour=50"), options));
      }
    }
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kReports; ++i) {
          if (manager->ReportUsage(agent(t, i % kAgents), Tokens(1))) ++answered[t];
          if (i % (kReports / 30) == 0) {
            EXPECT_TRUE(manager->Flush());
          }
        }
      });
    }
  }
  const std::vector<MemoryStoreContent> images = disk.TakeImages();
  EXPECT_GT(images.size(), 5u);
  std::int64_t before = 0;
  for (std::size_t n = 0; n < images.size(); n += 1 + images.size() / 40) {
    auto manager = OpenImage(images[n]);
    const Result<ResourceUsage> tenant = manager->GetUsage({QuotaScope::kTenant, "t"});
    if (!tenant) continue;
    std::int64_t sum = 0;
    std::size_t warned = 0;
    for (const ResourceQuota& quota : manager->ListQuotas(QuotaScope::kAgent)) {
      if (quota.parent) sum += quota.usage.tokens_consumed;
      if (quota.usage.tokens_consumed > 50) ++warned;
    }
    EXPECT_EQ(tenant->tokens_consumed, sum);
    EXPECT_GE(sum, before);
    before = sum;
    std::size_t told = 0;
    for (const Event& event : images[n].events) told += event.kind == EventKind::kWarned ? 1 : 0;
    EXPECT_EQ(told, warned);
  }
  auto last = OpenImage(images.back());
  std::int64_t total = 0;
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kAgents; ++i) total += last->GetUsage(agent(t, i))->tokens_consumed;
    total -= answered[t];
  }
  EXPECT_EQ(total, 0);
}

TEST(Writer, BadSettingsAreNamed) {
  ManagerConfig config = Plain();
  config.store_timeout = Duration(0);
  EXPECT_NE(ResourceManager::Create(config).error().message.find("store_timeout"),
            std::string::npos);
}

}  // namespace
}  // namespace mete
