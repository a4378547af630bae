// Names of groups, the same for every host.
#pragma once

#include "agent/group_name.h"

namespace mete::cgroup {

using agent::CheckGroupName;

}  // namespace mete::cgroup
