// What a running agent answers (docs/run.md has the shapes), as people read it.
#pragma once

#include <string>
#include <vector>

#include "wire/json.h"

namespace mete::cli {

// A quota: its state, a table of its limits, its usage.
std::string QuotaText(const wire::Json& quota);
// One row per quota.
std::string QuotaListText(const std::vector<wire::Json>& quotas);
// The same, of the accounts of a state folder.
std::string AccountListText(const std::vector<wire::Json>& quotas);
// One line: when, to whom, what.
std::string EventText(const wire::Json& event);
// A receipt: what was recorded, what remains, what follows.
std::string ReceiptText(const wire::Json& receipt);

}  // namespace mete::cli
