// WarningList: the subscribers of one budget manager, and whose turn it is to call them.
//
// A thread that delivers takes a *turn*. Within it, whatever raises another edge of the same list
// on that thread (a callback, a destructor) only notes so, and the one who has the turn looks
// again: deliveries never nest, so a callback is never entered twice by one thread.
//
// Thread safety: everything may be called from any thread; callbacks run with no lock held.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "mete/budget.h"
#include "mete/budget_warning.h"

namespace mete {

class WarningList {
 public:
  using Callback = std::function<void(const BudgetWarning&)>;

  // The turn of the running thread, until the end of the block.
  class Turn {
   public:
    explicit Turn(const WarningList& list) noexcept;
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    // Whether the thread has no other turn in this list.
    bool first() const noexcept { return first_; }

    // Whether the running thread has a turn in any list.
    static bool Any() noexcept { return t_newest != nullptr; }

   private:
    inline static constinit thread_local const Turn* t_newest = nullptr;
    const WarningList* list_;
    const Turn* outer_;
    bool first_ = true;
  };

  // Throws std::bad_alloc, and has then changed nothing.
  [[nodiscard]] WarningSubscription Subscribe(Callback callback);

  // Calls take() for as long as it delivers something or edges are noted, unless the thread has the
  // turn already. Callbacks that raise an edge each time would go on for ever; the last rounds are
  // left to the next call.
  template <class Take>
  void Deliver(Take&& take) noexcept {
    raised_.store(true);
    const Turn turn(*this);
    if (!turn.first()) return;
    constexpr int kRounds = 16;
    for (int round = 0; round < kRounds; ++round) {
      raised_.store(false);
      if (!take() && !raised_.load()) return;
    }
  }

  // Tells the subscribers what a node has raised, if it has. REQUIRES: within a turn.
  bool TakeEdges(std::string_view name, Budget& node) const noexcept;

  void Tell(const BudgetWarning& warning) const noexcept;

 private:
  // Copied on change, so that telling allocates nothing.
  using Subscribers = std::vector<std::shared_ptr<WarningSubscription::State>>;

  mutable std::mutex lock_;  // of the pointer
  std::shared_ptr<const Subscribers> subscribers_ = std::make_shared<Subscribers>();
  std::atomic<bool> raised_{false};
};

}  // namespace mete
