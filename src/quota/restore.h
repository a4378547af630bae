// A ledger that goes on with what a store has.
#pragma once

#include <memory>
#include <vector>

#include "quota/ledger.h"

namespace mete {

// Into an empty ledger, which then has a writer to that store. Answers the holds whose owners died
// with the process that had them. E2079: the store cannot be read, or what it has makes no sense.
Result<std::vector<HoldId>> Restore(Ledger& ledger, std::unique_ptr<Store> store);

}  // namespace mete
