// The processes of a group, and the group of a process.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mete::cgroup {

// The name of the directory in which all groups of mete are made.
inline constexpr std::string_view kParent = "mete";

// Every process listed in this group and in the groups below it.
std::vector<pid_t> ProcessesIn(int dir);

// The process's group in the unified hierarchy ("/a/b"), without the kernel's mark of a removed
// one; empty if there is no such process.
std::string UnifiedPathOf(pid_t pid);

// The same in the hierarchy of a controller, from the text of /proc/PID/cgroup; "" is the unified
// hierarchy, "0::/a/b".
std::optional<std::string> PathIn(std::string_view proc_cgroup_text, std::string_view controller);
std::string UnifiedPathIn(std::string_view proc_cgroup_text);

// Whether `path` is `group` or lies below it.
bool IsWithin(std::string_view path, std::string_view group);

// The group of mete that a path lies in: what follows "mete", up to the group of an agent; seen
// from `base` if the path is below that, otherwise from the top, so that a group which an agent
// made inside its own does not hide the agent's.
std::optional<std::string> GroupIn(std::string_view path, std::string_view base);

// Signals the process only if it is in one of these groups, or below, in any hierarchy now. A pid
// may be another process's by the time it is used; a descriptor of the process may not, so the
// group is checked after taking one. False if it was not there.
bool SignalIn(pid_t pid, int signal_number, std::span<const std::string> groups);

}  // namespace mete::cgroup
