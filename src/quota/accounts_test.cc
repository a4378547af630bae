#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

QuotaOptions Below(const TargetName& parent) {
  QuotaOptions options;
  options.parent = parent;
  return options;
}

TEST(Accounts, Rule06IdsAreUniqueWithinAScope) {
  Play(With(kHard, kSuspend), {
                                  {"0s", "create tokens_per_hour=1", "ok", "created"},
                                  {"0s", "create", "E2076 agent"},
                                  {"0s", "session a: create", "ok", "session a: created"},
                                  {"0s", "tenant a: create", "ok", "tenant a: created"},
                                  {"0s", "session a: create", "E2076 session"},
                                  {"0s", "report tokens=1", "tokens_per_hour 1/1",
                                   "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour"},
                                  {"0s", "session a: report tokens=1", "ok"},
                                  {"0s", "b: report tokens=1", "E2070 agent"},
                                  {"0s", "session b: report tokens=1", "E2070 session"},
                              });
}

TEST(Accounts, Rule06AParentIsInAScopeAbove) {
  Play(With(kHard, kSuspend),
       {
           {"0s", "tenant t: create", "ok", "tenant t: created"},
           {"0s", "session s: create under tenant t", "ok", "session s: created"},
           {"0s", "create under session s", "ok", "created"},
           {"0s", "b: create under tenant t", "ok", "b: created"},
           {"0s", "c: create under agent a", "E2071 parent"},
           {"0s", "session u: create under session s", "E2071 parent"},
           {"0s", "session u: create under agent a", "E2071 parent"},
           {"0s", "tenant u: create under tenant t", "E2071 parent"},
           {"0s", "tenant u: create under session s", "E2071 parent"},
           {"0s", "c: create under tenant u", "E2071 parent"},
           {"0s", "c: create under session u", "E2071 parent"},
           {"0s", "c: create under session t", "E2071 parent"},
       });
}

