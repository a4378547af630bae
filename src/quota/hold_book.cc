#include "quota/hold_book.h"

#include <algorithm>

namespace mete {

HoldId HoldBook::Open(OpenHold hold) {
  const std::lock_guard lock(mutex_);
  open_.emplace(++last_, std::move(hold));
  return last_;
}

std::optional<OpenHold> HoldBook::Find(HoldId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) return std::nullopt;
  return found->second;
}

bool HoldBook::Detach(HoldId id) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) return false;
  found->second.is_detached = true;
  return true;
}

bool HoldBook::Close(HoldId id) {
  const std::lock_guard lock(mutex_);
  return open_.erase(id) == 1;
}

void HoldBook::Settle(HoldId id, const Settlement& answer) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) return;
  SettledHold hold{found->second.account, found->second.reserved, answer, false};
  open_.erase(found);
  KeepAnswer(id, std::move(hold));
}

void HoldBook::KeepAnswer(HoldId id, SettledHold hold) {
  settled_of_[hold.account].push_back(id);
  settled_.emplace(id, std::move(hold));
  order_.push_back(id);
  if (order_.size() <= kSettledKept) return;
  const auto oldest = settled_.find(order_.front());
  if (const auto of = settled_of_.find(oldest->second.account); of != settled_of_.end()) {
    std::erase(of->second, oldest->first);
    if (of->second.empty()) settled_of_.erase(of);
  }
  if (tells_) forgotten_.push_back(oldest->first);
  settled_.erase(oldest);
  order_.pop_front();
}

std::optional<SettledHold> HoldBook::AnswerOf(HoldId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = settled_.find(id);
  if (found == settled_.end()) return std::nullopt;
  return found->second;
}

std::vector<HoldId> HoldBook::ForgetAccount(RecordIndex account) {
  const std::lock_guard lock(mutex_);
  const auto found = settled_of_.find(account);
  if (found == settled_of_.end()) return {};
  std::vector<HoldId> ids = std::move(found->second);
  settled_of_.erase(found);
  for (const HoldId id : ids) settled_.at(id).account = kNoRecord;
  return ids;
}

HoldId HoldBook::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::optional<StoredHold> HoldBook::StoredOf(HoldId id) const {
  const std::lock_guard lock(mutex_);
  if (const auto open = open_.find(id); open != open_.end()) {
    const OpenHold& hold = open->second;
    return StoredHold{.id = id,
                      .account = hold.account,
                      .reserved = hold.reserved,
                      .ends = hold.ends,
                      .is_detached = hold.is_detached};
  }
  const auto settled = settled_.find(id);
  if (settled == settled_.end() || settled->second.account == kNoRecord) return std::nullopt;
  const SettledHold& hold = settled->second;
  return StoredHold{.id = id,
                    .account = hold.account,
                    .reserved = hold.reserved,
                    .is_settled = true,
                    .used = hold.answer.used,
                    .above_hold = hold.answer.above_hold};
}

std::vector<HoldId> HoldBook::TakeForgotten() {
  const std::lock_guard lock(mutex_);
  tells_ = true;
  return std::exchange(forgotten_, {});
}

void HoldBook::Restore(HoldId id, OpenHold hold) {
  const std::lock_guard lock(mutex_);
  open_.emplace(id, std::move(hold));
}

void HoldBook::Restore(HoldId id, SettledHold hold) {
  const std::lock_guard lock(mutex_);
  KeepAnswer(id, std::move(hold));
}

bool HoldBook::SetSlots(HoldId id, const std::array<RateLimit::Slot, 3>& slots,
                        const std::array<std::uint32_t, 3>& rates) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) return false;
  found->second.slots = slots;
  found->second.rates = rates;
  return true;
}

void HoldBook::GoOnAfter(HoldId last) {
  const std::lock_guard lock(mutex_);
  last_ = std::max(last_, last);
}

}  // namespace mete
