// A slow model of the ledger, written from the rules: plain maps and 128-bit numbers, no edges, no
// caches. What an account has used is summed up from what happened below it each time it is asked
// for; every threshold is compared each time.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mete/resource_manager.h"

namespace mete::reference {

__extension__ using Wide = __int128;
using Amount = std::map<Resource, Wide>;

// A rule that the model gets wrong on purpose: then the comparison has to fail.
enum class Mistake {
  kNone,
  kEqualIsOver,           // rule 1
  kLevelsStay,            // rule 6: removal returns no levels
  kWindowLosesItsPhase,   // rule 7
  kResetKeepsTheWarning,  // rule 8
  kNeverRearms,           // rule 9
  kGraceIsIgnored,        // rule 10
  kRaiseKeepsTheCause,    // rule 11
  kNewAgentsAreFree,      // rule 12
  kOverrideIsForAll,      // rule 12
  kLevelsAdd,             // rule 13
  kHoldsEndWithWindows,   // rule 14
  kMeasuredCounts,        // rule 15
  kReportsDrainNothing,   // rule 16
};
inline constexpr Mistake kLastMistake = Mistake::kReportsDrainNothing;

struct Happened {
  EventKind kind{};
  const TargetName* target = nullptr;
  const TargetName* account = nullptr;
  std::optional<LimitKind> limit;
  int percent = 0;
  Wide used = 0, amount = 0;
  std::int64_t windows = 0;
  ResourceUsage usage{};  // kUsage, kRemoved
};

struct Line {
  LimitKind kind{};
  Wide limit = 0;
  std::set<int> above;  // edges that were raised and have not re-armed; 1000: the limit
  bool warned = false, acted = false, lifted = false;
  Time warned_at{};
  std::optional<QuotaAction> cause;
};

struct Bucket {  // of a rate, in ticks: a request is as many as its period has nanoseconds
  Wide limit = 0, content = 0, passed = 0;
  Time looked{};
  int number = 0;
};

struct Account {
  TargetName name;
  Account* parent = nullptr;
  std::vector<Account*> children;
  PolicySet policies{};
  Duration window{};
  Time main_start{}, day_start{};
  std::map<LimitKind, Line> lines;
  // Flows: reported of itself, and left by those that were removed below. Levels: of itself.
  Amount own, main_base, day_base;
  Amount peak, peak_before;
  std::optional<Bucket> rate;
  int rates = 0;
  bool operator_suspend = false, operator_terminate = false;
  bool running = false, cpu_held = false, changed = false;
  ResourceSet measured;
  std::set<std::pair<const Account*, LimitKind>> lifted;
  // What the enforcer did.
  std::set<QuotaAction> is;
  bool in_flight = false, restarted = false;  // meanwhile
  int failures = 0;
  std::optional<Verb> failed;
  Time retry_at{};
};

struct Hold {
  Account* account = nullptr;
  Amount reserved;
  std::map<const Account*, std::pair<int, Wide>> slots;  // which rate, and where in all it took
  std::optional<Time> ends;
};

struct Answer {
  std::string refusal;  // "", or "E2072"
  Duration retry{0};
  ResourceSet recorded, measured;
  std::set<QuotaAction> state;
  bool pending = false;
  Duration retry_after{0};
  Amount used, limit, remaining;  // of the recorded resources
  Amount above;                   // Settle
  // Of a settled hold, over a restart: the receipt is that of now.
  Account* account = nullptr;
  bool is_restored = false;
};

class Model {
 public:
  Model(const ManagerConfig& config, Mistake mistake) : config_(config), mistake_(mistake) {}

  void MoveTo(Time now) { now_ = now; }
  Account* Find(const TargetName& name);
  const std::map<std::string, std::unique_ptr<Account>>& accounts() const { return accounts_; }
  std::vector<Happened> TakeEvents() { return std::exchange(events_, {}); }

  std::string Create(const TargetName& name, const ResourceLimits& limits,
                     const QuotaOptions& options);
  std::string Remove(Account& account, bool cascade);
  Answer Report(Account& account, const Amount& amounts, Source source);
  Answer Reserve(Account& account, const Amount& amounts, HoldId id, std::optional<Duration> ttl);
  Answer Settle(HoldId id, const Amount& actual);
  std::string Release(HoldId id);
  void Abandon(HoldId id);
  void Update(Account& account, const ResourceLimits& limits);
  void Reset(Account& account);
  void Suspend(Account& account);
  void Terminate(Account& account);
  std::string Resume(Account& account, bool override_causes);
  void ClearThrottle(Account& account);
  void Attach(Account& account, const ResourceManager::Running& running);
  void Detach(Account& account);
  void Look(Account& account) { Begin(account); }

