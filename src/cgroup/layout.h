// Where this process stands in the control groups of the machine, and where groups can be made.
//
// Two steps, so that the first is pure and can be tested on the texts of other machines:
//   ReadLayout   /proc/self/mountinfo and /proc/self/cgroup  ->  the caller's own groups
//   FindPlaces   those directories  ->  in which of them mete makes its groups
//
// Groups are made under the caller's own group, in each hierarchy, so that an agent stays inside
// every limit that already holds its caller. Only on v2 may that be an ancestor instead: a v2 group
// with processes cannot pass controllers on to children, so the nearest ancestor that can is taken.
// A group that systemd delegated (its attribute "user.delegate" says so) is the last one taken:
// what is above is systemd's. It passes controllers on once mete has moved the processes in it to a
// group below (Directories), which who got it may do.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mete::cgroup {

struct Position {
  std::string mount;  // where the hierarchy is mounted
  std::string dir;    // the caller's group as a directory; empty if the mount does not show it
  std::string path;   // the same group as /proc/PID/cgroup names it: "/", "/a/b"
};

// A position under cpu, memory or pids means that a v1 hierarchy has that controller.
struct Layout {
  std::optional<Position> unified, cpu, memory, pids;
};

Layout ReadLayout(std::string_view mountinfo, std::string_view own_groups);
Layout ReadLayout();  // of this process

enum class Version { kNone, kV1, kV2 };

struct ControllerPlace {
  Version version = Version::kNone;
  std::string dir;   // the directory that holds (or will hold) "mete"
  std::string path;  // the same as /proc/PID/cgroup names it
  std::string why;   // with kNone: what is missing
};

struct Places {
  std::string missing;       // why no group can be made at all; empty if they can
  std::string unified_dir;   // always the directory for freezing, killing and CPU time
  std::string unified_path;  // the same as /proc/PID/cgroup names it
  bool delegated = false;    // by systemd: the processes in unified_dir may be moved below it
  std::string undelegated;   // the caller's unit, if systemd has one for it and did not delegate it
  ControllerPlace cpu, memory, pids;

  bool hybrid() const {
    return cpu.version == Version::kV1 || memory.version == Version::kV1 ||
           pids.version == Version::kV1;
  }
};

// Looks at permissions and file contents only; makes nothing.
Places FindPlaces(const Layout& layout);

// "/" + "a" -> "/a", "/a" + "b" -> "/a/b"
std::string JoinPath(std::string_view parent, std::string_view child);

}  // namespace mete::cgroup
