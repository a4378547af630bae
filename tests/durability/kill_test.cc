// A process that owns a state folder is killed while threads of it report, over and over; what it
// had answered by then was noted in memory that outlives it. The folder must agree.
//
// METE_KILL_CYCLES: how often, in each mode (250 unless set: 500 in all).
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "mete/resource_manager.h"
#include "mete/store.h"

namespace mete {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kThreads = 3;
constexpr std::int64_t kSoftLimit = 50;  // of the agent that is to be warned once, then suspended
constexpr Duration kPromise = milliseconds(100);

int Cycles() {
  const char* const asked = std::getenv("METE_KILL_CYCLES");
  return asked == nullptr ? 250 : std::atoi(asked);
}

// What one thread of the process that is killed has said and heard.
struct Account {
  std::atomic<std::int64_t> asked{0};     // the number of the last report, each of one token
  std::atomic<std::int64_t> answered{0};  // all up to this one were answered
  // By number, of the latest ones: not after it was asked, and not before it was answered.
  static constexpr std::size_t kTimes = std::size_t{1} << 20;
  std::array<std::atomic<std::int64_t>, kTimes> began, ended;

  static std::size_t Place(std::int64_t number) {
    return static_cast<std::size_t>(number) % kTimes;
  }
};

// Memory of this process and of those it forks.
struct Witness {
  std::array<Account, kThreads> accounts;
  std::atomic<bool> suspended_heard{false};
  std::atomic<bool> is_open{false};  // the process that is next killed has the folder

  static Witness* Make() {
    void* const memory =
        mmap(nullptr, sizeof(Witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : new (memory) Witness;
  }
};

std::int64_t Now() { return SystemClock::Instance().Now().time_since_epoch().count(); }

std::string AgentOf(std::size_t thread) { return "agent-" + std::to_string(thread); }

Result<std::unique_ptr<ResourceManager>> Open(const std::string& folder, Durability durability) {
  Result<std::unique_ptr<Store>> store = OpenStore(folder);
  if (!store) return std::unexpected(store.error());
  ManagerConfig config;
  config.durability = durability;
  config.default_limits = {};
  return ResourceManager::Create(config, SystemClock::Instance(), *std::move(store));
}

// Reports one token after the other, each with its number as its key. Whether the last one of the
// process before was counted is not known: so that one is said again, with its key.
void ReportForever(ResourceManager& manager, std::size_t thread, Account& account) {
  const std::string agent = AgentOf(thread);
  std::int64_t number = std::max<std::int64_t>(account.asked, 1);
  for (;; ++number) {
    account.asked = number;
    const std::string key = std::to_string(number);
    account.began[Account::Place(number)] = Now();
    const Result<Receipt> receipt =
        manager.ReportUsage(agent, Amounts().Set(Resource::kTokens, 1), {.key = key});
    if (!receipt) std::_Exit(3);
    account.ended[Account::Place(number)] = Now();
    account.answered = number;
  }
}

// Reports to an agent that has a soft limit, until it is suspended.
void ReportToSoft(ResourceManager& manager, Witness& witness) {
  for (;;) {
    const Result<Receipt> receipt =
        manager.ReportUsage("soft", Amounts().Set(Resource::kTokens, 1));
    if (!receipt) std::_Exit(3);
    if (receipt->suspended) witness.suspended_heard = true;
    std::this_thread::sleep_for(milliseconds(1));
  }
}

[[noreturn]] void Own(const std::string& folder, Durability durability, Witness& witness) {
  Result<std::unique_ptr<ResourceManager>> manager = Open(folder, durability);
  if (!manager) std::_Exit(2);
  witness.is_open = true;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { ReportForever(**manager, i, witness.accounts[i]); });
  }
  ReportToSoft(**manager, witness);
  std::_Exit(0);
}

class KillTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "mete-kill-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    witness_ = Witness::Make();
    ASSERT_NE(witness_, nullptr);
  }
  void TearDown() override {
    munmap(witness_, sizeof *witness_);
    std::filesystem::remove_all(folder_);
  }

  void MakeAccounts() {
    Result<std::unique_ptr<ResourceManager>> manager = Open(folder_, Durability::kSync);
    ASSERT_TRUE(manager) << manager.error().ToString();
    ASSERT_TRUE((*manager)->CreateQuota({QuotaScope::kTenant, "acme"}));
    QuotaOptions below;
    below.parent = TargetName{QuotaScope::kTenant, "acme"};
    for (std::size_t i = 0; i < kThreads; ++i) {
      ASSERT_TRUE((*manager)->CreateQuota(AgentOf(i), {}, below));
    }
    ResourceLimits soft;
    soft[LimitKind::kTokensPerDay] =
        *ParseLimit(LimitKind::kTokensPerDay, std::to_string(kSoftLimit));
    ASSERT_TRUE((*manager)->CreateQuota("soft", soft, below));
    reset_at_ = (*manager)->GetQuota("soft")->windows.at(0).reset_at;
  }

  // Lets a process own the folder for a while, and kills it; each fourth one while it opens that.
  void RunAndKill(Durability durability, int cycle, Duration lives) {
    witness_->is_open = false;
    const pid_t owner = fork();
    if (owner == 0) Own(folder_, durability, *witness_);
    EXPECT_GT(owner, 0);
    for (int i = 0; i < 10'000 && cycle % 4 != 0 && !witness_->is_open; ++i) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    std::this_thread::sleep_for(lives);
    kill(owner, SIGKILL);
    int status = 0;
    EXPECT_EQ(waitpid(owner, &status, 0), owner);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "it ended by itself with " << WEXITSTATUS(status);
  }

  // What the folder has of that thread's reports.
  std::int64_t Counted(ResourceManager& manager, std::size_t thread) {
    return manager.GetUsage(AgentOf(thread))->tokens_consumed;
  }

  // Nothing that the folder has was made up, and the tenant has what is below it.
  void CheckSums(ResourceManager& manager) {
    std::int64_t sum = manager.GetUsage("soft")->tokens_consumed;
    for (std::size_t i = 0; i < kThreads; ++i) {
      EXPECT_LE(Counted(manager, i), witness_->accounts[i].asked) << "counted twice";
      sum += Counted(manager, i);
    }
    EXPECT_EQ(manager.GetUsage({QuotaScope::kTenant, "acme"})->tokens_consumed, sum);
  }

  // One warning in the whole day, and the suspension stays; the window too.
  void CheckSoft(ResourceManager& manager) {
    const ResourceQuota quota = *manager.GetQuota("soft");
    const bool must_be = was_suspended_ || (keeps_all_ && witness_->suspended_heard);
    EXPECT_GE(quota.suspended, must_be) << "a suspension was lost";
    was_suspended_ = quota.suspended;
    EXPECT_EQ(quota.windows.at(0).reset_at, reset_at_);
    std::int64_t warnings = 0;
    EventReader events = manager.EventsAfter(0);
    for (auto batch = events.Take(); !batch.events.empty(); batch = events.Take()) {
      for (const Event& event : batch.events) {
        if (event.kind == EventKind::kWarned && event.target.id == "soft") ++warnings;
      }
    }
    EXPECT_LE(warnings, 1) << "a second warning was free";
    EXPECT_EQ(warnings == 1, quota.windows.at(0).used > kSoftLimit);
  }

  std::string folder_;
  Witness* witness_ = nullptr;
  std::optional<Time> reset_at_;
  bool keeps_all_ = false;
  bool was_suspended_ = false;
};

