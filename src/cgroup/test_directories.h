// The directories of groups on this machine, for tests that look behind a host's back.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "cgroup/layout.h"

namespace mete::cgroup {

// Where the groups of this machine are made: one directory in each hierarchy.
inline std::set<std::string> Bases() {
  const Places places = FindPlaces(ReadLayout());
  std::set<std::string> bases;
  for (const std::string& dir :
       {places.unified_dir, places.cpu.dir, places.memory.dir, places.pids.dir}) {
    if (!dir.empty()) bases.insert(dir);
  }
  return bases;
}

// The directories that a group of this name has now.
inline std::vector<std::string> DirectoriesOf(const std::string& name) {
  std::vector<std::string> found;
  for (const std::string& base : Bases()) {
    const std::string dir = base + "/mete/" + name;
    if (std::filesystem::exists(dir)) found.push_back(dir);
  }
  return found;
}

// Removes an empty group without its handle.
inline void RemoveDirectories(const std::string& name) {
  for (const std::string& base : Bases()) {
    rmdir((base + "/mete/" + name).c_str());
    rmdir((base + "/mete").c_str());
  }
}

}  // namespace mete::cgroup
