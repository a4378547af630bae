// An agent on the account of another process: over a real socket, to a real manager.
#include "server/state_account.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <filesystem>
#include <memory>
#include <string>

#include "server/ledger_server.h"
#include "server/remote_account.h"

namespace mete::server {
namespace {

using std::chrono::seconds;

class StateAccountTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "mete-account-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    manager_ = *ResourceManager::Create({.default_limits = {}});
    ResourceLimits limits;
    limits[LimitKind::kTokensPerHour] = *ParseLimit(LimitKind::kTokensPerHour, "1000");
    limits[LimitKind::kMemory] = *ParseLimit(LimitKind::kMemory, "64Mi");
    ASSERT_TRUE(manager_->CreateQuota({QuotaScope::kTenant, "acme"}));
    QuotaOptions below;
    below.parent = TargetName{QuotaScope::kTenant, "acme"};
    ASSERT_TRUE(manager_->CreateQuota("a 1%", limits, below));
    Serve();
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(dir_);
  }

  void Serve() {
    auto started = LedgerThread::Start(*manager_, {.path = dir_ + "/s", .ledger_name = dir_});
    ASSERT_TRUE(started) << started.error().ToString();
    server_ = *std::move(started);
  }
  Result<std::unique_ptr<RemoteAccount>> Attach() {
    return RemoteAccount::Attach(dir_ + "/s", {QuotaScope::kAgent, "a 1%"}, true, dir_, clock_);
  }
  Result<std::unique_ptr<StateAccount>> Open() {
    return StateAccount::Create(
        [this]() -> Result<std::unique_ptr<agent::Account>> { return Attach(); }, clock_);
  }
  std::int64_t TokensUsed() { return manager_->GetUsage("a 1%")->tokens_consumed; }
  bool Polls(const agent::Account& account) {
    pollfd fd{account.Fd(), POLLIN, 0};
    return poll(&fd, 1, 20'000) == 1;
  }

  SystemClock clock_;
  std::string dir_;
  std::unique_ptr<ResourceManager> manager_;
  std::unique_ptr<LedgerThread> server_;
};

Amounts Tokens(std::int64_t count) { return Amounts().Set(Resource::kTokens, count); }

TEST_F(StateAccountTest, SaysWhatTheManagerSays) {
  auto account = Attach();
  ASSERT_TRUE(account) << account.error().ToString();
  Result<Receipt> receipt = (*account)->Report(
      Tokens(1500).Set(Resource::kCost, 1).Set(Resource::kCpu, 7), {.key = "k\"1"});
  ASSERT_TRUE(receipt) << receipt.error().ToString();
  EXPECT_TRUE(receipt->recorded == ResourceSet({Resource::kTokens, Resource::kCost}));
  EXPECT_TRUE(receipt->measured == ResourceSet({Resource::kCpu}));
  EXPECT_FALSE(receipt->replayed);
  ASSERT_TRUE((*account)->Report(Tokens(1), {}));

  const ResourceQuota here = (*account)->Quota();
  const ResourceQuota there = *manager_->GetQuota("a 1%");
  EXPECT_EQ(here.target, there.target);
  EXPECT_EQ(here.parent, there.parent);
  EXPECT_EQ(here.causes, there.causes);
  EXPECT_TRUE(here.suspended);
  EXPECT_EQ(here.usage, there.usage);
  ASSERT_EQ(here.windows.size(), there.windows.size());
  for (std::size_t i = 0; i < here.windows.size(); ++i) {
    EXPECT_EQ(here.windows[i].kind, there.windows[i].kind);
    EXPECT_EQ(here.windows[i].limit.amount, there.windows[i].limit.amount);
    EXPECT_EQ(here.windows[i].limit.text, there.windows[i].limit.text);
    EXPECT_EQ(here.windows[i].used, there.windows[i].used);
    EXPECT_EQ(here.windows[i].violated, there.windows[i].violated);
    ASSERT_EQ(here.windows[i].reset_at.has_value(), there.windows[i].reset_at.has_value());
    if (!here.windows[i].reset_at) continue;
    EXPECT_LE(std::chrono::abs(*here.windows[i].reset_at - *there.windows[i].reset_at), seconds(2));
  }
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    EXPECT_EQ(here.policies[i].mode, there.policies[i].mode);
    EXPECT_EQ(here.policies[i].action, there.policies[i].action);
  }
  const ResourceUsage totals = (*account)->Totals();
  EXPECT_EQ(totals.tokens_consumed, 1501);
  EXPECT_EQ(totals.cost_nano, 1);
}

