// Accounts against a short model that is written from the rules alone: one struct of plain numbers
// per limit, every window walked boundary by boundary, every threshold compared each time. Random
// operations in virtual time must give the same answers, events, causes and sums.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "quota/account.h"
#include "quota/account_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
__extension__ using Wide = __int128;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

struct ModelLimit {
  LimitKind kind{};
  Counting counting{};
  Resource resource{};
  bool set = false;
  Wide limit = kMax;
  Wide used = 0, held = 0;
  Duration start{0}, length{0};  // windows
  Wide content = 0, passed = 0;  // rates: ticks in the bucket; ticks that have left it
  std::set<int> above;           // edges that were raised and have not re-armed; 100: the limit
  bool warned = false, acted = false, lifted = false;
  Duration warned_at{0};
  std::optional<QuotaAction> cause;

  std::string name() const { return std::string(InfoOf(kind).name); }
  bool over() const { return used > limit; }
  void Forget() { warned = acted = lifted = false; }
};

struct ModelHold {
  std::map<Resource, Wide> reserved;
  std::optional<Wide> rate_end;  // where its requests end in all that ever entered the bucket
};

class Model {
 public:
  explicit Model(const AccountConfig& config) : config_(config) {
    for (std::size_t i = 0; i < kLimitKindCount; ++i) {
      const LimitInfo& info = InfoOf(static_cast<LimitKind>(i));
      if (info.counting == Counting::kCores) continue;
      ModelLimit one;
      one.kind = info.kind;
      one.counting = info.counting;
      one.resource = info.resource;
      one.length = info.window == hours(1) ? config.main_window : info.window;
      if (const auto& limit = config.limits[info.kind]) one.set = true, one.limit = limit->amount;
      limits_.push_back(one);
    }
  }

  std::string TakeEvents() { return std::exchange(events_, ""); }
  std::vector<ModelLimit>& limits() { return limits_; }
  Wide lifetime(Resource r) { return lifetime_[r]; }
  std::optional<LimitKind> terminate() const { return terminate_; }
  bool operator_suspended() const { return operator_; }

  bool Wants(QuotaAction action) const {
    return (action == QuotaAction::kSuspend && operator_) ||
           std::any_of(limits_.begin(), limits_.end(),
                       [&](const ModelLimit& one) { return one.cause == action; });
  }

  void Advance(Duration now) {
    for (ModelLimit& one : limits_) {
      if (one.counting == Counting::kWindow) {
        int boundaries = 0;
        for (; now >= one.start + one.length; one.start += one.length) ++boundaries;
        if (boundaries == 0) continue;
        const Wide rolled = std::exchange(one.used, 0);
        one.above.clear();
        one.Forget();
        if (one.set) {
          Event("window_rolled " + one.name() + " " + Shown(one, rolled) + " x" +
                std::to_string(boundaries));
        }
        EndCause(one);
      } else if (one.counting == Counting::kRate) {
        const Wide drained = std::min(one.content, Wide((now - now_).count()) * one.limit);
        one.content -= drained;
        one.passed += drained;
        Fell(one);
      }
    }
    now_ = now;
  }

  // Empty, or the code of the refusal.
  std::string Report(const std::map<Resource, Wide>& amounts, Duration grace) {
    for (const auto& [resource, amount] : amounts) {
      if (!Fits(resource, amount, nullptr)) return "E2071";
    }
    for (const auto& [resource, amount] : amounts) Count(resource, amount, nullptr, grace);
    return "";
  }

  std::string Reserve(int id, const std::map<Resource, Wide>& amounts) {
    ModelHold hold{amounts, std::nullopt};
    for (const bool rates : {false, true}) {
      for (ModelLimit& one : limits_) {
        if ((one.counting == Counting::kRate) != rates || !amounts.count(one.resource)) continue;
        const Wide amount = amounts.at(one.resource);
        if (amount == 0) continue;
        if (rates) {
          if (amount > one.limit) return "E2072";
          if (one.content + amount * Period(one) > one.limit * Period(one)) return "E2077";
        } else if (one.used + one.held + amount > one.limit) {
          if (one.limit == kMax) return "E2071";
          return one.cause == QuotaAction::kThrottle && one.counting == Counting::kWindow ? "E2077"
                                                                                          : "E2072";
        }
      }
    }
    for (ModelLimit& one : limits_) {
      if (!amounts.count(one.resource)) continue;
      const Wide amount = amounts.at(one.resource);
      if (one.counting == Counting::kRate) {
        one.content += amount * Period(one);
        hold.rate_end = one.passed + one.content;
        Fell(one);
      } else {
        one.held += amount;
      }
    }
    holds_[id] = hold;
    return "";
  }

