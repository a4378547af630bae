// Names of groups, the same for every host.
#pragma once

#include <string_view>

#include "mete/error.h"

namespace mete::cgroup {

// [A-Za-z0-9._:-]{1,128}, and neither "." nor "..": E2071 otherwise.
Result<void> CheckGroupName(std::string_view name);

}  // namespace mete::cgroup
