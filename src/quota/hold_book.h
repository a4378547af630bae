// The open holds, and the answers to those that were settled lately.
//
// Thread safety: any thread; taken inside the lock of a tree, never the other way round. What
// happens to the holds of one account follows the lock of its tree.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mete/resource_manager.h"
#include "mete/store.h"
#include "quota/rate_limit.h"
#include "quota/record.h"

namespace mete {

struct OpenHold {
  RecordIndex account = kNoRecord;
  std::uint16_t generation = 0;
  Amounts reserved{};
  std::array<RateLimit::Slot, 3> slots{};  // of requests: account, and those above it
  std::array<std::uint32_t, 3> rates{};    // which of the rate limits there: Rare::rate_number
  std::optional<Time> ends = std::nullopt;
  bool is_detached = false;
};

struct SettledHold {
  RecordIndex account = kNoRecord;  // until that is removed
  Amounts reserved{};
  Settlement answer{};
  bool is_restored = false;  // from a store, which keeps of the receipt only what was used
};

class HoldBook {
 public:
  static constexpr std::size_t kSettledKept = 4096;

  HoldId Open(OpenHold hold);
  std::optional<OpenHold> Find(HoldId id) const;
  bool Detach(HoldId id);  // false, where it is not open
  bool Close(HoldId id);   // false if somebody else did

  // At once, so that whoever settles it too finds the hold or the answer.
  void Settle(HoldId id, const Settlement& answer);
  std::optional<SettledHold> AnswerOf(HoldId id) const;
  // The answers of an account that is removed: they are not for a store any more.
  std::vector<HoldId> ForgetAccount(RecordIndex account);

  // For a store

  HoldId last() const;
  std::optional<StoredHold> StoredOf(HoldId id) const;
  // Answers that were forgotten because newer ones came, since the last call. Kept from the first
  // call on.
  std::vector<HoldId> TakeForgotten();
  void Restore(HoldId id, OpenHold hold);
  void Restore(HoldId id, SettledHold hold);  // by rising ids
  void GoOnAfter(HoldId last);                // the next one has a higher number
  bool SetSlots(HoldId id, const std::array<RateLimit::Slot, 3>& slots,
                const std::array<std::uint32_t, 3>& rates);  // false, where it is not open

 private:
  void KeepAnswer(HoldId id, SettledHold hold);

  mutable std::mutex mutex_;
  HoldId last_ = 0;
  std::unordered_map<HoldId, OpenHold> open_;
  std::unordered_map<HoldId, SettledHold> settled_;
  std::unordered_map<RecordIndex, std::vector<HoldId>> settled_of_;
  std::deque<HoldId> order_;
  std::vector<HoldId> forgotten_;
  bool tells_ = false;
};

}  // namespace mete
