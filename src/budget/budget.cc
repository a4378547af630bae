// The accounting core.
//
// Synchronisation contract (tests/interleave runs this very code in every order that matters)
//
//  1. `charged_` changes only by atomic read-modify-write, bottom-up along the path. A charge
//     checks the limit inside its compare-and-swap, so the sum of what was granted never passes
//     a limit, under any interleaving.
//  2. A charge that a node refuses undoes the nodes below it. Until it has, those nodes read
//     too high, and may refuse another charge that would have fitted: a refusal is spurious
//     only while another refusal through the same node is in flight. Compare-and-swap rather
//     than add-check-undo keeps the refusing node itself exact, unless its limit is lowered at
//     that time.
//  3. A hold raises `held_` before `charged_`, and ends by lowering `charged_` before `held_`.
//     So at every instant charged - held is at most what is used and what charges in flight ask
//     for, and equal to what is used when nothing is in flight. While a hold begins or ends it
//     is less: that hides edges, so whoever was refused a hold or ended one looks for edges
//     after it, and the last of several racing operations sees the true value; and it hides a
//     maximum, so the peak is kept before it.
//  4. Limit and use are read crosswise: SetLimit stores the limit, then reads the use; a charge
//     changes the use, then reads the limit again. All four are sequentially consistent, so one
//     of the two sees the other: no charge stays above a limit that was lowered before it was
//     granted. The same crossing ties the use to the watch word (watch.h): an edge is neither
//     lost nor stuck. TryCharge reads the floor of the watch word instead of the limit; SetLimit
//     lowers that before it reads the use, and changes the word's version, so that a thread that
//     read an older limit cannot store what follows from it.
//  5. A flow needs used() exactly where Roll subtracts it. Its holds are therefore two growing
//     sums, ever held and ever settled: reading the settled sum, then `charged_`, then the held
//     sum overstates what is held and never what is used. TryCharge on a flow is a hold that is
//     settled at once, so that Roll never takes what a refusal undoes a moment later.
//
// Tolerated races, and how far they reach
//
//    A: charge leaf 60 -> 85         B: charge leaf by 1
//    A: tenant refuses               B: sees 86, raises the 80 % edge
//    A: undo leaf 85 -> 60           ... the leaf was never at 80 % by granted charges
//
//  - An edge or a peak may count a charge that was refused a moment later, or a hold that ended
//    between a charge and its look, by the sum of those in flight through that node.
//  - An edge may be raised twice when its two charges straddle a fall and a re-arm, or another
//    thread looks while a hold begins or ends.
//  - An edge that a hold in flight hid is pending when that hold has ended, and its end tells
//    it; a Release or a refusal cannot.
//  - A level's used() may be too high by a hold that was made and settled during the read.
//  - A Charge that overflows 63 bits further up, while the flow below is rolled, leaves that
//    flow too low by its amount.
#include "mete/budget.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "base/check.h"
#include "budget/watch.h"

