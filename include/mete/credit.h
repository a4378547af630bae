// Credit: one thread's stock of a level, reserved in the tree and spent without touching it.
//
// A frame allocator charges a hundred million times a second; even an uncontended compare-and-swap
// per level is too dear for that, and a contended one is ruinous. A Credit takes a quantum from the
// tree and spends it with plain loads and stores: 1 ns instead of 15 alone, and instead of 200 with
// two threads.
//
// The tree counts credit as used, so it is never below the truth and never over a limit. What it
// counts too much is bounded: the quantum is at most an eighth of the head-room on the path divided
// by the number of credits, so all refills together leave seven eighths of it free; a credit whose
// quantum would fall below a sixteenth of its maximum reserves nothing and charges exactly. When a
// limit refuses anyone, or is passed (Charge, SetLimit), the unspent credit under it is taken back
// first, also from idle threads.
//
// Thread safety: one thread uses a Credit at a time; any number of credits may share a budget.
#pragma once

#include <cstdint>

#include "mete/atomic.h"
#include "mete/budget.h"

namespace mete {

class alignas(64) Credit {
 public:
  static constexpr std::int64_t kDefaultQuantum = 256 * 1024;

  // REQUIRES: a level whose root is a SharedBudget; the budget outlives the credit; max_quantum >
  // 0.
  explicit Credit(Budget& budget, std::int64_t max_quantum = kDefaultQuantum) noexcept;

  // The other one is left without a budget: REQUIRES that it is only destroyed.
  Credit(Credit&& other) noexcept;
  Credit& operator=(Credit&&) = delete;

  // Returns what is unspent. What was charged stays charged until it is uncharged, through this or
  // another credit or on the budget itself.
  ~Credit();

  // As Budget::TryCharge. Where it spends credit, the tree does not move, so no edge arises.
  [[nodiscard]] Charged TryCharge(std::int64_t amount) noexcept;

  // As Budget::Uncharge; keeps up to two quanta for the next charges.
  void Uncharge(std::int64_t amount) noexcept;

  // Returns what is unspent to the tree, and starts again from nothing.
  void Flush() noexcept;

  std::int64_t available() const noexcept { return available_.load(std::memory_order_relaxed); }
  Budget& budget() const noexcept { return *budget_; }

 private:
  friend class SharedBudget;

  // The owner's half of the protocol with TakeCreditBack (credit.cc): between Enter and Leave the
  // taker waits, and where it is at work Enter fails.
  bool Enter() noexcept {
    busy_.store(1, std::memory_order_relaxed);
    detail::LightFence();
    if (taking_.load(std::memory_order_acquire) == 0) [[likely]] {
      return true;
    }
    busy_.store(0, std::memory_order_release);
    return false;
  }
  void Leave() noexcept { busy_.store(0, std::memory_order_release); }

  Charged ChargeSlow(std::int64_t amount) noexcept;
  void UnchargeSlow(std::int64_t amount) noexcept;
  void ReturnAll() noexcept;
  std::int64_t Quantum() const noexcept;
  void Link() noexcept;
  void Unlink() noexcept;

  detail::Atomic<std::int64_t> available_{0};
  detail::Atomic<std::uint32_t> busy_{0};    // written by the owner only
  detail::Atomic<std::uint32_t> taking_{0};  // written under the root's credit lock
  // More than this goes back to the tree; at least `available_`. Written under the credit lock, and
  // by a taker only while the owner is out.
  std::int64_t keep_ = 0;
  Budget* budget_;
  SharedBudget* root_;
  std::int64_t max_quantum_;
  Credit* previous_ = nullptr;  // the root's list; guarded by its credit lock
  Credit* next_ = nullptr;
  bool linked_ = false;
};

inline Charged Credit::TryCharge(std::int64_t amount) noexcept {
  if (Enter()) [[likely]] {
    const std::int64_t available = available_.load(std::memory_order_relaxed);
    // One unsigned comparison refuses a negative amount too.
    if (static_cast<std::uint64_t>(amount) <= static_cast<std::uint64_t>(available)) [[likely]] {
      available_.store(available - amount, std::memory_order_relaxed);
      Leave();
      return Outcome{};
    }
    Leave();
  }
  return ChargeSlow(amount);
}

inline void Credit::Uncharge(std::int64_t amount) noexcept {
  if (Enter()) [[likely]] {
    const std::int64_t available = available_.load(std::memory_order_relaxed);
    if (static_cast<std::uint64_t>(amount) <= static_cast<std::uint64_t>(keep_ - available))
        [[likely]] {
      available_.store(available + amount, std::memory_order_relaxed);
      Leave();
      return;
    }
    Leave();
  }
  UnchargeSlow(amount);
}

}  // namespace mete
