// The rules of quotas as tables: each row is a time, an operation, and what must follow.
//
//   at          "59m59s" after the world began
//   operation   report tokens=5 memory=3   by the target itself
//               sample memory=64Mi         by mete, from outside
//               reserve tokens=60 [ttl=10s]  the holds are numbered from 1
//               settle 1 tokens=50, release 1, abandon 1
//               create [under session s] [window=90s] [exist_ok] tokens_per_hour=1000
//               cleanup, cascade
//               set tokens_per_hour=1000 memory=none
//               reset, suspend, resume, override, terminate, clear_throttle
//               attach [measured=cpu,memory] [cpu_held], detach, advance
//               of agent "a", unless it says of whom: "session s: report tokens=5"
//   answer      "E2072 tokens_per_hour of agent a" (the message up to its first colon), "hold 1",
//               or for a receipt each limit that the target has on the recorded resources as
//               used/limit, "+held" where something is; then "measured cpu" for what was not
//               counted, "pending" where the policies want something new, "above tokens=50" for
//               what no hold covered, "retry 1s" for rates; "again" for a second settle; "ok" if
//               there is nothing to say
//   events      those of this row in order: "threshold 80% tokens_per_hour"; "b: " in front if they
//               happened to another than agent a, and "of session s" behind if the limit is not
//               the target's own
//   causes      of the row's target: "operator, tokens_per_hour of session s; throttle: ..; end:
//   .."
//
// Amounts are quantities in the unit of their limits ("cost=0.5").
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mete/resource_manager.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define METE_SLOWED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define METE_SLOWED 1
#endif
#endif
#ifndef METE_SLOWED
#define METE_SLOWED 0
#endif

namespace mete {

inline constexpr bool kIsSlowed = METE_SLOWED != 0;  // by a sanitizer, some twenty times

struct Row {
  const char* at;
  const char* operation;
  const char* answer;
  const char* events = "";
  const char* causes = "";
};

// No default limits, no records of usage.
ManagerConfig Plain();
// The same, with one policy for every resource.
ManagerConfig With(EnforcementMode mode, QuotaAction action);

// A manager and its clock.
class World {
 public:
  explicit World(ManagerConfig config = Plain());

  // Expects of each row what it says; and of each receipt that it agrees with the quotas.
  void Play(const std::vector<Row>& rows);

  ResourceManager& operator*() const { return *manager_; }
  ResourceManager* operator->() const { return manager_.get(); }
  Time now() const { return clock_.Now(); }
  Time at(Duration after) const { return began_ + after; }
  void MoveTo(Duration after) { clock_.Advance(began_ + after - clock_.Now()); }
  void JumpWall(Duration by) { clock_.JumpWall(by); }

  ResourceQuota Quota(Target target) const;
  ResourceUsage Usage(Target target) const;
  LimitUsage Line(Target target, LimitKind kind) const;
  std::string TakeEvents();  // as in the rows

 private:
  struct Hold {
    TargetName owner;
    std::optional<Settlement> answer;
  };

  std::string Operate(const std::string& operation, TargetName& target);
  std::string Create(Target target, std::string rest);
  std::string Reserve(Target target, std::string rest);
  std::string Settle(HoldId id, const std::string& rest);
  std::string Answer(const Error& error) const;
  std::string Answer(Target target, const Receipt& receipt) const;
  std::string Answer(Target target, const Result<Receipt>& result) const;
  template <class T>
  std::string Answer(const Result<T>& result) const {
    return result ? "ok" : Answer(result.error());
  }
  void ExpectFigures(const ResourceQuota& quota, const Receipt& receipt) const;
  std::string CausesOf(Target target) const;

  VirtualClock clock_;
  Time began_;
  std::unique_ptr<ResourceManager> manager_;
  EventReader events_;
  std::uint64_t last_sequence_ = 0;
  std::vector<Hold> holds_;         // the first has number 1
  std::set<std::string> cpu_held_;  // targets whose cores the kernel holds
};

// Plays the rows in a world with agent "a", made with these limits. Returns the world as it was
// left.
std::unique_ptr<World> Play(const ManagerConfig& config, const char* limits,
                            const std::vector<Row>& rows);
// In an empty world.
std::unique_ptr<World> Play(const ManagerConfig& config, const std::vector<Row>& rows);

Amounts AmountsOf(const std::string& text);        // "tokens=5 memory=64Mi"
ResourceLimits LimitsOf(const std::string& text);  // "tokens_per_hour=5 memory=none"
TargetName TargetOf(const std::string& text);      // "a", "session s"
std::string TextOf(const Event& event);
std::string TextOf(const std::vector<Event>& events);

}  // namespace mete