namespace mete {

using std::memory_order_relaxed;

namespace {

// a - b of two sums that only grow and may have passed 2^63: what a flow ever held includes what
// was refused or released.
std::int64_t Difference(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

// The state of one edge after looking: `top` is the highest use seen, `now` the present one.
struct EdgeScan {
  std::uint64_t above;
  std::uint64_t raised = 0;
  std::int64_t floor;
  std::int64_t top;
  std::int64_t now;

  void Look(int bit, std::int64_t at, std::int64_t rearm) noexcept {
    const std::uint64_t mask = std::uint64_t{1} << bit;
    if ((above & mask) == 0 && top >= at) {
      above |= mask;
      raised |= mask;
    }
    if ((above & mask) != 0 && now <= rearm) above &= ~mask;
    if ((above & mask) == 0) floor = std::min(floor, at);
  }
};

// The watch word that follows from a limit and a use.
std::uint64_t NextWatch(std::uint64_t word, std::span<const std::uint8_t> percents,
                        std::int64_t limit, std::int64_t top, std::int64_t now) noexcept {
  const bool flow = watch::IsFlow(word);
  // The floor is never above what the limit allows: the fast path of TryCharge relies on it.
  EdgeScan scan{.above = word & watch::kAboveMask,
                .floor = limit == kNoLimit ? kNoLimit : limit + 1,
                .top = top,
                .now = now};
  if (limit == kNoLimit) {
    scan.above = 0;
  } else {
    // At a limit of 0 there is nothing to warn of: every use is already over.
    if (limit > 0) {
      for (std::size_t i = 0; i < percents.size(); ++i) {
        const std::int64_t at = watch::ThresholdAmount(limit, percents[i]);
        scan.Look(static_cast<int>(i), at, flow ? at - 1 : watch::RearmAmount(limit, percents[i]));
      }
    } else {
      scan.above &= std::uint64_t{1} << watch::kLimitBit;
    }
    scan.Look(watch::kLimitBit, limit + 1, flow ? limit : watch::RearmAmount(limit, 100));
  }
  const std::uint64_t constants = word & 0xffff0000u;
  const std::uint64_t pending = (word & watch::kPendingMask) | scan.raised << watch::kPendingShift;
  return constants | pending | scan.above |
         std::uint64_t{watch::EncodeFloor(scan.floor)} << watch::kFloorShift;
}

}  // namespace

Budget::Budget(BudgetKind kind, std::int64_t limit, SharedBudget* parent,
               Thresholds thresholds) noexcept
    : Budget(kind, limit, parent, thresholds, false) {}

Budget::Budget(BudgetKind kind, std::int64_t limit, SharedBudget* parent, Thresholds thresholds,
               bool shared) noexcept
    : limit_(limit), parent_(parent), watch_(0) {
  METE_CHECK(limit >= 0);
  int depth = 1;
  for (Budget* node = parent; node != nullptr; node = node->parent_) ++depth;
  METE_CHECK(depth <= kMaxDepth);
  METE_CHECK(parent == nullptr || parent->kind() == kind);
  const std::uint64_t word = std::uint64_t{thresholds.id_} << watch::kThresholdsShift |
                             (kind == BudgetKind::kFlow ? watch::kFlowBit : 0) |
                             (shared ? watch::kSharedBit : 0);
  watch_.store(NextWatch(word, thresholds.percents(), limit, 0, 0), memory_order_relaxed);
  if (parent != nullptr) parent->children_.fetch_add(1, memory_order_relaxed);
}

Budget::~Budget() {
  METE_CHECK(held() == 0);
  const std::int64_t left = charged_.load();
  if (parent_ == nullptr) return;
  if (left > 0 && kind() == BudgetKind::kLevel) parent_->Uncharge(left);
  parent_->children_.fetch_sub(1, memory_order_relaxed);
}

SharedBudget::SharedBudget(BudgetKind kind, std::int64_t limit, SharedBudget* parent,
                           Thresholds thresholds) noexcept
    : Budget(kind, limit, parent, thresholds, true) {}

SharedBudget::~SharedBudget() {
  METE_CHECK(children_.load() == 0);
  METE_CHECK(credit_count_.load() == 0);
}

BudgetKind Budget::kind() const noexcept {
  return watch::IsFlow(watch_.load(memory_order_relaxed)) ? BudgetKind::kFlow : BudgetKind::kLevel;
}

Thresholds Budget::thresholds() const noexcept {
  return Thresholds(watch::ThresholdsId(watch_.load(memory_order_relaxed)));
}

// A charge on one node, remembered because it reached the node's floor.
struct Budget::Step {
  Budget* node;
  std::int64_t charged;
};

// The nodes of one charge that may have passed an edge. They are looked at after the whole path is
// charged, because a refusal further up leaves no trace.
struct Budget::Path {
  std::array<Step, kMaxDepth> steps;
  int size = 0;

