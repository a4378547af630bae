// BudgetWarning: what subscribers of a budget manager are told; WarningSubscription: until when.
//
// Warnings are edges of budgets, delivered on the thread whose request raised them, with no lock of
// the library held: a callback may call any function of it, the manager it hears from included, and
// may end its own subscription. What it raises is delivered by the same thread afterwards, it does
// not nest. A callback must not throw.
//
// Thread safety: callbacks run on whatever thread raised the edge, several at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "mete/budget.h"

namespace mete {

struct BudgetWarning {
  enum class Kind : std::uint8_t {
    kThreshold,      // a threshold was reached
    kLimit,          // the limit was passed
    kFallbackRatio,  // host: more of the frames' requests were served by the heap than allowed
  };
  Kind kind = Kind::kThreshold;
  std::string_view budget;  // as its manager names it; valid during the call
  int percent = 0;          // the threshold, or the ratio that was passed
  BudgetSnapshot usage;
};

// Move-only. An end after the manager's is harmless.
class WarningSubscription {
 public:
  WarningSubscription() noexcept = default;
  WarningSubscription(WarningSubscription&&) noexcept = default;
  WarningSubscription& operator=(WarningSubscription&& other) noexcept {
    if (this != &other) {
      End();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~WarningSubscription() { End(); }

  // No call begins after it, and those that other threads have begun are over when it returns: what
  // the callback refers to may end then. But within a callback or a destructor that BeginFrame runs
  // it waits for nobody, as two that wait for each other would do so for ever.
  // REQUIRES: no lock is held that the callback takes.
  void End() noexcept;

  struct State;

 private:
  friend class WarningList;
  explicit WarningSubscription(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace mete