TEST_F(StateAccountTest, OnlyWhoAttachedMeasures) {
  auto account = Attach();
  ASSERT_TRUE(account);
  const Amounts measured = Amounts().Set(Resource::kCpu, 5).Set(Resource::kMemory, 3 << 20);
  ASSERT_TRUE((*account)->Report(measured, {.source = Source::kSampled}));
  EXPECT_EQ((*account)->Totals().cpu_ns, 5);
  EXPECT_EQ((*account)->Totals().memory_bytes, 3 << 20);
  ASSERT_TRUE((*account)->Close());
  EXPECT_EQ(manager_->GetUsage("a 1%")->memory_bytes, 0) << "its levels are given back";
  EXPECT_FALSE((*account)->Report(measured, {.source = Source::kSampled}));
}

TEST_F(StateAccountTest, HearsOfWhatOthersDo) {
  auto account = Attach();
  ASSERT_TRUE(account);
  EXPECT_FALSE((*account)->Quota().suspended);
  ASSERT_TRUE(manager_->Suspend("a 1%"));
  ASSERT_TRUE(Polls(**account));
  (*account)->Advance();
  for (int i = 0; i < 10 && !(*account)->Quota().suspended && Polls(**account); ++i) {
    (*account)->Advance();
  }
  EXPECT_TRUE((*account)->Quota().suspended);
  const std::vector<Event> events = (*account)->TakeEvents();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, EventKind::kSuspended);
  EXPECT_EQ(events[0].target, (TargetName{QuotaScope::kAgent, "a 1%"}));
  ASSERT_TRUE((*account)->Resume(false));
  EXPECT_FALSE((*account)->Quota().suspended);
}

TEST_F(StateAccountTest, ReservesAndSettlesThere) {
  auto account = Open();
  ASSERT_TRUE(account) << account.error().ToString();
  Result<HoldId> hold = (*account)->Reserve(Tokens(600), {.ttl = seconds(60)});
  ASSERT_TRUE(hold) << hold.error().ToString();
  Result<HoldId> refused = (*account)->Reserve(Tokens(401), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kLimitExceeded);
  Result<Settlement> settled = (*account)->Settle(*hold, Tokens(700));
  ASSERT_TRUE(settled) << settled.error().ToString();
  EXPECT_EQ(settled->used.Get(Resource::kTokens), 700);
  EXPECT_EQ(settled->above_hold.Get(Resource::kTokens), 100);
  EXPECT_EQ(TokensUsed(), 700);
}

TEST_F(StateAccountTest, MoneyOfAnAbandonedHoldIsSpent) {
  auto account = Attach();
  ASSERT_TRUE(account);
  Result<HoldId> hold = (*account)->Reserve(Tokens(10).Set(Resource::kCost, 7), {});
  ASSERT_TRUE(hold) << hold.error().ToString();
  (*account)->Abandon(*hold);
  EXPECT_EQ(manager_->GetUsage("a 1%")->cost_nano, 7);
  EXPECT_EQ(TokensUsed(), 0);
  EXPECT_FALSE((*account)->Release(*hold));
}

TEST_F(StateAccountTest, GoesOnWithTheNextOwner) {
  auto account = Open();
  ASSERT_TRUE(account) << account.error().ToString();
  ASSERT_TRUE((*account)->Report(Tokens(10), {}));
  const Amounts measured = Amounts().Set(Resource::kCpu, 100).Set(Resource::kMemory, 1 << 20);
  ASSERT_TRUE((*account)->Report(measured, {.source = Source::kSampled}));

  server_.reset();
  const Result<Receipt> lost = (*account)->Report(Tokens(5), {.key = "five"});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, ErrorCode::kStoreUnavailable);
  EXPECT_FALSE((*account)->Report(measured, {.source = Source::kSampled}));
  EXPECT_EQ((*account)->Quota().limits[LimitKind::kMemory]->text, "64Mi") << "as it was last";
  ASSERT_TRUE((*account)->NextDeadline().has_value()) << "somebody is looked for again";

  Serve();
  const Time end = clock_.Now() + seconds(30);
  while ((*account)->is_gone() && clock_.Now() < end) (*account)->Advance();
  ASSERT_TRUE((*account)->Report(Tokens(5), {.key = "five"}));
  ASSERT_TRUE((*account)->Report(Tokens(5), {.key = "five"}));
  EXPECT_EQ(TokensUsed(), 15);
  ASSERT_TRUE((*account)->Report(measured, {.source = Source::kSampled}));
  EXPECT_EQ(manager_->GetUsage("a 1%")->cpu_ns, 300) << "what nobody took is made up for";
}

TEST_F(StateAccountTest, NamesWhatIsNotThere) {
  auto unknown =
      RemoteAccount::Attach(dir_ + "/s", {QuotaScope::kAgent, "nobody"}, true, dir_, clock_);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  server_.reset();
  auto gone = Attach();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::kStoreUnavailable);
}

}  // namespace
}  // namespace mete::server
