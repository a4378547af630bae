// The values of the manager as the dataclasses of mete._models, and what is given as Python values.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "mete/resource_manager.h"

namespace mete::python {

namespace nb = nanobind;

// The clock tells which wall time a window's end is.
nb::object ModelOf(const ResourceQuota& quota, const Clock& clock);
nb::object ModelOf(const ResourceUsage& usage);
nb::object ModelOf(const Settlement& settlement);
// `missed`: how many events before it were not kept.
nb::object ModelOf(const Event& event, std::uint64_t missed);

// "session/s1", which is how a target is named where one text must do; no id contains a '/'.
nb::object TextOfName(const TargetName& name);
// E2071 for anything else.
TargetName NameFrom(const char* argument, nb::handle text);

// {"cpu": "4", "memory": None}: texts, or None for unlimited. `where` comes before the name of a
// limit in an error: "default_limits.".
ResourceLimits LimitsFrom(const nb::dict& limits, const std::string& where = "");
// {"tokens": ("hard", "suspend")}. REQUIRES: the words are right.
std::vector<std::pair<Resource, Policy>> PoliciesFrom(const nb::dict& policies);
// {"tokens": 500}; what is None is not named.
Amounts AmountsFrom(const nb::dict& amounts);

}  // namespace mete::python