TEST(Accounts, Rule06RemovingAnAccountLeavesItsFlowsAboveAndReturnsItsLevels) {
  const auto world = Play(
      With(kHard, kSuspend),
      {
          {"0s", "session s: create tokens_per_hour=10 memory=100", "ok", "session s: created"},
          {"0s", "create under session s", "ok", "created"},
          {"0s", "b: create under session s", "ok", "b: created"},
          {"0s", "report tokens=5 memory=60 gpu_memory=9 cost=1 requests=2 cpu=3", "ok"},
          {"0s", "b: report memory=10", "ok"},
          {"1s", "cleanup", "ok", "removed"},
          {"1s", "report tokens=1", "E2070 agent"},
          {"2s", "cleanup", "ok"},  // may be repeated
          {"3s", "session s: report tokens=0 memory=0", "memory 10/100, tokens_per_hour 5/10"},
          // Its name is free, and it starts anew.
          {"4s", "create under session s tokens_per_hour=5", "ok", "created"},
          {"4s", "report tokens=1", "tokens_per_hour 1/5"},
      });
  const ResourceUsage session = world->Usage({QuotaScope::kSession, "s"});
  EXPECT_EQ(session.tokens_consumed, 6);
  EXPECT_EQ(session.memory_peak_bytes, 70);
  EXPECT_EQ(session.gpu_memory_bytes, 0);
  EXPECT_EQ(session.cost_nano, 1'000'000'000);
  EXPECT_EQ(session.requests, 2);
  EXPECT_EQ(world->Usage("a").tokens_consumed, 1);
  EXPECT_EQ(world->Usage("a").memory_peak_bytes, 0);
}

TEST(Accounts, Rule06WhatHasChildrenOrRunsIsOnlyRemovedWithThem) {
  Play(With(kHard, kSuspend),
       {
           {"0s", "tenant t: create memory=100 tokens_per_hour=100", "ok", "tenant t: created"},
           {"0s", "session s: create under tenant t", "ok", "session s: created"},
           {"0s", "create under session s", "ok", "created"},
           {"0s", "b: create under session s", "ok", "b: created"},
           {"0s", "c: create under tenant t", "ok", "c: created"},
           {"0s", "report memory=5 tokens=1", "ok"},
           {"0s", "session s: report memory=6", "ok"},
           {"0s", "c: report memory=7", "ok"},
           {"1s", "tenant t: cleanup", "E2080 tenant t"},
           {"1s", "session s: cleanup", "E2080 session s"},
           {"1s", "attach", "ok"},
           {"1s", "cleanup", "E2080 agent a"},
           {"2s", "session s: cascade", "ok", "b: removed; removed; session s: removed"},
           {"2s", "tenant t: report memory=0 tokens=0", "memory 7/100, tokens_per_hour 1/100"},
           {"3s", "c: attach", "ok"},
           {"3s", "c: cascade", "ok", "c: removed"},
           {"3s", "tenant t: cleanup", "ok", "tenant t: removed"},
           {"3s", "tenant t: cascade", "ok"},
       });
  World world;
  EXPECT_TRUE(world->ListQuotas().empty());
}

// Whoever is left does not hear of causes that ended with their account.
TEST(Accounts, Rule06RemovingAViolatedFamilyTellsOnlyOfItsEnd) {
  Play(With(kHard, kSuspend),
       {
           {"0s", "session s: create memory=1", "ok", "session s: created"},
           {"0s", "create under session s tokens_per_hour=0", "ok", "created"},
           {"0s", "b: create under session s", "ok", "b: created"},
           {"0s", "report tokens=1", "tokens_per_hour 1/0 pending",
            "violation tokens_per_hour; suspended tokens_per_hour", "tokens_per_hour"},
           {"0s", "b: report memory=2", "pending",
            "session s: threshold 80% memory; session s: threshold 95% memory; "
            "session s: violation memory; session s: suspended memory; "
            "suspended memory of session s; b: suspended memory of session s",
            "memory of session s"},
           {"1s", "cleanup", "ok", "removed"},
           {"1s", "b: cleanup", "ok",
            "session s: resumed memory; b: resumed memory of session s; b: removed"},
           {"2s", "session s: cleanup", "ok", "session s: removed"},
       });
}

TEST(Accounts, Rule11ExistOkAnswersUnchanged) {
  World world(With(kHard, kSuspend));
  QuotaOptions options;
  options.exist_ok = true;
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=10"), options));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=3")));
  world.TakeEvents();
  options.window = seconds(5);
  options.policies[3] = Policy{kWarnOnly, kWarn};
  const auto same = world->CreateQuota("a", LimitsOf("tokens_per_hour=99 memory=1"), options);
  ASSERT_TRUE(same.has_value());
  EXPECT_EQ(same->limits[LimitKind::kTokensPerHour]->amount, 10);
  EXPECT_FALSE(same->limits[LimitKind::kMemory].has_value());
  EXPECT_EQ(same->usage.tokens_consumed, 3);
  EXPECT_EQ(same->windows[0].reset_at, world.at(hours(1)));
  EXPECT_EQ(same->policies[3].mode, kHard);
  EXPECT_EQ(world.TakeEvents(), "");
}

