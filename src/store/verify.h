// Whether a state folder is whole, without changing what it holds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mete/error.h"
#include "mete/store.h"

namespace mete {

struct VerifyReport {
  StoredMark mark{};  // of the last batch
  std::uint64_t quotas = 0, states = 0, holds = 0, keys = 0, events = 0;
  std::vector<std::string> problems{};  // none: it is whole
};

// Whether a ledger is in the folder, or was: opening it makes none where there never was one.
bool HoldsLedger(const std::string& folder);

// Reads every row, and looks at the pages of the file. E2080: somebody owns the folder; E2079: it
// is none, or cannot be read. A damaged one is no error here: it is what the report says.
Result<VerifyReport> VerifyStore(const std::string& folder, const StoreOptions& options = {});

}  // namespace mete
