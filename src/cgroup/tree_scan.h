// Finding the groups that are there, whoever made them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/host.h"

namespace mete::cgroup {

// `base` holds the directory "mete" in the unified hierarchy. A group stands before those in it.
// Directories that an agent made inside its own group are not among them.
std::vector<agent::FoundGroup> ScanGroups(int base);

// The generations of the agents whose names start with `stem`, "t-acme/a-bot.", ascending.
std::vector<std::uint64_t> GenerationsIn(int base, std::string_view stem);

}  // namespace mete::cgroup