TEST(Accounts, AHandleIsThatOfOneAccountAndNotOfItsName) {
  World world;
  EXPECT_EQ(world->Resolve("a").error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  const QuotaHandle handle = *world->Resolve("a");
  EXPECT_TRUE(world->ReportUsage(handle, AmountsOf("tokens=4")).has_value());
  EXPECT_TRUE(world->ReportUsage(handle, AmountsOf("requests=1")).has_value());
  EXPECT_EQ(world.Usage("a").tokens_consumed, 4);
  ASSERT_TRUE(world->CleanupQuota("a").has_value());
  EXPECT_EQ(world->ReportUsage(handle, AmountsOf("tokens=1")).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(world->CreateQuota("a").has_value());
  ASSERT_TRUE(world->CreateQuota("b").has_value());
  EXPECT_EQ(world->ReportUsage(handle, AmountsOf("tokens=1")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->ReportUsage(QuotaHandle(), {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world.Usage("a").tokens_consumed, 0);
}

// A record whose generation has come round is not used again.
TEST(Accounts, AHandleStaysStaleHoweverOftenItsNameIsUsed) {
  ManagerConfig config = Plain();
  config.events_kept = 4;
  VirtualClock clock;
  auto manager = *ResourceManager::Create(config, clock);
  ASSERT_TRUE(manager->CreateQuota("a"));
  const QuotaHandle handle = *manager->Resolve("a");
  for (int i = 0; i < 70'000; ++i) {
    ASSERT_TRUE(manager->CleanupQuota("a"));
    ASSERT_TRUE(manager->CreateQuota("a"));
    ASSERT_FALSE(manager->ReportUsage(handle, {}).has_value()) << i;
  }
}

TEST(Accounts, ListNamesEveryAccountOfAScope) {
  World world;
  ASSERT_TRUE(world->CreateQuota({QuotaScope::kTenant, "t"}));
  ASSERT_TRUE(
      world->CreateQuota({QuotaScope::kSession, "s"}, {}, Below({QuotaScope::kTenant, "t"})));
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(world->CreateQuota(id, {}, Below({QuotaScope::kSession, "s"})));
  }
  ASSERT_TRUE(world->CleanupQuota("b").has_value());
  const auto names = [&](std::optional<QuotaScope> scope) {
    std::string text;
    for (const ResourceQuota& quota : world->ListQuotas(scope))
      text += quota.target.ToString() + ",";
    return text;
  };
  EXPECT_EQ(names(std::nullopt), "tenant t,session s,agent a,agent c,");
  EXPECT_EQ(names(QuotaScope::kAgent), "agent a,agent c,");
  EXPECT_EQ(names(QuotaScope::kSession), "session s,");
  EXPECT_EQ(world.Quota("a").parent->ToString(), "session s");
  EXPECT_FALSE(world.Quota({QuotaScope::kTenant, "t"}).parent.has_value());
}

// Every call that names a target refuses a bad id; what it creates is checked, what it looks up is
// simply not there.
TEST(Accounts, BadIdsAreRefusedAndNothingIsMade) {
  struct BadId {
    const char* why;
    std::string id;
  };
  const std::string kib(10 * 1024, 'x');
  const BadId bad[] = {
      {"empty", ""},
      {"10 KiB", kib},
      {"one byte too long", std::string(ResourceManager::kMaxIdBytes + 1, 'x')},
      {"a slash", "a/b"},
      {"only a slash", "/"},
      {"a newline", "a\nb"},
      {"a carriage return", "a\r"},
      {"NUL", std::string("a\0b", 3)},
      {"only NUL", std::string("\0", 1)},
      {"escape", "\x1b[31m"},
      {"delete", "a\x7f"},
      {"a control character of Latin-1", "a\xc2\x9b"},
      {"right to left override", "a\xe2\x80\xae"},
      {"left to right mark", "\xe2\x80\x8e"},
      {"right to left mark", "\xe2\x80\x8f"},
      {"isolate", "a\xe2\x81\xa6"},
      {"pop isolate", "a\xe2\x81\xa9"},
      {"Arabic letter mark", "\xd8\x9c"},
      {"embedding", "\xe2\x80\xaa"},
      {"line separator", "a\xe2\x80\xa8"},
      {"zero width joiner", "a\xe2\x80\x8d"},
      {"byte order mark", "\xef\xbb\xbf"},
      {"not UTF-8", "a\xff"},
      {"cut off", "a\xe2\x80"},
      {"overlong", "\xc0\xaf"},
      {"a surrogate", "\xed\xa0\x80"},
      {"beyond Unicode", "\xf4\x90\x80\x80"},
  };
  World world;
  for (const BadId& row : bad) {
    SCOPED_TRACE(row.why);
    for (const QuotaScope scope : {QuotaScope::kAgent, QuotaScope::kSession, QuotaScope::kTenant}) {
      const Target target(scope, row.id);
      const auto made = world->CreateQuota(target);
      ASSERT_FALSE(made.has_value());
      EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
      EXPECT_EQ(made.error().message.find(std::string(NameOf(scope)) + " id: "), 0u);
      EXPECT_LT(made.error().message.size(), 500u);
      const auto read = world->GetQuota(target);
      ASSERT_FALSE(read.has_value());
      EXPECT_EQ(read.error().code, ErrorCode::kNotFound);
      const auto reported = world->ReportUsage(target, AmountsOf("tokens=1"));
      ASSERT_FALSE(reported.has_value());
      const auto changed = world->UpdateQuota(target, LimitsOf("memory=1"));
      ASSERT_FALSE(changed.has_value());
      EXPECT_EQ(changed.error().code, ErrorCode::kUpdateFailed);
      EXPECT_EQ(changed.error().message.find("E2070: "), 0u);
      EXPECT_TRUE(world->CleanupQuota(target).has_value());  // may be repeated, also at first
      const auto child = world->CreateQuota("child", {}, Below({QuotaScope::kTenant, row.id}));
      ASSERT_FALSE(child.has_value());
      EXPECT_EQ(child.error().code, ErrorCode::kInvalidArgument);
      for (const Error& error :
           {made.error(), read.error(), reported.error(), changed.error(), child.error()}) {
        EXPECT_LT(error.message.size(), 500u);
        for (const char c : error.message) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << error.message;
      }
    }
  }
  EXPECT_EQ(world->GetQuota(Target(QuotaScope::kAgent, std::string_view())).error().code,
            ErrorCode::kNotFound);
  EXPECT_TRUE(world->ListQuotas().empty());
  EXPECT_EQ(world.TakeEvents(), "");
}

TEST(Accounts, GoodIdsOfEveryLengthAndLanguage) {
  World world;
  std::vector<std::string> ids = {
      "a b",        "-",  "Ünïcödé", "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\xa4\x96", "a:b",
      "\"quoted\"", "..", "%2f"};
  for (const std::size_t size : {1, 7, 8, 9, 15, 16, 17, 30, 31, 32, 33, 63, 64, 65, 254, 255}) {
    ids.push_back(std::string(size - 1, 'x') + "1");
    if (size > 1) ids.push_back(std::string(size - 1, 'x') + "2");
  }
  std::int64_t amount = 0;
  for (const std::string& id : ids) {
    ASSERT_TRUE(world->CreateQuota(id)) << id;
    ASSERT_TRUE(world->ReportUsage(id, Amounts().Set(Resource::kTokens, ++amount)));
  }
  amount = 0;
  for (const std::string& id : ids) {
    EXPECT_EQ(world.Quota(id).target.id, id);
    EXPECT_EQ(world.Usage(id).tokens_consumed, ++amount) << id;
  }
  for (const std::string& id : ids) ASSERT_TRUE(world->CleanupQuota(id));
  EXPECT_TRUE(world->ListQuotas().empty());
}

TEST(Accounts, BadLimitsAndOptionsAreRefusedAndNothingIsMade) {
  World world;
  ResourceLimits negative = LimitsOf("memory=5");
  negative[LimitKind::kTokensPerDay] = Limit{-1, "-1"};
  const auto refused = world->CreateQuota("a", negative);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().ToString(),
            "E2071: tokens_per_day: a negative limit; allowed: 0 and more, given -1");
  for (const Duration window : {Duration(-1), Duration(0), Duration(milliseconds(999))}) {
    QuotaOptions options;
    options.window = window;
    const auto made = world->CreateQuota("a", {}, options);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(made.error().message.find("window: "), 0u);
  }
  EXPECT_TRUE(world->ListQuotas().empty());
  EXPECT_EQ(world.TakeEvents(), "");
  QuotaOptions shortest;
  shortest.window = seconds(1);
  EXPECT_TRUE(world->CreateQuota("a", {}, shortest).has_value());
}

}  // namespace
}  // namespace mete
