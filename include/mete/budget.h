// Budget: one limit of one resource, a node in a tree. The primitive that all of mete counts with.
//
// Each node holds one number that limits compare: `charged` = used + held. Charging a node charges
// all its ancestors in one all-or-nothing step; the charge that a limit refuses changes nothing and
// names the node that refused.
//
// A node counts either a *level*, which is charged and uncharged and has a peak (memory), or a
// *flow*, which is used up within a window and rolled at its end (tokens). The core knows no time:
// whoever owns the window calls Roll.
//
// Amounts are int64 in base units (bytes, tokens, nanoseconds), from 0 to INT64_MAX.
//
// Thread safety: every operation may run on any thread at any time, unless it says REQUIRES.
// Charges, holds and reads are lock-free and allocate nothing; a refusal, or a charge past a
// limit, takes a lock only where threads have had credit (credit.h), to take that back first.
// src/budget/budget.cc opens with the synchronisation contract and the races it tolerates, each
// with its bound.
//
// Cost: 5 ns per level uncontended (one compare-and-swap), about the cost of a bare fetch_add.
#pragma once

#include <cstdint>
#include <expected>
#include <limits>
#include <span>
#include <utility>

#include "mete/atomic.h"
#include "mete/error.h"

namespace mete {

class Budget;
class Credit;
class Hold;
class SharedBudget;

inline constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

enum class BudgetKind : std::uint8_t { kLevel, kFlow };

// At which shares of its limit a node raises an edge, in per cent. A set is interned: the process
// holds at most 64 different ones, for good. By default 80 and 95.
class Thresholds {
 public:
  static constexpr int kMax = 7;

  constexpr Thresholds() noexcept = default;

  // Up to seven, rising, each from 1 to 100. E2071 otherwise, or when 64 sets exist already.
  static Result<Thresholds> Of(std::span<const int> percents);

  std::span<const std::uint8_t> percents() const noexcept;

 private:
  friend class Budget;
  explicit constexpr Thresholds(std::uint8_t id) noexcept : id_(id) {}
  std::uint8_t id_ = 0;
};

// Why a charge was not made. Nothing was changed.
struct Refusal {
  enum class Reason : std::uint8_t {
    kLimit,     // it would have passed the limit of `budget`
    kOverflow,  // the sum would not fit 63 bits
    kNegative,  // amounts start at 0
  };
  Reason reason = Reason::kLimit;
  const Budget* budget = nullptr;  // the node that refused: the lowest one, if several would
  std::int64_t asked = 0;
  std::int64_t limit = 0;    // of `budget`, as read when it refused
  std::int64_t charged = 0;  // likewise
};

// What a charge left behind.
struct Outcome {
  bool over = false;   // after it, a node on the path had used more than its limit
  bool edges = false;  // a node on the path has pending edges: DrainEdges
};

using Charged = std::expected<Outcome, Refusal>;

// Crossings that nobody has taken yet: thresholds by index, and the limit.
struct Edges {
  std::uint8_t thresholds = 0;  // bit i: the i-th threshold was reached
  bool limit = false;           // the limit was passed: used > limit
  explicit operator bool() const noexcept { return thresholds != 0 || limit; }
};

struct BudgetSnapshot {
  std::int64_t limit = kNoLimit;
  std::int64_t charged = 0;  // used + held + credited
  std::int64_t used = 0;
  std::int64_t held = 0;      // reserved and not settled
  std::int64_t credited = 0;  // reserved by threads' credit and not spent
  std::int64_t peak = 0;      // of used; levels only
};

// A leaf, or with SharedBudget an inner node. 48 bytes; neither copied nor moved.
class Budget {
 public:
  static constexpr int kMaxDepth = 16;

  // REQUIRES: 0 <= limit; the parent outlives this; at most kMaxDepth nodes to the root. A level's
  // ancestors are levels, a flow's are flows.
  explicit Budget(BudgetKind kind, std::int64_t limit = kNoLimit, SharedBudget* parent = nullptr,
                  Thresholds thresholds = {}) noexcept;

  // Gives a level that is still used back to the ancestors; a flow stays counted there.
  // REQUIRES: nothing held, no child, no credit.
  ~Budget();

  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Charges this node and all its ancestors, or none: never past any limit. Takes other threads'
  // unspent credit back before it refuses. Zero is always granted.
  [[nodiscard]] Charged TryCharge(std::int64_t amount) noexcept;

  // Records what has happened: not refused by limits, only for a negative amount or a sum that
  // would overflow, and then nothing is recorded.
  [[nodiscard]] Charged Charge(std::int64_t amount) noexcept;

  // Gives back part of a level. REQUIRES: a level, with that much used.
  void Uncharge(std::int64_t amount) noexcept;

  // Sets an amount aside on this node and all its ancestors: TryCharge, but not yet used.
  [[nodiscard]] std::expected<Hold, Refusal> Reserve(std::int64_t amount) noexcept;

  // Takes effect for charges that begin after it returns; one that lowers the limit below what is
  // used says so (`over`) and raises the edge. Raising re-arms the edges that are now below.
  // REQUIRES: 0 <= limit.
  Outcome SetLimit(std::int64_t limit) noexcept;

  // Ends a flow's window on this node alone: what is used becomes 0, what is held stays and counts
  // in the new window. Returns what was used. Charges in flight land in one window or the other.
  // REQUIRES: a flow; one Roll of a node at a time. Take the edges of the old window first.
  std::int64_t Roll() noexcept;

  // The peak restarts at the current level.
  void ResetPeak() noexcept;