  // The process ended, and another one goes on: what ran is gone, and what was being done to it.
  // Holds without a time have one from now on; accounts are in the order of their places.
  void Restart(Duration longest_hold, const std::vector<TargetName>& order);

  // What is due at exactly this time: how many things; and what is next.
  int Due();
  std::optional<Time> NextDue();
  void ReportUsage();

  std::optional<Verb> VerbFor(Account& agent);  // unless it is being done, or waits to be tried
  void Finish(Account& agent, Verb verb, bool done);

  Wide Used(const Account& account, LimitKind kind);
  Wide Held(const Account& account, Resource resource) const;
  Wide Effective(const Account& account, const Line& line) const;
  bool IsCompared(const Account& account, const Line& line) const {
    return line.kind != LimitKind::kCpu || !account.cpu_held;
  }
  Time EndOf(const Account& account, LimitKind kind) const;
  std::vector<Cause> CausesOf(const Account& account) const;
  std::set<QuotaAction> StateOf(const Account& account) const;
  ResourceUsage Window(const Account& account) const;
  ResourceUsage Lifetime(const Account& account) const;

 private:
  static std::vector<Account*> Path(Account& account);
  static std::vector<Account*> AgentsBelow(Account& account);
  Wide Total(const Account& account, Resource resource) const;
  bool IsOver(Wide used, Wide limit) const {
    return mistake_ == Mistake::kEqualIsOver ? used >= limit && used > 0 : used > limit;
  }
  Wide Drained(Account& account);
  Duration UntilContent(Account& account, Wide level);
  std::optional<Time> RateEnd(Account& account);

  void Tell(EventKind kind, Account& target, Account& account, const Line* line, Wide amount = 0);
  void Begin(Account& account);
  void EndWindows(Account& account);
  bool Fits(Account& account, const Amount& rise, Wide admitted);
  void Count(Account& account, Resource resource, Wide amount, Wide admitted = 0);
  void Look(Account& account, Line& line, bool charge, Duration grace);
  void LookUpwards(Account& account, Resource resource, bool charge, Duration grace);
  void Edge(Account& account, Line& line, int key, Wide at, Wide rearm, bool falls);
  void Act(Account& account, Line& line, QuotaAction action);
  void EndCause(Account& account, Line& line);
  void EndOperator(Account& account, QuotaAction action);
  template <class Change>
  void Free(Account& account, Line* line, QuotaAction action, Change&& change);
  void Lift(Account& account, QuotaAction action);
  void GiveBack(const Hold& hold, Wide requests_used);
  void ReturnLevels(Account& account);
  void Forget(Account& account);
  void FillIn(Account& account, const std::set<QuotaAction>& before, Answer& answer);

  const ManagerConfig config_;
  const Mistake mistake_;
  Time now_{};
  std::map<std::string, std::unique_ptr<Account>> accounts_;
  std::vector<std::unique_ptr<Account>> removed_;  // events may still name them
  std::map<HoldId, Hold> holds_;
  std::map<HoldId, Answer> settled_;
  std::vector<Happened> events_;
};

// What both parts of it need.

inline constexpr Wide kMax = std::numeric_limits<std::int64_t>::max();
inline constexpr Duration kDay = std::chrono::hours(24);
inline constexpr int kLimitEdge = 1000;
inline constexpr std::array kLevels = {Resource::kMemory, Resource::kGpuMemory};

inline bool IsLevel(Resource resource) {
  return resource == Resource::kMemory || resource == Resource::kGpuMemory;
}
inline bool IsMain(LimitKind kind) {
  return kind == LimitKind::kCpu || kind == LimitKind::kCpuSecondsPerHour ||
         kind == LimitKind::kTokensPerHour;
}
inline bool IsDaily(LimitKind kind) {
  return kind == LimitKind::kTokensPerDay || kind == LimitKind::kCostPerDay;
}
inline bool Falls(LimitKind kind) { return !IsMain(kind) && !IsDaily(kind); }
inline Resource ResourceOf(LimitKind kind) { return InfoOf(kind).resource; }
inline constexpr Wide kMinute = Wide(60) * 1'000'000'000;

inline Wide Get(const Amount& amounts, Resource resource) {
  const auto found = amounts.find(resource);
  return found == amounts.end() ? 0 : found->second;
}

inline std::string Key(const TargetName& name) { return name.ToString(); }

inline ResourceSet NamesOf(const Amount& amounts) {
  ResourceSet names;
  for (const auto& [resource, amount] : amounts) names.Insert(resource);
  return names;
}

inline EventKind EventOf(QuotaAction action) {
  constexpr EventKind kKinds[] = {EventKind::kWarned, EventKind::kThrottled, EventKind::kSuspended,
                                  EventKind::kTerminated};
  return kKinds[static_cast<int>(action)];
}

}  // namespace mete::reference