TEST_F(KillTest, InSyncEverythingThatWasAnsweredIsCountedOnce) {
  keeps_all_ = true;
  MakeAccounts();
  std::mt19937 random(1);
  std::int64_t answers = 0, unanswered = 0;
  const int cycles = Cycles();
  for (int cycle = 0; cycle < cycles && !HasFailure(); ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    RunAndKill(Durability::kSync, cycle, std::chrono::microseconds(random() % 40'000));
    Result<std::unique_ptr<ResourceManager>> manager = Open(folder_, Durability::kSync);
    ASSERT_TRUE(manager) << manager.error().ToString();
    for (std::size_t i = 0; i < kThreads; ++i) {
      const Account& account = witness_->accounts[i];
      EXPECT_GE(Counted(**manager, i), account.answered) << "an answer was lost";
      unanswered += Counted(**manager, i) - account.answered;
    }
    CheckSums(**manager);
    CheckSoft(**manager);
  }
  for (const Account& account : witness_->accounts) answers += account.answered;
  EXPECT_GT(answers, cycles) << "it has to be killed while it works";
  std::printf("%d cycles in sync: %lld answers, none lost, none twice; %lld were on disk unheard\n",
              cycles, static_cast<long long>(answers), static_cast<long long>(unanswered));
}

TEST_F(KillTest, InBoundedNoMoreThanItsTimeIsLost) {
  MakeAccounts();
  std::mt19937 random(2);
  std::int64_t answers = 0, lost = 0;
  std::array<std::int64_t, kThreads> known{};  // how far each was when its process began
  Duration longest{0};
  const int cycles = Cycles();
  for (int cycle = 0; cycle < cycles && !HasFailure(); ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    RunAndKill(Durability::kBounded, cycle, std::chrono::microseconds(random() % 120'000));
    Result<std::unique_ptr<ResourceManager>> manager = Open(folder_, Durability::kBounded);
    ASSERT_TRUE(manager) << manager.error().ToString();
    // From the first answer that is missing to the last report that was answered at all.
    std::int64_t first_missing = std::numeric_limits<std::int64_t>::max(), last_answered = 0;
    for (std::size_t i = 0; i < kThreads; ++i) {
      Account& account = witness_->accounts[i];
      const std::int64_t counted = Counted(**manager, i);
      const bool has_answered = account.answered > known[i];
      answers += account.answered - known[i];
      known[i] = counted;
      lost += std::max<std::int64_t>(account.answered - counted, 0);
      if (account.answered > counted) {
        const std::size_t first = Account::Place(counted + 1);
        first_missing = std::min<std::int64_t>(first_missing, account.ended[first]);
      }
      // Else the time is that of a report that was said again, and waits.
      const std::size_t last = Account::Place(account.answered);
      if (has_answered) last_answered = std::max<std::int64_t>(last_answered, account.began[last]);
      // The next owner goes on behind what is there.
      account.asked = counted;
      account.answered = counted;
    }
    if (last_answered > first_missing) {
      const Duration missing(last_answered - first_missing);
      EXPECT_LE(missing, kPromise) << "answers of a longer time are missing";
      longest = std::max(longest, missing);
    }
    CheckSums(**manager);
    CheckSoft(**manager);
  }
  EXPECT_GT(answers, cycles) << "it has to be killed while it works";
  std::printf("%d cycles in bounded: %lld answers missing, of %lld ms at most\n", cycles,
              static_cast<long long>(lost),
              static_cast<long long>(longest / std::chrono::nanoseconds(1'000'000)));
}

}  // namespace
}  // namespace mete
