// Limits on a command line: the options that are named as the limits are.
#pragma once

#include "cli/flags.h"
#include "wire/json.h"

namespace mete::cli {

// The member "limits" with those that were given, "unlimited" as null. False, and nothing written,
// if there are none.
bool WriteLimits(wire::JsonWriter& json, const Flags& flags);

}  // namespace mete::cli
