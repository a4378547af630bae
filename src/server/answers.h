// The answers of the owner of a ledger, read back: what quota_json.h and responses.h write.
// docs/http.md has the shapes.
#pragma once

#include <string_view>

#include "mete/clock.h"
#include "mete/error.h"
#include "mete/resource_manager.h"
#include "wire/http.h"
#include "wire/json.h"

namespace mete::server {

// The error that a refusal carries, with its time to retry.
Error ReadProblem(const wire::HttpResponse& response);

// kSystem names what is missing or is something else: these are written by the same program, so
// that is a version that does not fit. Times are of this clock, to the second.
Result<ResourceQuota> ReadQuota(const wire::Json& json, const Clock& clock);
// Of the receipt what the answer has: no figures, which the quota has.
Result<Settlement> ReadReceipt(const wire::Json& json);
Result<ResourceUsage> ReadTotals(const wire::Json& json);
Result<Event> ReadEvent(const wire::Json& json, const Clock& clock);  // but for its usage

// "2026-03-01T13:00:00Z", with or without a fraction (RFC 3339, in UTC).
Result<WallTime> ReadTime(std::string_view text);

}  // namespace mete::server