  std::string Settle(int id, const std::map<Resource, Wide>& actual) {
    if (!holds_.count(id)) return "E2070";
    const ModelHold hold = holds_[id];
    std::map<Resource, Wide> used = actual;
    used.insert(hold.reserved.begin(), hold.reserved.end());
    for (const auto& [resource, amount] : used) {
      if (!Fits(resource, amount, &hold)) return "E2071";
    }
    for (const auto& [resource, amount] : used) {
      Count(resource, amount, &hold, config_.soft_grace_reported);
    }
    holds_.erase(id);
    return "";
  }

  std::string Release(int id) {
    if (!holds_.count(id)) return "E2070";
    for (ModelLimit& one : limits_) {
      if (!holds_[id].reserved.count(one.resource)) continue;
      const Wide amount = holds_[id].reserved[one.resource];
      if (one.counting != Counting::kRate) one.held -= amount;
      if (one.counting == Counting::kRate) GiveBack(one, *holds_[id].rate_end, amount);
      if (one.counting != Counting::kWindow) Fell(one);
    }
    holds_.erase(id);
    return "";
  }

  void SetLimit(ModelLimit& one, std::int64_t amount) {
    const bool raised = amount > one.limit;
    one.limit = amount;
    one.set = true;
    Event("updated " + one.name() + " " + Shown(one, amount));
    if (raised) one.acted = one.lifted = false, EndCause(one);
    Looked(one, true, config_.soft_grace_reported);
  }

  void Reset() {
    Event("reset");
    for (ModelLimit& one : limits_) {
      if (one.counting == Counting::kWindow) one.used = 0, one.start = now_, one.above.clear();
      if (one.counting == Counting::kRate) {
        one.passed += one.content;
        one.content = one.used = 0;
        one.above.clear();
      }
      one.Forget();
      EndCause(one);
    }
  }

  void Suspend() {
    if (!operator_) Event("suspended");
    operator_ = true;
  }

  std::string Resume(bool override_causes) {
    for (ModelLimit& one : limits_) {
      if (override_causes && one.cause) one.lifted = true, EndCause(one);
    }
    const bool was = std::exchange(operator_, false);
    if (Wants(QuotaAction::kSuspend)) return "E2072";
    if (was) Event("resumed");
    return "";
  }

 private:
  static std::string Shown(const ModelLimit& one, Wide value) {
    const auto amount = static_cast<std::int64_t>(value);
    if (amount == kMax) return "none";
    return InfoOf(one.kind).unit == Unit::kNano ? FormatNanoDecimal(amount)
                                                : std::to_string(amount);
  }
  static Wide Period(const ModelLimit& one) { return one.length.count(); }
  void Event(const std::string& text) { events_ += (events_.empty() ? "" : "; ") + text; }

  void EndCause(ModelLimit& one) {
    if (!one.cause) return;
    const QuotaAction was = *std::exchange(one.cause, std::nullopt);
    if (!Wants(was)) Event("resumed " + one.name());
  }

  void GiveBack(ModelLimit& one, Wide end, Wide count) {
    const Wide back = std::min(std::max<Wide>(0, end - one.passed), count * Period(one));
    one.content -= back;
    one.passed += back;
  }

  bool Fits(Resource resource, Wide amount, const ModelHold* hold) {
    if (amount < 0) return false;
    for (const ModelLimit& one : limits_) {
      if (one.resource != resource) continue;
      const bool shared = hold != nullptr && hold->reserved.count(resource) > 0;
      const Wide share = shared ? hold->reserved.at(resource) : 0;
      Wide after = one.used + one.held - share + amount;
      if (one.counting == Counting::kLevel && !shared) after = one.held + amount;
      if (one.counting == Counting::kRate) {
        const Wide added = std::max<Wide>(0, amount - share) * Period(one);
        after = (one.content + added + Period(one) - 1) / Period(one);
      }
      if (after > kMax) return false;
      if (one.counting != Counting::kLevel && lifetime_[resource] + amount > kMax) return false;
    }
    return true;
  }

