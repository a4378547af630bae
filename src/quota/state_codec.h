// What a store keeps of an account beside its quota: usage, windows, warnings and causes, as bytes.
//
// Written for every account that changed, some ten times a second, under the lock of its tree: so
// the numbers that every account has are packed without branches, each into as many bytes as it
// needs, and the account's limits, names and place are not in it. An idle agent with three limits
// takes some 40 bytes.
#pragma once

#include <string>
#include <string_view>

#include "mete/error.h"
#include "quota/hold_book.h"
#include "quota/record.h"

namespace mete {

// Appends. REQUIRES: the lock of the record's tree.
void EncodeState(const Record& record, const HoldBook& holds, std::string& bytes);

// What of its open holds is in the rates along their paths; for the book once they are there.
struct StoredSlots {
  HoldId hold = 0;
  std::array<RateLimit::Slot, 3> slots{};
  std::array<std::uint32_t, 3> rates{};
};

// Into a record that has its limits. E2079: these are no such bytes.
Result<void> DecodeState(std::string_view bytes, Record& record, std::vector<StoredSlots>& slots);

// All its times, later by so much.
void ShiftTimes(Record& record, Duration by);

}  // namespace mete