  // Pending edges of this node, each crossing once; several crossings of one edge before it is
  // taken are one. Call it with no lock held: the receiver may call any function of the core.
  Edges TakeEdges() noexcept;

  // TakeEdges on this node and its ancestors: receiver(Budget&, Edges) where there are any.
  template <class Receiver>
  void DrainEdges(Receiver&& receiver);

  std::int64_t limit() const noexcept { return limit_.load(); }
  std::int64_t charged() const noexcept { return charged_.load(); }
  std::int64_t used() const noexcept;  // includes credit of this node; snapshot() tells it apart
  std::int64_t held() const noexcept;
  std::int64_t peak() const noexcept;
  bool IsOver() const noexcept { return used() > limit(); }
  BudgetSnapshot snapshot() const noexcept;

  BudgetKind kind() const noexcept;
  Thresholds thresholds() const noexcept;
  SharedBudget* parent() const noexcept { return parent_; }

 private:
  friend class Credit;
  friend class Hold;
  friend class SharedBudget;

  struct Step;
  struct Path;

  Budget(BudgetKind kind, std::int64_t limit, SharedBudget* parent, Thresholds thresholds,
         bool shared) noexcept;

  Charged TryChargeSlow(Budget* start, std::int64_t charged, std::int64_t amount) noexcept;
  bool TryChargeFrom(Budget* start, std::int64_t charged, std::int64_t amount, bool hold,
                     Outcome& outcome, Refusal& refusal) noexcept;
  bool TryChargeOnce(std::int64_t amount, bool hold, Outcome& outcome, Refusal& refusal) noexcept;
  bool TakeBackAndTryAgain(std::int64_t amount, bool hold, Outcome& outcome,
                           Refusal& refusal) noexcept;
  bool Refuse(const Budget* by, const Budget* end, std::int64_t limit, std::int64_t charged,
              std::int64_t amount, bool hold, Refusal& refusal) noexcept;
  void Undo(const Budget* end, std::int64_t amount, bool hold) noexcept;
  void EndHold(std::int64_t amount) noexcept;
  void SettleHold(std::int64_t held, std::int64_t refund, Outcome& outcome) noexcept;
  bool Evaluate(std::int64_t seen) noexcept;
  void LowerFloor(std::int64_t limit) noexcept;
  void RearmIfAbove() noexcept;
  bool LookAgain() noexcept;
  std::int64_t TakeCreditBack() noexcept;
  void KeepPeak() noexcept;
  void RaisePeak(std::int64_t used) noexcept;
  SharedBudget* Root() const noexcept;
  bool IsBelow(const Budget* ancestor) const noexcept;

  detail::Atomic<std::int64_t> charged_{0};
  detail::Atomic<std::int64_t> held_{0};  // level: held now; flow: ever held
  detail::Atomic<std::int64_t> limit_;
  detail::Atomic<std::int64_t> peak_{0};  // level: peak of used; flow: ever settled
  SharedBudget* parent_;
  detail::Atomic<std::uint64_t> watch_;  // edges: armed, pending, and from where to look (watch.h)
};

// A node that may have children and credit: padded, so that its neighbours are not slowed by it.
class alignas(128) SharedBudget : public Budget {
 public:
  explicit SharedBudget(BudgetKind kind, std::int64_t limit = kNoLimit,
                        SharedBudget* parent = nullptr, Thresholds thresholds = {}) noexcept;
  ~SharedBudget();

 private:
  friend class Budget;
  friend class Credit;

  std::int64_t TakeCreditBack(const Budget* under) noexcept;
  std::int64_t CreditUnder(const Budget* under) const noexcept;
  std::int64_t CreditUnderLocked(const Budget* under) const noexcept;

  detail::Atomic<std::int32_t> children_{0};
  // All credit of the tree whose root this is; guarded by credit_lock_.
  detail::Atomic<std::int32_t> credit_count_{0};
  detail::Atomic<std::uint32_t> had_credit_{0};  // stays 1: credit that just ended was in the way
  Credit* credits_ = nullptr;
  mutable detail::Mutex credit_lock_;
};

// An amount that is set aside and neither used nor free. Move-only; ends exactly once.
class Hold {
 public:
  Hold() noexcept = default;
  Hold(Hold&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), amount_(std::exchange(other.amount_, 0)) {}
  Hold& operator=(Hold&& other) noexcept;
  ~Hold() { Release(); }

  // Uses `actual` and gives the rest back. More than the hold is not refused: the excess is charged
  // as what has happened (kOverflow or kNegative: nothing changed, the hold stands).
  // REQUIRES: still held.
  [[nodiscard]] Charged Settle(std::int64_t actual) noexcept;

  // Gives all of it back; harmless when nothing is held.
  void Release() noexcept;

  explicit operator bool() const noexcept { return budget_ != nullptr; }
  std::int64_t amount() const noexcept { return amount_; }
  Budget* budget() const noexcept { return budget_; }

 private:
  friend class Budget;
  Hold(Budget* budget, std::int64_t amount) noexcept : budget_(budget), amount_(amount) {}

  Budget* budget_ = nullptr;
  std::int64_t amount_ = 0;
};

template <class Receiver>
void Budget::DrainEdges(Receiver&& receiver) {
  for (Budget* node = this; node != nullptr; node = node->parent_) {
    if (Edges edges = node->TakeEdges()) receiver(*node, edges);
  }
}

#ifndef METE_INTERLEAVE
static_assert(sizeof(Budget) <= 48, "leaves are compact: there may be millions");
static_assert(sizeof(SharedBudget) == 128);
#endif

}  // namespace mete
