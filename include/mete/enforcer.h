// What carries an action out on a running target: control groups, or callbacks of the embedding
// program.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "mete/error.h"
#include "mete/quota.h"

namespace mete {

enum class Verb : std::uint8_t { kSuspend, kResume, kThrottle, kClearThrottle, kTerminate };
std::string_view NameOf(Verb verb) noexcept;  // "clear_throttle"

// One action that an agent's causes ask for and that was not done yet. The causes are the state and
// this is derived from it: an intent that failed, or that raced with another change, is simply
// derived again.
struct Intent {
  std::uint64_t id = 0;
  Verb verb = Verb::kSuspend;
  TargetName target{};   // an agent
  TargetName account{};  // whose cause it is: the agent, or what is above it
  std::optional<LimitKind> limit = std::nullopt;  // of `account`; unset: an operator
  int attempt = 1;
};

class Enforcer {
 public:
  virtual ~Enforcer() = default;

  // Called on one thread, one after the other, with no lock of the manager held: it may take its
  // time, and may call any function of the manager. An error becomes an event, and the intent comes
  // again after 1, 2, 4 .. 60 s for as long as the causes ask for it.
  virtual Result<void> Suspend(const Intent& intent) = 0;
  virtual Result<void> Resume(const Intent& intent) = 0;
  virtual Result<void> Throttle(const Intent& intent) = 0;
  virtual Result<void> ClearThrottle(const Intent& intent) = 0;
  virtual Result<void> Terminate(const Intent& intent) = 0;
};

}  // namespace mete
