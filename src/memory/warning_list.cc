#include "memory/warning_list.h"

#include <utility>

namespace mete {

// Shared by the subscription, the list, and whoever is calling.
struct WarningSubscription::State {
  WarningList::Callback callback;
  std::atomic<bool> ended{false};
  std::atomic<bool> dropped{false};
  std::atomic<int> inside{0};  // threads that call, are about to, or end the subscription

  bool Enter() noexcept {
    inside.fetch_add(1);
    return !ended.load();
  }
  // Who is last after the end drops the callback, and with it what that holds. Nobody calls it any
  // more then: whoever entered later saw that it had ended.
  void Leave() noexcept {
    const bool last = inside.fetch_sub(1) == 1;
    if (!ended.load()) return;
    if (last && !dropped.exchange(true)) callback = nullptr;
    inside.notify_all();
  }
};

void WarningSubscription::End() noexcept {
  if (state_ == nullptr) return;
  const std::shared_ptr<State> state = std::exchange(state_, nullptr);
  static_cast<void>(state->Enter());
  state->ended.store(true);
  if (!WarningList::Turn::Any()) {
    for (int inside = state->inside.load(); inside != 1; inside = state->inside.load()) {
      state->inside.wait(inside);
    }
  }
  state->Leave();
}

WarningList::Turn::Turn(const WarningList& list) noexcept : list_(&list), outer_(t_newest) {
  for (const Turn* turn = outer_; turn != nullptr; turn = turn->outer_) {
    if (turn->list_ == list_) first_ = false;
  }
  t_newest = this;
}

WarningList::Turn::~Turn() { t_newest = outer_; }

WarningSubscription WarningList::Subscribe(Callback callback) {
  auto state = std::make_shared<WarningSubscription::State>();
  state->callback = std::move(callback);
  auto list = std::make_shared<Subscribers>();
  const std::lock_guard lock(lock_);
  list->reserve(subscribers_->size() + 1);
  for (const auto& other : *subscribers_) {
    if (!other->ended.load()) list->push_back(other);
  }
  list->push_back(state);
  subscribers_ = std::move(list);
  return WarningSubscription(std::move(state));
}

void WarningList::Tell(const BudgetWarning& warning) const noexcept {
  std::shared_ptr<const Subscribers> subscribers;
  {
    const std::lock_guard lock(lock_);
    subscribers = subscribers_;
  }
  for (const auto& subscriber : *subscribers) {
    if (subscriber->Enter()) subscriber->callback(warning);
    subscriber->Leave();
  }
}

bool WarningList::TakeEdges(std::string_view name, Budget& node) const noexcept {
  const Edges edges = node.TakeEdges();
  if (!edges) return false;
  const auto percents = node.thresholds().percents();
  for (std::size_t i = 0; i < percents.size(); ++i) {
    if ((edges.thresholds >> i & 1) == 0) continue;
    Tell({BudgetWarning::Kind::kThreshold, name, percents[i], node.snapshot()});
  }
  if (edges.limit) Tell({BudgetWarning::Kind::kLimit, name, 100, node.snapshot()});
  return true;
}

}  // namespace mete