  void Count(Resource resource, Wide amount, const ModelHold* hold, Duration grace) {
    const bool shared = hold != nullptr && hold->reserved.count(resource) > 0;
    const Wide share = shared ? hold->reserved.at(resource) : 0;
    bool told = false, level = false;
    for (ModelLimit& one : limits_) {
      if (one.resource != resource) continue;
      if (one.counting == Counting::kRate) {
        if (amount < share) GiveBack(one, *hold->rate_end, share - amount);
        if (amount > share) one.content += (amount - share) * Period(one);
        one.used = (one.content + Period(one) - 1) / Period(one);
      } else {
        one.held -= share;
        one.used = one.counting == Counting::kLevel && !shared ? amount : one.used + amount;
      }
      level = one.counting == Counting::kLevel;
      if (level) lifetime_[resource] = std::max(lifetime_[resource], one.used);
      if (hold != nullptr && amount > share && one.set && !std::exchange(told, true)) {
        Event("settled_above_hold " + one.name() + " " + Shown(one, amount - share));
      }
      Looked(one, amount > 0, grace);
    }
    if (!level) lifetime_[resource] += amount;
  }

  void Edge(ModelLimit& one, int percent, Wide at, const std::string& text) {
    const bool falls = one.counting != Counting::kWindow
                           ? one.used * 100 <= one.limit * std::max(0, percent - 5)
                           : one.used < at;
    if (one.used >= at && one.above.insert(percent).second) Event(text + one.name());
    if (falls) one.above.erase(percent);
  }

  void Looked(ModelLimit& one, bool charge, Duration grace) {
    if (one.limit == kMax) {
      one.above.clear();
    } else {
      for (const int percent : config_.thresholds) {
        if (one.limit == 0) {
          one.above.erase(percent);
          continue;
        }
        Edge(one, percent, (one.limit * percent + 99) / 100,
             "threshold " + std::to_string(percent) + "% ");
      }
      Edge(one, 100, one.limit + 1, "violation ");
    }
    if (!one.over() && one.counting != Counting::kWindow) {
      one.acted = false;
      if (one.used * 100 <= one.limit * 95) one.Forget();
      EndCause(one);
    }
    if (one.over() && charge) Answer(one, grace);
  }

  // A rate drained, or something was given back.
  void Fell(ModelLimit& one) {
    if (one.counting == Counting::kRate) one.used = (one.content + Period(one) - 1) / Period(one);
    Looked(one, false, Duration(0));
  }

  void Answer(ModelLimit& one, Duration grace) {
    const Policy policy = config_.policies[static_cast<std::size_t>(one.resource)];
    const bool warns = policy.mode != EnforcementMode::kHard && !one.warned;
    const bool waits =
        policy.mode == EnforcementMode::kSoftThenHard && now_ < one.warned_at + grace;
    if (warns) {
      one.warned = true;
      one.warned_at = now_;
      Event("warned " + one.name());
      return;
    }
    if (policy.mode == EnforcementMode::kWarnOnly || waits || one.acted || one.lifted) return;
    one.acted = true;
    if (policy.action == QuotaAction::kWarn) Event("warned " + one.name());
    if (policy.action == QuotaAction::kThrottle) Event("throttled " + one.name());
    if (policy.action == QuotaAction::kSuspend) Event("suspended " + one.name());
    if (policy.action == QuotaAction::kThrottle || policy.action == QuotaAction::kSuspend) {
      one.cause = policy.action;
    }
    if (policy.action == QuotaAction::kTerminate && !terminate_) {
      terminate_ = one.kind;
      Event("terminated " + one.name());
    }
  }

  AccountConfig config_;
  Duration now_{0};
  std::vector<ModelLimit> limits_;
  std::map<Resource, Wide> lifetime_;
  std::map<int, ModelHold> holds_;
  bool operator_ = false;
  std::optional<LimitKind> terminate_;
  std::string events_;
};

class Game {
 public:
  explicit Game(std::uint64_t seed)
      : random_(seed), config_(MakeConfig()), model_(config_), account_(config_, Time{}) {}

  void Step() {
    now_ += Span();
    const Time now{now_};
    model_.Advance(now_);
    switch (Below(20)) {
      case 0: return Limits(now);
      case 1: return Below(4) == 0 ? (account_.Reset(now), model_.Reset()) : Advance(now);
      case 2: return account_.Suspend(now), model_.Suspend();
      case 3: {
        const bool all = Below(2) == 0;
        return Same(account_.Resume(all, now), model_.Resume(all));
      }
      case 4:
      case 5: return Release(now);
      case 6:
      case 7:
      case 8: return Settle(now);
      case 9:
      case 10:
      case 11: return Reserve(now);
      case 12: return Advance(now);
      default: return Report(now);
    }
  }

