// The bodies that the two sockets take: docs/run.md has the shapes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mete/error.h"
#include "mete/quota.h"
#include "wire/json.h"

namespace mete::agent {

// What a report, a hold or a settlement names.
struct UsageMessage {
  Amounts amounts;
  std::optional<Duration> ttl;  // holds only
  Source source = Source::kReported;
};

// A JSON object and nothing else; E2071.
Result<wire::Json> ReadObject(std::string_view body);

// E2071 for anything that is not an object of known fields with good amounts, and for one that
// names nothing. `ttl_seconds` is known only where `with_ttl`, `source` where `with_source`.
Result<UsageMessage> ReadUsage(std::string_view body, bool with_ttl, bool with_source = false);

// {NAME: "TEXT" or NUMBER or null}; E2071 names the field.
Result<ResourceLimits> LimitsOf(const wire::Json& object);

// {"limits": {NAME: "TEXT" or NUMBER or null}}; E2073 names the field.
Result<ResourceLimits> ReadLimits(std::string_view body);

// {"override": BOOL}, or nothing at all.
Result<bool> ReadOverride(std::string_view body);

}  // namespace mete::agent
