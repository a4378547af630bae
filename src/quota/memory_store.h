// What NewMemoryStore keeps, for those who look into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "mete/store.h"

namespace mete {

// Not for use by two stores at a time.
struct MemoryStoreContent {
  // As many as StoreOptions keeps.
  static constexpr std::size_t kEventsKept = 1'000'000;

  StoredMark mark{};
  std::map<AccountSlot, StoredQuota> quotas{};
  std::map<AccountSlot, std::string> states{};
  std::map<std::uint64_t, StoredHold> holds{};
  std::map<std::pair<AccountSlot, std::string>, StoredKey> keys{};
  std::deque<Event> events{};
};

}  // namespace mete
