// The directories of a group: made in every hierarchy, entered, and removed again.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "cgroup/layout.h"
#include "cgroup/limits.h"
#include "mete/error.h"

namespace mete::cgroup {

// One hierarchy, with the directory that holds "mete".
struct Root {
  std::string dir;
  std::string path;  // as /proc/PID/cgroup names it
  UniqueFd base;
  std::string controller;   // one that v1 has there; empty in the unified hierarchy
  std::string controllers;  // v2: to be passed on to the groups, "+cpu +memory +pids"
  bool delegated = false;   // processes in the base keep it from that, and may be moved below it
};

// The unified hierarchy first, the one with cpu last; each is there once, whatever it controls.
struct Roots {
  std::vector<Root> all;
  std::size_t cpu = 0, memory = 0, pids = 0;  // which of them has the controller
  std::array<Version, 3> versions{};          // cpu, memory, pids
};

// An error of opening a base leaves its descriptor at -1; making a group there then fails.
Roots OpenRoots(const Places& places);

class Directories {
 public:
  Directories(std::shared_ptr<const Roots> roots, std::string_view name);

  // Makes and opens them all, with the groups above that are missing, or leaves nothing: E2076 if
  // the name is in use.
  Result<void> Make();
  // Opens those that are there: E2070 if the unified one is not.
  Result<void> Open();

  // Async-signal-safe. Moves the calling process. Into the unified group first, so that whoever
  // kills the group meets also a process that is still on its way into the others; into the one
  // with the CPU quota last, because from there on the quota makes that way long.
  int Join() const noexcept;
  int JoinOutsideUnified() const noexcept;  // for a process that was started in the unified one

  // Another process, with all its threads. 0 or an errno; it may be in some of the hierarchies
  // then.
  int Move(pid_t pid) const;
  // Whether it is in all of them, by the text of its /proc/PID/cgroup.
  bool HoldsAll(std::string_view proc_cgroup_text) const;

  // Also removes groups that a program made inside its own, and the groups above that are empty
  // then. Of a tenant or session: only itself, and only without groups in it, since those may be
  // somebody's that has no process yet. REQUIRES for success: no process is in it.
  Result<void> Remove();

  int unified() const { return dirs_.front().get(); }
  // The groups of a session and a tenant above this one.
  int levels_above() const { return static_cast<int>(levels_.size()) - 1; }
  ControlDirs controls() const;
  const std::vector<std::string>& paths() const { return paths_; }  // unified first
  // The directory in the hierarchy of this controller: 0 cpu, 1 memory, 2 pids.
  std::string directory_of(std::size_t controller) const;
  std::vector<pid_t> ProcessesOutsideUnified() const;  // still in a v1 group

 private:
  Result<void> MakeOne(const Root& root);
  Result<void> MakeLevels(const Root& root);
  void RemoveLevels(const Root& root) const;
  int RemoveOne(const Root& root) const;
  int Enter(std::size_t which) const noexcept;
  Result<void> PassControllers(const Root& root);
  Result<void> OpenOne(const Root& root, UniqueFd& dir);

  std::shared_ptr<const Roots> roots_;
  std::string relative_;             // "mete/<name>"
  std::vector<std::string> levels_;  // "mete", "mete/t-acme", ..: those above it, from the top
  bool is_level_;                    // of a tenant or session, or the top itself
  std::vector<std::string> paths_;
  std::vector<UniqueFd> dirs_;  // as roots_->all
};

}  // namespace mete::cgroup
