// The ledger against a short model of it: random operations over a tree in virtual time must give
// the same answers, events, receipts, sums, causes and intents.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

#include "quota/reference_test.h"
#include "quota/rule_rows_test.h"
#include "quota/store_double_test.h"

namespace mete::reference {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

const std::vector<TargetName>& Names() {
  static const std::vector<TargetName> names = {
      {QuotaScope::kTenant, "t"},
      {QuotaScope::kTenant, "u"},
      {QuotaScope::kSession, "r"},
      {QuotaScope::kSession, "s"},
      {QuotaScope::kSession, "t"},
      {QuotaScope::kAgent, "a"},
      {QuotaScope::kAgent, "b"},
      {QuotaScope::kAgent, "c"},
      {QuotaScope::kAgent, "d"},
      {QuotaScope::kAgent, "an agent whose name is longer than a short one"}};
  return names;
}

// One world and its model. A difference ends it, and is told in words. One that is stored is ended
// now and then, in order or as by a crash after a flush, and goes on from its store, of which some
// writes fail.
class Game {
 public:
  Game(std::uint64_t seed, Mistake mistake, bool stored = false)
      : random_(seed),
        driven_(Below(2) == 0),
        stored_(stored),
        config_(MakeConfig()),
        clock_(Time(hours(1000)), WallTime(hours(500'000))),
        manager_(Open()),
        events_(manager_->Events()),
        model_(config_, mistake) {
    model_.MoveTo(ModelNow());
  }

  // Nothing, while they agree.
  std::string Step() {
    Move(Span());
    if (stored_ && OneIn(25)) Restart();
    if (difference_.empty()) Operate();
    if (difference_.empty()) CompareEvents();
    const TargetName& one = Names()[Below(Names().size())];
    if (difference_.empty()) CompareAccount(one);
    return difference_.empty() ? "" : operation_ + ": " + difference_;
  }

  std::string CompareAll() {
    for (const TargetName& name : Names()) {
      if (difference_.empty()) CompareAccount(name);
    }
    Check(manager_->ListQuotas().size() == model_.accounts().size(), "accounts");
    CompareEvents();
    return difference_;
  }

  // Events and refusals by name, and how often they came.
  const std::map<std::string, int>& seen() const { return seen_; }

 private:
  std::uint64_t Below(std::uint64_t bound) { return random_() % bound; }
  bool OneIn(std::uint64_t n) { return Below(n) == 0; }

  void Check(bool same, const std::string& what) {
    if (!same && difference_.empty()) difference_ = what;
  }
  void CheckAmount(Wide is, Wide expected, const std::string& what) {
    if (is == expected || !difference_.empty()) return;
    difference_ = what + " is " + std::to_string(static_cast<std::int64_t>(is)) + ", expected " +
                  std::to_string(static_cast<std::int64_t>(expected));
  }

  // Restarts

  std::unique_ptr<ResourceManager> Open() {
    if (!stored_) return *ResourceManager::Create(config_, clock_);
    return *ResourceManager::Create(config_, clock_, std::make_unique<StoreDouble>(*disk_));
  }

  void Restart() {
    Operate();  // or hardly ever anything was written at this very moment
    CompareEvents();
    if (!difference_.empty()) return;
    operation_ = "restart";
    if (OneIn(4)) disk_->Fail(static_cast<int>(1 + Below(3)));
    if (OneIn(2)) {
      // A crash: what is written after the flush is lost with the old store.
      Flush();
      auto next = std::make_unique<StoreSwitch>(disk_->Image());
      manager_.reset();
      disk_ = std::move(next);
    } else {
      Flush();
      manager_.reset();
    }
    // Where the wall clock cannot be trusted, time stands still from the last batch on.
    const bool is_marked = disk_->Image().mark.time == clock_.Now();
    // What several deadlines that passed meanwhile do depends on which comes first: so not of games
    // that are driven by them.
    if (is_marked && !driven_ && OneIn(2)) Reboot();
    disk_->Fail(0);
    manager_ = Open();
    events_ = manager_->EventsAfter(last_event_);
    model_.MoveTo(ModelNow());
    std::vector<TargetName> order;
    for (const auto& [slot, quota] : disk_->Image().quotas) order.push_back(quota.target);
    model_.Restart(hours(24), order);
    given_.clear();
    number_of_.clear();
    if (next_usage_ != Time::max()) next_usage_ = clock_.Now() + config_.usage_report_interval;
    ++seen_["restart"];
  }

  // The machine is off for a while, and then on for one before this starts again.
  void Reboot() {
    const Duration off = seconds(Below(8000)), on = seconds(Below(8000));
    const bool trusted = OneIn(2);
    shift_ = ModelNow().time_since_epoch() + (trusted ? off : -on);
    clock_.SetSynchronised(trusted);
    clock_.Reboot(off);
    clock_.Advance(on);
    ++seen_[trusted ? "reboot" : "reboot with a wrong clock"];
  }

  // The clock begins anew with each boot.
  Time ModelNow() const { return clock_.Now() + shift_; }

  // Everything up to now is on disk, also if some writes fail.
  void Flush() {
    while (stored_ && !manager_->Flush()) {
    }
  }

  // Time

  Duration Span() {
    switch (Below(12)) {
      case 0: return driven_ ? Duration(minutes(Below(4))) : Duration(minutes(Below(90)));
      case 1: return seconds(Below(90));
      case 2: return OneIn(60) ? Duration(hours(Below(driven_ ? 30 : 60))) : Duration(1);
      case 3:
      case 4:
      case 5: return milliseconds(Below(9000));
      default: return Duration(static_cast<std::int64_t>(1 + Below(1000)));
    }
  }

  // Never zero, so that no two accounts end their windows at once.
  void Move(Duration by) {
    operation_ = "move";
    const Time end = clock_.Now() + by + Duration(1);
    while (driven_ && difference_.empty()) {
      const std::optional<Time> next = manager_->NextDeadline();
      const std::optional<Time> due = model_.NextDue();
      Check(!due || (next && *next + shift_ <= *due), "the next deadline comes too late");
      if (!next || *next > end) break;
      clock_.Advance(std::max(*next - clock_.Now(), Duration(0)));
      model_.MoveTo(ModelNow());
      const int at_once = model_.Due();
      if (clock_.Now() >= next_usage_) {
        model_.ReportUsage();
        next_usage_ = clock_.Now() + config_.usage_report_interval;
      }
      manager_->Advance();
      if (at_once > 1) {
        CompareUnordered();
      } else {
        CompareEvents();
      }
    }
    clock_.Advance(std::max(end - clock_.Now(), Duration(0)));
    model_.MoveTo(ModelNow());
  }

  // What is asked for

  ManagerConfig MakeConfig() {
    ManagerConfig config = Plain();
    for (Policy& policy : config.policies) policy = SomePolicy();
    if (OneIn(3)) config.thresholds = {10, 50, 90, 100};
    if (OneIn(2)) config.default_limits = SomeLimits();
    if (OneIn(3)) config.soft_grace_reported = seconds(Below(5));
    config.window = seconds(60 + Below(1000));
    config.events_kept = 100'000;
    if (driven_ && OneIn(2)) {
      config.usage_report_interval = seconds(60);
      next_usage_ = Time(hours(1000)) + seconds(60);
    }
    return config;
  }

  Policy SomePolicy() {
    return {static_cast<EnforcementMode>(Below(3)), static_cast<QuotaAction>(Below(4))};
  }

  ResourceLimits SomeLimits() {
    ResourceLimits limits;
    for (const LimitInfo& info : AllLimits()) {
      if (OneIn(3)) limits[info.kind] = SomeLimit(info.kind);
    }
    return limits;
  }

  Limit SomeLimit(LimitKind kind) {
    if (OneIn(8)) return Limit{};
    const std::uint64_t most = kind == LimitKind::kCpu ? 3 : 60;
    return Limit{static_cast<std::int64_t>(Below(most)), OneIn(2) ? "" : "as entered"};
  }

  Amount SomeAmounts(bool may_be_bad) {
    Amount amounts;
    for (std::uint64_t n = Below(4); n > 0; --n) {
      const auto resource = static_cast<Resource>(Below(kResourceCount));
      Wide amount = Wide(Below(resource == Resource::kCpu ? 200 : 30));
      if (may_be_bad && OneIn(200)) amount = OneIn(20) ? Wide(kMax) : -Wide(Below(9));
      amounts[resource] = amount;
    }
    return amounts;
  }

  static Amounts ToAmounts(const Amount& amounts) {
    Amounts result;
    for (const auto& [r, amount] : amounts) result.Set(r, static_cast<std::int64_t>(amount));
    return result;
  }

  // Operations

  void Operate() {
    const TargetName& name = Names()[Below(Names().size())];
    Account* account = model_.Find(name);
    if (account == nullptr || OneIn(60)) return Create(name);
    const std::uint64_t which = Below(100);
    operation_ = "operation " + std::to_string(which) + " on " + name.ToString();
    // Or what is to be done is hardly ever done, and undone, from one restart to the next.
    if (stored_ && OneIn(6)) return Enforce();
    if (which < 40) return Report(*account);
    if (which < 52) return Reserve(*account);
    if (which < 60) return Settle();
    if (which < 64) return Release();
    if (which < 68) return Enforce();
    if (which < 72) {
      const ResourceLimits limits = SomeLimits();
      Same(manager_->UpdateQuota(name, limits), "");
      return model_.Update(*account, limits);
    }
    if (which < 75) return Same(manager_->ResetQuota(name), ""), model_.Reset(*account);
    if (which < 77) return Same(manager_->Suspend(name), ""), model_.Suspend(*account);
    if (which < 83) {
      const bool all = OneIn(2);
      return Same(manager_->Resume(name, all), model_.Resume(*account, all));
    }
    if (which < 84) return Same(manager_->Terminate(name), ""), model_.Terminate(*account);
    if (which < 86) return Same(manager_->ClearThrottle(name), ""), model_.ClearThrottle(*account);
    if (which < 89) return Attach(*account);
    if (which < 91) return Same(manager_->Detach(name), ""), model_.Detach(*account);
    if (which < 92) {
      const bool cascade = OneIn(2);
      return Same(manager_->CleanupQuota(name, cascade), model_.Remove(*account, cascade));
    }
    Same(manager_->GetQuota(name), "");
    model_.Look(*account);
  }

  template <class T>
  void Same(const Result<T>& result, const std::string& expected) {
    const std::string code = result ? "" : ErrorCodeName(result.error().code);
    if (!code.empty()) ++seen_[code];
    Check(code == expected, "answers '" + code + "', expected '" + expected + "' " +
                                (result ? "" : result.error().message));
  }

  void Create(const TargetName& name) {
    operation_ = "create " + name.ToString();
    QuotaOptions options;
    if (name.scope != QuotaScope::kTenant && !OneIn(6)) {
      options.parent = Names()[Below(name.scope == QuotaScope::kAgent && !OneIn(20) ? 5 : 2)];
    }
    if (OneIn(3)) options.window = seconds(60 + Below(5000));
    if (OneIn(3)) options.policies[Below(kResourceCount)] = SomePolicy();
    options.exist_ok = OneIn(2);
    const ResourceLimits limits = SomeLimits();
    Same(manager_->CreateQuota(name, limits, options), model_.Create(name, limits, options));
  }

  void Attach(Account& account) {
    ResourceManager::Running running;
    running.cpu_held = OneIn(3);
    while (OneIn(2)) running.measured.Insert(static_cast<Resource>(Below(kResourceCount)));
    Same(manager_->Attach(account.name, running), "");
    model_.Attach(account, running);
  }

  void Report(Account& account) {
    const Amount amounts = SomeAmounts(true);
    const Source source = OneIn(3) ? Source::kSampled : Source::kReported;
    const Answer expected = model_.Report(account, amounts, source);
    const bool by_name = OneIn(2);
    const Result<Receipt> receipt =
        by_name
            ? manager_->ReportUsage(account.name, ToAmounts(amounts), source)
            : manager_->ReportUsage(*manager_->Resolve(account.name), ToAmounts(amounts), source);
    Same(receipt, expected.refusal);
    if (receipt && difference_.empty()) {
      CompareReceipt(*receipt, expected);
      Check(receipt->elapsed == ModelNow() - account.main_start, "elapsed");
    }
  }

  void CompareReceipt(const Receipt& receipt, const Answer& expected) {
    Check(receipt.recorded == expected.recorded, "recorded");
    Check(receipt.measured == expected.measured, "measured");
    Check(receipt.suspended == expected.state.contains(QuotaAction::kSuspend), "suspended");
    Check(receipt.throttled == expected.state.contains(QuotaAction::kThrottle), "throttled");
    Check(receipt.terminated == expected.state.contains(QuotaAction::kTerminate), "terminated");
    Check(receipt.action_pending == expected.pending, "pending");
    CheckAmount(receipt.retry_after.count(), expected.retry_after.count(), "retry_after");
    for (const auto& [r, used] : expected.used) {
      const auto i = static_cast<std::size_t>(r);
      const std::string name(NameOf(r));
      CheckAmount(receipt.used[i], used, "used " + name);
      CheckAmount(receipt.limit[i], expected.limit.at(r), "limit of " + name);
      CheckAmount(receipt.remaining[i], expected.remaining.at(r), "remaining " + name);
    }
  }

  void Reserve(Account& account) {
    const Amount amounts = SomeAmounts(false);
    std::optional<Duration> ttl;
    if (OneIn(3)) ttl = Duration(static_cast<std::int64_t>(1 + Below(600'000'000'000)));
    Result<Reservation> hold = manager_->Reserve(account.name, ToAmounts(amounts), {.ttl = ttl});
    const Answer expected = model_.Reserve(account, amounts, last_hold_ + 1, ttl);
    Same(hold, expected.refusal);
    if (!hold) return Check(hold.error().retry_after == expected.retry, "retry");
    Check(hold->Detach() == ++last_hold_, "the number of the hold");
  }

  HoldId SomeHold() { return last_hold_ - std::min<HoldId>(last_hold_, Below(8)); }

  void Settle() {
    const HoldId id = SomeHold();
    const Amount actual = SomeAmounts(false);
    const Result<Settlement> settlement = manager_->Settle(id, ToAmounts(actual));
    const Answer expected = model_.Settle(id, actual);
    Same(settlement, expected.refusal);
    if (!settlement || !difference_.empty()) return;
    if (expected.is_restored) {
      Check(settlement->receipt.replayed, "a settlement that a store has kept");
    } else {
      CompareReceipt(settlement->receipt, expected);
    }
    Check(settlement->used.named() == expected.recorded, "settled");
    Check(settlement->above_hold == ToAmounts(expected.above), "above the hold");
  }

  void Release() {
    const HoldId id = SomeHold();
    if (OneIn(4)) return manager_->Abandon(id), model_.Abandon(id);
    Same(manager_->Release(id), model_.Release(id));
  }

  void Enforce() {
    if (OneIn(2) && !given_.empty()) {
      const Intent intent = given_.back();
      given_.pop_back();
      const bool done = !driven_ || OneIn(2);
      Account* agent = model_.Find(intent.target);
      const bool stale = agent == nullptr || number_of_[intent.id] != agent;
      if (!stale) model_.Finish(*agent, intent.verb, done);
      return manager_->FinishIntent(intent, done ? Result<void>() : Fail(ErrorCode::kSystem, "no"));
    }
    std::map<std::string, Verb> expected;
    for (const auto& [name, account] : model_.accounts()) {
      if (account->name.scope != QuotaScope::kAgent) continue;
      if (const auto verb = model_.VerbFor(*account)) expected[account->name.id] = *verb;
    }
    for (const Intent& intent : manager_->TakeIntents()) {
      const auto found = expected.find(intent.target.id);
      Check(found != expected.end() && found->second == intent.verb,
            "intent to " + std::string(NameOf(intent.verb)) + " " + intent.target.id);
      if (found == expected.end()) return;
      expected.erase(found);
      Account* agent = model_.Find(intent.target);
      CheckAmount(intent.attempt, agent->failed == intent.verb ? agent->failures + 1 : 1,
                  "attempt");
      agent->in_flight = true;
      number_of_[intent.id] = agent;
      given_.push_back(intent);
      ++seen_[std::string(NameOf(intent.verb))];
    }
    for (const auto& [id, verb] : expected) Check(false, "no intent for " + id);
  }

  // Comparison

  std::vector<Event> TakeEvents() {
    Flush();
    std::vector<Event> events = events_.Take(100'000).events;
    if (!events.empty()) last_event_ = events.back().sequence;
    std::erase_if(events, [](const Event& event) {
      return event.kind == EventKind::kStoreUnavailable || event.kind == EventKind::kStoreRecovered;
    });
    return events;
  }

  void CompareEvents() {
    std::vector<Happened> expected = model_.TakeEvents();
    std::vector<Event> events = TakeEvents();
    // Records of usage come account by account, in no order that the rules would name.
    std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
      if (a.kind != EventKind::kUsage || b.kind != EventKind::kUsage)
        return a.sequence < b.sequence;
      return a.target.ToString() < b.target.ToString();
    });
    for (std::size_t i = 0; i < events.size() && difference_.empty(); ++i) {
      const Event& event = events[i];
      ++seen_[std::string(NameOf(event.kind))];
      if (i == expected.size()) return Check(false, "one event more: " + TextOf(event));
      const Happened& one = expected[i];
      const std::string text = "event " + TextOf(event) + ": ";
      Check(event.kind == one.kind, text + "expected " + std::string(NameOf(one.kind)));
      Check(event.target == *one.target, text + "expected to happen to " + one.target->ToString());
      Check(event.account == *one.account, text + "expected of " + one.account->ToString());
      Check(event.limit == one.limit, text + "another limit");
      Check(event.percent == one.percent, text + "percent");
      CheckAmount(event.used, one.used, text + "used");
      CheckAmount(event.amount, one.amount, text + "amount");
      CheckAmount(event.windows, one.windows, text + "windows");
      Check(event.time == clock_.Now(), text + "time");
      if (event.kind == EventKind::kUsage || event.kind == EventKind::kRemoved) {
        Check(event.usage == one.usage, text + "usage");
      }
    }
    if (events.size() < expected.size()) {
      Check(false, "no event " + std::string(NameOf(expected[events.size()].kind)) + " of " +
                       expected[events.size()].target->ToString());
    }
  }

  // Of several that are due at once, nothing says which is first; and the last one to end is named
  // as what freed a target.
  void CompareUnordered() {
    std::vector<std::string> is, expected;
    for (const Event& event : TakeEvents()) {
      is.push_back(std::string(NameOf(event.kind)) + " " + event.target.ToString());
    }
    for (const Happened& one : model_.TakeEvents()) {
      expected.push_back(std::string(NameOf(one.kind)) + " " + one.target->ToString());
    }
    std::sort(is.begin(), is.end());
    std::sort(expected.begin(), expected.end());
    Check(is == expected, "the events of several that were due at once");
  }

  void CompareAccount(const TargetName& name) {
    Account* account = model_.Find(name);
    const Result<ResourceQuota> quota = manager_->GetQuota(name);
    Check(quota.has_value() == (account != nullptr), "existence of " + name.ToString());
    if (!quota || account == nullptr) return;
    model_.Look(*account);
    CompareEvents();
    const std::string text = name.ToString() + ": ";
    Check(quota->causes == model_.CausesOf(*account), text + "causes");
    const std::set<QuotaAction> state = model_.StateOf(*account);
    Check(quota->suspended == state.contains(QuotaAction::kSuspend), text + "suspended");
    Check(quota->throttled == state.contains(QuotaAction::kThrottle), text + "throttled");
    Check(quota->terminated == state.contains(QuotaAction::kTerminate), text + "terminated");
    Check(quota->usage == model_.Window(*account), text + "usage of the window");
    Check(*manager_->GetUsage(name) == model_.Lifetime(*account), text + "usage of the lifetime");
    Check(quota->parent.has_value() == (account->parent != nullptr), text + "parent");
    Check(quota->windows.size() == account->lines.size(), text + "limits");
    auto line = account->lines.begin();
    for (const LimitUsage& is : quota->windows) {
      if (!difference_.empty()) return;
      const auto& [kind, expected] = *line++;
      const std::string limit = text + std::string(InfoOf(is.kind).name);
      Check(is.kind == kind, limit + ": order");
      CheckAmount(is.limit.amount, expected.limit, limit);
      CheckAmount(is.effective, model_.Effective(*account, expected), limit + ": effective");
      CheckAmount(is.used, model_.Used(*account, kind), limit + ": used");
      CheckAmount(is.held, model_.Held(*account, InfoOf(kind).resource), limit + ": held");
      const bool has_window = InfoOf(kind).counting == Counting::kWindow || kind == LimitKind::kCpu;
      Check(is.reset_at.has_value() == has_window, limit + ": window");
      if (is.reset_at)
        Check(*is.reset_at + shift_ == model_.EndOf(*account, kind), limit + ": reset_at");
      Check(is.violated == (model_.IsCompared(*account, expected) && is.used > is.effective),
            limit + ": violated");
    }
  }

  std::mt19937_64 random_;
  const bool driven_;  // by its deadlines, as a program would; else only by what is asked
  Time next_usage_ = Time::max();
  const bool stored_;
  std::unique_ptr<StoreSwitch> disk_ = std::make_unique<StoreSwitch>();
  ManagerConfig config_;
  VirtualClock clock_;
  Duration shift_{0};  // of the model's time, which goes on over a reboot
  std::uint64_t last_event_ = 0;
  std::unique_ptr<ResourceManager> manager_;
  EventReader events_;
  Model model_;
  HoldId last_hold_ = 0;
  std::vector<Intent> given_;
  std::map<std::uint64_t, const Account*> number_of_;  // whose intent it was
  std::string operation_, difference_;
  std::map<std::string, int> seen_;
};

std::string Play(std::uint64_t seed, Mistake mistake, int steps, std::map<std::string, int>& seen,
                 bool stored = false) {
  Game game(seed, mistake, stored);
  for (int step = 0; step < steps; ++step) {
    const std::string difference = game.Step();
    if (!difference.empty()) {
      return "seed " + std::to_string(seed) + ", number " + std::to_string(step) + ": " +
             difference;
    }
  }
  const std::string difference = game.CompareAll();
  for (const auto& [name, times] : game.seen()) seen[name] += times;
  return difference;
}

// METE_SEED plays other games.
std::uint64_t FirstSeed() {
  const char* const text = std::getenv("METE_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

TEST(LedgerModel, AMillionRandomOperationsFollowTheRules) {
  constexpr int kGames = kIsSlowed ? 200 : 2000, kSteps = 500;
  const std::uint64_t first = FirstSeed();
  std::cout << "seeds from " << first << "\n";
  std::map<std::string, int> seen;
  for (std::uint64_t seed = first; seed < first + kGames; ++seed) {
    ASSERT_EQ(Play(seed, Mistake::kNone, kSteps, seen), "");
  }
  // Every kind of event, every refusal and every verb was played often enough to mean something.
  EXPECT_EQ(seen.size(), 15u + 6u + 5u);
  for (const auto& [name, times] : seen) EXPECT_GT(times, kIsSlowed ? 5 : 100) << name;
}

// With a store, over restarts, crashes and reboots, and with writes that fail.
TEST(LedgerModel, AHundredThousandOfThemDoSoOverRestarts) {
  constexpr int kGames = kIsSlowed ? 40 : 200, kSteps = 500;
  const std::uint64_t first = FirstSeed();
  std::map<std::string, int> seen;
  for (std::uint64_t seed = first; seed < first + kGames; ++seed) {
    ASSERT_EQ(Play(seed, Mistake::kNone, kSteps, seen, true), "");
  }
  std::cout << seen["restart"] << " restarts, " << seen["reboot"] << " reboots, "
            << seen["reboot with a wrong clock"] << " with a wrong clock\n";
  EXPECT_EQ(seen.size(), 15u + 6u + 5u + 3u);
  for (const auto& [name, times] : seen) EXPECT_GT(times, kIsSlowed ? 0 : 3) << name;
}

// The comparison sees each of these within a few games.
TEST(LedgerModel, AModelWithAMistakeIsFoundOut) {
  for (int i = 1; i <= static_cast<int>(kLastMistake); ++i) {
    std::map<std::string, int> seen;
    std::string difference;
    for (std::uint64_t seed = 1; seed <= 50 && difference.empty(); ++seed) {
      difference = Play(seed, static_cast<Mistake>(i), 500, seen);
    }
    EXPECT_NE(difference, "") << "mistake " << i;
  }
}

}  // namespace
}  // namespace mete::reference