  void Compare() {
    const std::vector<Event> events = account_.TakeEvents();
    for (const Event& event : events) ++seen_[std::string(NameOf(event.kind))];
    ASSERT_EQ(TextOf(events), model_.TakeEvents());
    const Wants wants = account_.wants();
    ASSERT_EQ(wants.suspend, model_.Wants(QuotaAction::kSuspend));
    ASSERT_EQ(wants.throttle, model_.Wants(QuotaAction::kThrottle));
    ASSERT_EQ(wants.terminate, model_.terminate());
    std::vector<Cause> causes;
    if (model_.operator_suspended()) causes.push_back(std::nullopt);
    const std::vector<LimitUsage> all = account_.usage();
    auto usage = all.begin();
    std::optional<Time> deadline;
    for (const ModelLimit& one : model_.limits()) {
      if (one.cause) causes.push_back(one.kind);
      if (!one.set) continue;
      ASSERT_NE(usage, all.end());
      ASSERT_EQ(usage->kind, one.kind);
      ASSERT_EQ(Wide(usage->limit.amount), one.limit) << one.name();
      ASSERT_TRUE(Wide(usage->used) == one.used) << one.name() << " used " << usage->used;
      ASSERT_TRUE(Wide(usage->held) == one.held) << one.name() << " held " << usage->held;
      ASSERT_EQ(usage->violated, one.over()) << one.name();
      if (one.counting == Counting::kWindow) {
        ASSERT_EQ(usage->reset_at, Time(one.start + one.length));
        deadline = std::min(deadline.value_or(Time::max()), *usage->reset_at);
      }
      if (one.counting == Counting::kRate && one.over() && one.limit > 0) {
        const Wide excess = one.content - one.limit * one.length.count();
        const Wide wait = (excess + one.limit - 1) / one.limit;
        deadline = std::min(deadline.value_or(Time::max()),
                            Time(now_ + Duration(static_cast<std::int64_t>(wait))));
      }
      ++usage;
    }
    ASSERT_EQ(usage, all.end());
    ASSERT_EQ(account_.causes(), causes);
    ASSERT_EQ(account_.NextDeadline(), deadline);
    for (std::size_t i = 0; i < kResourceCount; ++i) {
      const auto resource = static_cast<Resource>(i);
      ASSERT_TRUE(Wide(account_.lifetime(resource)) == model_.lifetime(resource));
    }
  }

  // Events and refusals by name, and how often they came.
  const std::map<std::string, int>& seen() const { return seen_; }

 private:
  std::uint64_t Below(std::uint64_t bound) { return random_() % bound; }

  Duration Span() {
    switch (Below(12)) {
      case 0: return minutes(Below(90));
      case 1: return seconds(Below(90));
      case 2: return Below(40) == 0 ? Duration(hours(Below(60))) : Duration(0);
      case 3:
      case 4:
      case 5: return milliseconds(Below(9000));
      case 6: return Duration(static_cast<std::int64_t>(Below(1000)));
      default: return Duration(0);
    }
  }

  std::int64_t LimitAmount() { return Below(8) == 0 ? kMax : static_cast<std::int64_t>(Below(60)); }

  AccountConfig MakeConfig() {
    AccountConfig config;
    config.id = "random";
    for (const LimitInfo& info : AllLimits()) {
      if (info.kind == LimitKind::kCpu || Below(3) == 0) continue;
      config.limits[info.kind] = Limit{LimitAmount(), ""};
    }
    for (Policy& policy : config.policies) {
      policy.mode = static_cast<EnforcementMode>(Below(3));
      policy.action = static_cast<QuotaAction>(Below(4));
    }
    if (Below(3) == 0) config.thresholds = {10, 50, 90};
    if (Below(2) == 0) config.main_window = seconds(1 + Below(600));
    return config;
  }

  std::map<Resource, Wide> SomeAmounts(bool may_be_bad) {
    std::map<Resource, Wide> amounts;
    for (std::uint64_t n = 1 + Below(3); n > 0; --n) {
      Wide amount = Wide(Below(30));
      if (may_be_bad && Below(60) == 0) amount = Below(2) == 0 ? -Wide(Below(9)) : Wide(kMax);
      amounts[static_cast<Resource>(Below(kResourceCount))] = amount;
    }
    return amounts;
  }