  void Note(Budget* node, std::int64_t charged) noexcept {
    if (charged >= watch::Floor(node->watch_.load())) [[unlikely]] {
      steps[static_cast<std::size_t>(size++)] = {node, charged};
    }
  }
  void Look(Outcome& outcome) noexcept {
    for (int i = 0; i < size; ++i) {
      const Step& step = steps[static_cast<std::size_t>(i)];
      if (step.node->Evaluate(step.charged)) outcome.edges = true;
    }
  }
};

// Charges the nodes from `start` to the root, or undoes all from this node on. The nodes below
// `start` are charged already; `start` itself too, if `charged` is not negative.
bool Budget::TryChargeFrom(Budget* start, std::int64_t charged, std::int64_t amount, bool hold,
                           Outcome& outcome, Refusal& refusal) noexcept {
  Path path;
  for (Budget* node = start; node != nullptr; node = node->parent_, charged = -1) {
    if (charged < 0) {
      if (hold) {
        node->KeepPeak();
        node->held_.fetch_add(amount);
      }
      charged = node->charged_.load();  // ordered before a refusal's look for credit
      do {
        const std::int64_t limit = node->limit_.load(memory_order_relaxed);
        if (amount > limit - charged) {
          if (hold) {
            node->EndHold(amount);
            node->LookAgain();
          }
          return Refuse(node, node, limit, charged, amount, hold, refusal);
        }
      } while (!node->charged_.compare_exchange_weak(charged, charged + amount));
      charged += amount;
    }
    const std::int64_t limit = node->limit_.load();  // contract 4
    if (charged > limit) {
      return Refuse(node, node->parent_, limit, charged - amount, amount, hold, refusal);
    }
    path.Note(node, charged);
  }
  path.Look(outcome);
  return true;
}

bool Budget::TryChargeOnce(std::int64_t amount, bool hold, Outcome& outcome,
                           Refusal& refusal) noexcept {
  return TryChargeFrom(this, -1, amount, hold, outcome, refusal);
}

// Undoes the nodes below `end` and says who refused.
bool Budget::Refuse(const Budget* by, const Budget* end, std::int64_t limit, std::int64_t charged,
                    std::int64_t amount, bool hold, Refusal& refusal) noexcept {
  Undo(end, amount, hold);
  refusal = {limit == kNoLimit ? Refusal::Reason::kOverflow : Refusal::Reason::kLimit, by, amount,
             limit, charged};
  return false;
}

bool Budget::TakeBackAndTryAgain(std::int64_t amount, bool hold, Outcome& outcome,
                                 Refusal& refusal) noexcept {
  SharedBudget* root = Root();
  if (root == nullptr || root->had_credit_.load() == 0) return false;
  // Under the lock nobody refills, so each round takes credit that was there or ends the loop.
  const std::lock_guard lock(root->credit_lock_);
  do {
    if (TryChargeOnce(amount, hold, outcome, refusal)) return true;
  } while (root->TakeCreditBack(refusal.budget) > 0);
  return false;
}

// The rest of a charge, from the first node where there was anything to look at.
Charged Budget::TryChargeSlow(Budget* start, std::int64_t charged, std::int64_t amount) noexcept {
  Outcome outcome;
  Refusal refusal;
  if (amount < 0) {
    return std::unexpected(
        Refusal{Refusal::Reason::kNegative, this, amount, limit(), charged_.load()});
  }
  if (amount == 0) return outcome;
  // A flow that is rolled meanwhile must not lose what may still be undone, so it is held first.
  const bool hold = kind() == BudgetKind::kFlow;
  if (!TryChargeFrom(start, charged, amount, hold, outcome, refusal) &&
      !TakeBackAndTryAgain(amount, hold, outcome, refusal)) {
    return std::unexpected(refusal);
  }
  if (hold) SettleHold(amount, 0, outcome);
  return outcome;
}

// The fast path: one load of the watch word tells that neither the limit nor an edge is near, one
// compare-and-swap charges, and a second load tells that this was still so. It stores nothing of
// its own, because a locked instruction waits until earlier stores are done.
Charged Budget::TryCharge(std::int64_t amount) noexcept {
  if (amount <= 0 || watch::IsFlow(watch_.load(memory_order_relaxed))) [[unlikely]]
    return TryChargeSlow(this, -1, amount);
  for (Budget* node = this; node != nullptr; node = node->parent_) {
    std::int64_t charged = node->charged_.load(memory_order_relaxed);
    std::uint64_t word;
    do {
      word = node->watch_.load(memory_order_relaxed);
      // Unsigned: two amounts below 2^63 do not wrap, and their sum is then above every floor.
      const std::uint64_t sum =
          static_cast<std::uint64_t>(charged) + static_cast<std::uint64_t>(amount);
      if (sum >= static_cast<std::uint64_t>(watch::Floor(word))) [[unlikely]] {
        return TryChargeSlow(node, -1, amount);
      }
    } while (!node->charged_.compare_exchange_weak(charged, charged + amount));
    if (node->watch_.load() != word) [[unlikely]] {
      return TryChargeSlow(node, charged + amount, amount);
    }
  }
  return Outcome{};
}

std::expected<Hold, Refusal> Budget::Reserve(std::int64_t amount) noexcept {
  Outcome outcome;
  Refusal refusal;
  if (amount < 0) {
    return std::unexpected(Refusal{Refusal::Reason::kNegative, this, amount, limit(), charged()});
  }
  if (amount > 0 && !TryChargeOnce(amount, true, outcome, refusal) &&
      !TakeBackAndTryAgain(amount, true, outcome, refusal)) {
    return std::unexpected(refusal);
  }
  return Hold(this, amount);
}

Charged Budget::Charge(std::int64_t amount) noexcept {
  if (amount < 0) {
    return std::unexpected(Refusal{Refusal::Reason::kNegative, this, amount, limit(), charged()});
  }
  Outcome outcome;
  Path path;
  for (Budget* node = this; node != nullptr; node = node->parent_) {
    std::int64_t charged = node->charged_.load(memory_order_relaxed);
    if (amount > node->limit_.load(memory_order_relaxed) - charged) [[unlikely]] {
      // It passes the limit, or 63 bits; what is only stocked does not count for that.
      node->TakeCreditBack();
      charged = node->charged_.load();
    }
    do {
      if (amount > kNoLimit - charged) {
        Undo(node, amount, false);
        return std::unexpected(
            Refusal{Refusal::Reason::kOverflow, node, amount, node->limit(), charged});
      }
    } while (!node->charged_.compare_exchange_weak(charged, charged + amount));
    charged += amount;
    if (charged > node->limit_.load()) [[unlikely]] {
      charged -= node->TakeCreditBack();  // what was stocked meanwhile
      if (node->IsOver()) outcome.over = true;
    }
    path.Note(node, charged);
  }
  path.Look(outcome);
  return outcome;
}

void Budget::Undo(const Budget* end, std::int64_t amount, bool hold) noexcept {
  for (Budget* node = this; node != end; node = node->parent_) {
    node->charged_.fetch_sub(amount);
    if (hold) {
      node->EndHold(amount);
      node->LookAgain();
    } else {
      node->RearmIfAbove();
    }
  }
}

void Budget::Uncharge(std::int64_t amount) noexcept {
  METE_CHECK(amount >= 0 && kind() == BudgetKind::kLevel);
  for (Budget* node = this; node != nullptr; node = node->parent_) {
    // The value that the subtraction returns is the local maximum of a level, so the peak costs the
    // rising path nothing (a peak kept on charge halves its speed).
    // What was used just before counts too: a hold that begins now hides as much of it.
    const std::int64_t used_before = node->used();
    const std::int64_t before = node->charged_.fetch_sub(amount);
    METE_CHECK(before >= amount);
    node->RaisePeak(std::max(used_before, Difference(before, node->held_.load())));
    node->RearmIfAbove();
  }
}

// Before a hold begins or ends, while charged - held is less than what is used.
void Budget::KeepPeak() noexcept {
  if (kind() == BudgetKind::kLevel) RaisePeak(used());
}

void Budget::RaisePeak(std::int64_t used) noexcept {
  std::int64_t peak = peak_.load(memory_order_relaxed);
  while (used > peak && !peak_.compare_exchange_weak(peak, used, memory_order_relaxed)) {
  }
}

void Budget::EndHold(std::int64_t amount) noexcept {
  if (kind() == BudgetKind::kFlow) {
    peak_.fetch_add(amount);  // the sum ever settled (contract 5)
  } else {
    held_.fetch_sub(amount);
  }
}

void Budget::SettleHold(std::int64_t held, std::int64_t refund, Outcome& outcome) noexcept {
  for (Budget* node = this; node != nullptr; node = node->parent_) {
    node->KeepPeak();
    if (refund > 0) node->charged_.fetch_sub(refund);
    node->EndHold(held);
    if (node->LookAgain()) outcome.edges = true;
    if (node->charged_.load() > node->limit_.load() && node->IsOver()) outcome.over = true;
  }
}

Outcome Budget::SetLimit(std::int64_t limit) noexcept {
  METE_CHECK(limit >= 0);
  if (charged_.load() > limit) TakeCreditBack();
  limit_.store(limit);
  LowerFloor(limit);
  if (charged_.load() > limit) TakeCreditBack();  // what was stocked meanwhile
  Outcome outcome;
  outcome.edges = Evaluate(0);
  outcome.over = IsOver();
  return outcome;
}

// From here on no charge passes the limit without looking at it, and nobody who looked before can
// store a floor that follows from an older one.
void Budget::LowerFloor(std::int64_t limit) noexcept {
  const std::int64_t most = limit == kNoLimit ? kNoLimit : limit + 1;
  std::uint64_t word = watch_.load();
  while (!watch_.compare_exchange_weak(
      word, watch::NextVersion(watch::WithFloor(word, std::min(watch::Floor(word), most))))) {
  }
}

std::int64_t Budget::Roll() noexcept {
  METE_CHECK(kind() == BudgetKind::kFlow);
  const std::int64_t used_up = used();
  charged_.fetch_sub(used_up);
  Evaluate(0);
  return used_up;
}

void Budget::ResetPeak() noexcept {
  if (kind() == BudgetKind::kLevel) peak_.store(0, memory_order_relaxed);
}

std::int64_t Budget::held() const noexcept {
  if (kind() == BudgetKind::kLevel) return held_.load();
  const std::int64_t settled = peak_.load();
  return Difference(held_.load(), settled);
}

std::int64_t Budget::used() const noexcept {
  const bool flow = kind() == BudgetKind::kFlow;
  const std::int64_t settled = flow ? peak_.load() : 0;  // the order of contract 5
  const std::int64_t charged = charged_.load();
  return std::max<std::int64_t>(0, Difference(charged, Difference(held_.load(), settled)));
}

std::int64_t Budget::peak() const noexcept {
  if (kind() == BudgetKind::kFlow) return 0;
  return std::max(peak_.load(memory_order_relaxed), used());
}

BudgetSnapshot Budget::snapshot() const noexcept {
  BudgetSnapshot shot;
  shot.limit = limit();
  shot.charged = charged();
  shot.held = held();
  shot.peak = peak();
  if (SharedBudget* root = Root(); root != nullptr && root->credit_count_.load() > 0) {
    shot.credited = root->CreditUnder(this);
  }
  shot.used = std::max<std::int64_t>(0, shot.charged - shot.held - shot.credited);
  return shot;
}

// Brings the watch word up to date with the use and the limit. `seen` is a charge that the caller
// made itself, so that a crossing counts although the level has fallen again since.
bool Budget::Evaluate(std::int64_t seen) noexcept {
  const std::span<const std::uint8_t> percents = thresholds().percents();
  std::uint64_t word = watch_.load();
  std::int64_t seen_used = Difference(seen, held());
  for (;;) {
    const std::int64_t limit = limit_.load();
    const std::int64_t now = used();
    const std::uint64_t next = NextWatch(word, percents, limit, std::max(seen_used, now), now);
    if (next != word && !watch_.compare_exchange_weak(word, next)) continue;
    // Another thread may have moved the use or the limit after we read it and have looked at the
    // old word: then this look is ours to take again (contract 4).
    word = next;
    seen_used = 0;
    const std::int64_t again = used();
    if (NextWatch(word, percents, limit_.load(), again, again) == word) break;
  }
  return (word & watch::kPendingMask) != 0;
}

void Budget::RearmIfAbove() noexcept {
  if ((watch_.load() & watch::kAboveMask) != 0) Evaluate(0);
}

// After a hold has ended: while it did, others saw too little use, or too much.
bool Budget::LookAgain() noexcept {
  const std::uint64_t word = watch_.load();
  const std::int64_t charged = charged_.load();
  if ((word & watch::kAboveMask) == 0 && charged < watch::Floor(word)) return false;
  return Evaluate(charged);
}

Edges Budget::TakeEdges() noexcept {
  if ((watch_.load(memory_order_relaxed) & watch::kPendingMask) == 0) return {};
  const std::uint64_t word = watch_.fetch_and(~watch::kPendingMask);
  const auto pending = static_cast<std::uint8_t>(word >> watch::kPendingShift);
  return {.thresholds = static_cast<std::uint8_t>(pending & 0x7f),
          .limit = (pending >> watch::kLimitBit) != 0};
}

// Past a limit nothing may be spent from credit any more.
std::int64_t Budget::TakeCreditBack() noexcept {
  SharedBudget* root = Root();
  if (root == nullptr || root->had_credit_.load() == 0) return 0;
  const std::lock_guard lock(root->credit_lock_);
  return root->TakeCreditBack(this);
}

SharedBudget* Budget::Root() const noexcept {
  const Budget* node = this;
  while (node->parent_ != nullptr) node = node->parent_;
  if (!watch::IsShared(node->watch_.load(memory_order_relaxed))) return nullptr;
  return const_cast<SharedBudget*>(static_cast<const SharedBudget*>(node));
}

bool Budget::IsBelow(const Budget* ancestor) const noexcept {
  const Budget* node = this;
  while (node != nullptr && node != ancestor) node = node->parent_;
  return node != nullptr;
}

Hold& Hold::operator=(Hold&& other) noexcept {
  if (this != &other) {
    Release();
    budget_ = std::exchange(other.budget_, nullptr);
    amount_ = std::exchange(other.amount_, 0);
  }
  return *this;
}

Charged Hold::Settle(std::int64_t actual) noexcept {
  METE_CHECK(budget_ != nullptr);
  Outcome outcome;
  if (actual < 0 || actual > amount_) {
    // First the excess, which alone can fail; it refuses a negative amount too.
    Charged excess = budget_->Charge(actual < 0 ? actual : actual - amount_);
    if (!excess) return excess;
    outcome = *excess;
  }
  const std::int64_t refund = actual < amount_ ? amount_ - actual : 0;
  budget_->SettleHold(amount_, refund, outcome);
  budget_ = nullptr;
  amount_ = 0;
  return outcome;
}

void Hold::Release() noexcept {
  if (budget_ == nullptr) return;
  Outcome outcome;
  if (amount_ > 0) budget_->SettleHold(amount_, amount_, outcome);
  budget_ = nullptr;
  amount_ = 0;
}

}  // namespace mete
