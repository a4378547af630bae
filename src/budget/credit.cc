// Credit and how it is taken back.
//
// The owner spends with plain loads and stores; a taker must stop it for a moment without making
// it pay for that on every charge. They meet in a Dekker handshake whose frequent side has only a
// compiler barrier, because the taker's HeavyFence (membarrier) runs a full fence on every thread:
//
//    owner (Enter)                      taker, under the root's credit lock
//    busy = 1                           taking = 1
//    LightFence                         HeavyFence
//    if (taking) give way               while (busy) wait
//    spend or stock `available`         take `available`
//    busy = 0                           taking = 0
//
// After the fences either the owner sees `taking` and charges the tree exactly, or the taker sees
// `busy` and waits for the few instructions until Leave.
//
// Whatever moves between a stock and the tree does so under the credit lock, so that a refusal,
// which takes stocks back under it, finds every unit in one of the two. Owners only try the
// lock: where it is taken, they charge and uncharge the tree exactly and nobody waits.
//
// A stock is within the limits because charged, which counts it, is. Where charged passes a
// limit all the same (Charge, SetLimit), stocks below it are taken back at once.
#include "mete/credit.h"

#include <algorithm>
#include <mutex>

#include "base/check.h"

namespace mete {

using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;

Credit::Credit(Budget& budget, std::int64_t max_quantum) noexcept
    : budget_(&budget), root_(budget.Root()), max_quantum_(max_quantum) {
  METE_CHECK(root_ != nullptr && budget.kind() == BudgetKind::kLevel && max_quantum > 0);
  const std::lock_guard lock(root_->credit_lock_);
  Link();
}

Credit::Credit(Credit&& other) noexcept
    : budget_(other.budget_), root_(other.root_), max_quantum_(other.max_quantum_) {
  // Under the lock no taker is at work, so the stock can change hands.
  const std::lock_guard lock(root_->credit_lock_);
  METE_CHECK(other.linked_);
  available_.store(other.available_.exchange(0));
  keep_ = std::exchange(other.keep_, 0);
  other.Unlink();
  Link();
}

Credit::~Credit() {
  if (!linked_) return;  // moved from
  const std::lock_guard lock(root_->credit_lock_);
  ReturnAll();
  Unlink();
}

void Credit::Link() noexcept {
  next_ = root_->credits_;
  previous_ = nullptr;
  if (next_ != nullptr) next_->previous_ = this;
  root_->credits_ = this;
  root_->credit_count_.fetch_add(1);
  root_->had_credit_.store(1);
  linked_ = true;
}

void Credit::Unlink() noexcept {
  (previous_ != nullptr ? previous_->next_ : root_->credits_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  root_->credit_count_.fetch_sub(1);
  linked_ = false;
}

std::int64_t Credit::Quantum() const noexcept {
  std::int64_t head_room = kNoLimit;
  for (const Budget* node = budget_; node != nullptr; node = node->parent_) {
    head_room = std::min(head_room, node->limit_.load(memory_order_relaxed) -
                                        node->charged_.load(memory_order_relaxed));
  }
  const std::int64_t count = root_->credit_count_.load(memory_order_relaxed);
  const std::int64_t quantum = std::min(max_quantum_, head_room / (8 * count));
  return quantum < max_quantum_ / 16 ? 0 : quantum;
}

Charged Credit::ChargeSlow(std::int64_t amount) noexcept {
  METE_CHECK(linked_);
  if (amount < 0) return budget_->TryCharge(amount);  // refused there
  if (root_->credit_lock_.try_lock()) {
    const std::lock_guard lock(root_->credit_lock_, std::adopt_lock);
    const std::int64_t available = available_.load(memory_order_relaxed);
    if (amount <= available) {
      available_.store(available - amount, memory_order_relaxed);
      return Outcome{};
    }
    const std::int64_t quantum = Quantum();
    keep_ = std::max(2 * quantum, available);
    const std::int64_t missing = amount - available;
    Outcome outcome;
    Refusal refusal;
    if (quantum > 0 && missing <= kNoLimit - quantum &&
        budget_->TryChargeOnce(missing + quantum, false, outcome, refusal)) {
      available_.store(quantum, memory_order_relaxed);
      return outcome;
    }
  }
  return budget_->TryCharge(amount);
}

void Credit::UnchargeSlow(std::int64_t amount) noexcept {
  METE_CHECK(linked_ && amount >= 0);
  if (root_->credit_lock_.try_lock()) {
    const std::lock_guard lock(root_->credit_lock_, std::adopt_lock);
    keep_ = 2 * Quantum();
    const std::int64_t total = available_.load(memory_order_relaxed) + amount;
    const std::int64_t kept = std::min(total, keep_ / 2);
    available_.store(kept, memory_order_relaxed);
    budget_->Uncharge(total - kept);
    return;
  }
  budget_->Uncharge(amount);
}

void Credit::Flush() noexcept {
  const std::lock_guard lock(root_->credit_lock_);
  ReturnAll();
}

void Credit::ReturnAll() noexcept {
  const std::int64_t unspent = available_.exchange(0, memory_order_relaxed);
  keep_ = 0;
  if (unspent > 0) budget_->Uncharge(unspent);
}

// Returns to the tree what credits below `under` have not spent, and lets them stock nothing before
// they have looked at the head-room again. REQUIRES: credit_lock_ held.
std::int64_t SharedBudget::TakeCreditBack(const Budget* under) noexcept {
  // Refusals at a full limit are frequent and mostly find nothing: look before the costly fence.
  bool any = false;
  for (Credit* credit = credits_; credit != nullptr; credit = credit->next_) {
    if (credit->keep_ == 0 || !credit->budget_->IsBelow(under)) continue;
    credit->taking_.store(1, memory_order_relaxed);
    any = true;
  }
  if (!any) return 0;
  detail::HeavyFence();
  std::int64_t taken = 0;
  for (Credit* credit = credits_; credit != nullptr; credit = credit->next_) {
    if (credit->taking_.load(memory_order_relaxed) == 0) continue;
    while (credit->busy_.load(memory_order_acquire) != 0) detail::Yield();
    const std::int64_t unspent = credit->available_.exchange(0, memory_order_relaxed);
    credit->keep_ = 0;
    credit->taking_.store(0, memory_order_release);
    if (unspent > 0) credit->budget_->Uncharge(unspent);
    taken += unspent;
  }
  return taken;
}

std::int64_t SharedBudget::CreditUnderLocked(const Budget* under) const noexcept {
  std::int64_t sum = 0;
  for (const Credit* credit = credits_; credit != nullptr; credit = credit->next_) {
    if (credit->budget_->IsBelow(under)) sum += credit->available();
  }
  return sum;
}

std::int64_t SharedBudget::CreditUnder(const Budget* under) const noexcept {
  const std::lock_guard lock(credit_lock_);
  return CreditUnderLocked(under);
}

}  // namespace mete