  static Amounts ToAmounts(const std::map<Resource, Wide>& amounts) {
    Amounts result;
    for (const auto& [r, amount] : amounts) result[r] = static_cast<std::int64_t>(amount);
    return result;
  }

  template <class T>
  void Same(const Result<T>& result, const std::string& expected) {
    ASSERT_EQ(result ? "" : ErrorCodeName(result.error().code), expected)
        << (result ? "" : result.error().message);
    if (!result) ++seen_[expected];
  }

  void Advance(Time now) { account_.Advance(now); }

  void Report(Time now) {
    const auto amounts = SomeAmounts(true);
    const bool sampled = Below(2) == 0;
    for (const auto& [r, amount] : amounts) {
      // Once a total is at its end, nothing more could be learned from the account.
      if (amount == Wide(kMax) && Below(10) != 0) return Advance(now);
    }
    const bool suspended = model_.Wants(QuotaAction::kSuspend);
    const bool throttled = model_.Wants(QuotaAction::kThrottle);
    const auto ended = model_.terminate();
    const auto result =
        account_.Report(ToAmounts(amounts), sampled ? Source::kSampled : Source::kReported, now);
    const auto expected =
        model_.Report(amounts, sampled ? config_.soft_grace_sampled : config_.soft_grace_reported);
    ASSERT_NO_FATAL_FAILURE(Same(result, expected));
    // A refused sign is found before the time is looked at.
    if (!result) return Advance(now);
    ASSERT_EQ(result->suspended, model_.Wants(QuotaAction::kSuspend));
    ASSERT_EQ(result->throttled, model_.Wants(QuotaAction::kThrottle));
    ASSERT_EQ(result->action_pending, result->suspended > suspended ||
                                          result->throttled > throttled ||
                                          model_.terminate() != ended);
  }

  void Reserve(Time now) {
    const auto amounts = SomeAmounts(false);
    const auto hold = account_.Reserve(ToAmounts(amounts), now);
    ASSERT_NO_FATAL_FAILURE(Same(hold, model_.Reserve(next_hold_, amounts)));
    if (!hold) return;
    ASSERT_EQ(*hold, static_cast<Account::HoldId>(next_hold_));
    open_.push_back(next_hold_++);
  }

  int TakeHold() {
    if (open_.empty()) return 0;
    const auto which = static_cast<std::ptrdiff_t>(Below(open_.size()));
    const int id = open_[static_cast<std::size_t>(which)];
    open_.erase(open_.begin() + which);
    return id;
  }

  void Settle(Time now) {
    const int id = TakeHold();
    const auto actual = SomeAmounts(false);
    const auto result = account_.Settle(static_cast<Account::HoldId>(id), ToAmounts(actual), now);
    const std::string expected = model_.Settle(id, actual);
    ASSERT_NO_FATAL_FAILURE(Same(result, expected));
    if (!result) Advance(now);
    if (expected == "E2071") open_.push_back(id);
  }

  void Release(Time now) {
    const int id = TakeHold();
    Same(account_.Release(static_cast<Account::HoldId>(id), now), model_.Release(id));
  }

  void Limits(Time now) {
    ResourceLimits limits;
    for (ModelLimit& one : model_.limits()) {
      if (Below(4) != 0) continue;
      const std::int64_t amount = LimitAmount();
      limits[one.kind] = Limit{amount, ""};
      model_.SetLimit(one, amount);
    }
    Same(account_.SetLimits(limits, now), "");
  }

  std::mt19937_64 random_;
  AccountConfig config_;
  Model model_;
  Account account_;
  Duration now_{0};
  int next_hold_ = 1;
  std::vector<int> open_;
  std::map<std::string, int> seen_;
};

TEST(AccountModel, RandomOperationsFollowTheRules) {
  constexpr int kGames = 2500, kSteps = 120;
  std::map<std::string, int> seen;
  for (std::uint64_t seed = 1; seed <= kGames; ++seed) {
    Game game(seed);
    for (int step = 0; step < kSteps; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      ASSERT_NO_FATAL_FAILURE(game.Step());
      ASSERT_NO_FATAL_FAILURE(game.Compare());
    }
    for (const auto& [name, times] : game.seen()) seen[name] += times;
  }
  // Every kind of event and every refusal was played often enough to mean something.
  EXPECT_EQ(seen.size(), 11u + 4u);
  for (const auto& [name, times] : seen) EXPECT_GT(times, 500) << name;
}

}  // namespace
}  // namespace mete
