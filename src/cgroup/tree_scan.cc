#include "cgroup/tree_scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/unique_fd.h"
#include "cgroup/control_file.h"
#include "cgroup/label.h"
#include "cgroup/processes.h"

namespace mete::cgroup {
namespace {

using agent::FoundGroup;

std::vector<std::string> DirectoriesIn(int dir) {
  std::vector<std::string> names;
  UniqueFd copy(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* listing = copy ? fdopendir(copy.get()) : nullptr;
  if (listing == nullptr) return names;
  (void)copy.release();
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(listing);
  std::ranges::sort(names);
  return names;
}

bool ReadState(int dir, FoundGroup& group) {
  FileBuffer buffer;
  const auto events = ReadAt(dir, "cgroup.events", buffer);
  if (!events) return false;  // it goes at this moment
  group.populated = NumberAfter(*events, "populated") == 1;
  group.frozen = NumberAfter(*events, "frozen") == 1;
  if (const auto freeze = ReadAt(dir, "cgroup.freeze", buffer)) {
    group.freeze_wanted = NumberIn(*freeze) == 1;
  }
  struct stat info{};
  if (fstat(dir, &info) == 0) group.inode = info.st_ino;
  group.label = ReadLabel(dir);
  return true;
}

void Scan(int dir, const std::string& prefix, std::vector<FoundGroup>& found) {
  for (const std::string& name : DirectoriesIn(dir)) {
    FoundGroup group;
    group.name = prefix + name;
    if (!agent::CheckGroupName(group.name)) continue;  // nobody's that mete knows
    group.leaf = !agent::IsLevel(group.name);
    const UniqueFd opened(openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!opened || !ReadState(opened.get(), group)) continue;
    const bool leaf = group.leaf;
    const std::string below = group.name + "/";
    found.push_back(std::move(group));
    if (!leaf) Scan(opened.get(), below, found);
  }
}

}  // namespace

std::vector<FoundGroup> ScanGroups(int base) {
  std::vector<FoundGroup> found;
  const UniqueFd top(openat(base, kParent.data(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (top) Scan(top.get(), "", found);
  return found;
}

std::vector<std::uint64_t> GenerationsIn(int base, std::string_view stem) {
  const std::size_t slash = stem.rfind('/');
  std::string dir(kParent);
  if (slash != std::string_view::npos) {
    dir.append("/").append(stem.substr(0, slash));
    stem.remove_prefix(slash + 1);
  }
  std::vector<std::uint64_t> generations;
  const UniqueFd opened(openat(base, dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return generations;
  for (const std::string& name : DirectoriesIn(opened.get())) {
    if (auto generation = agent::GenerationIn(name, stem)) generations.push_back(*generation);
  }
  std::ranges::sort(generations);
  return generations;
}

}  // namespace mete::cgroup
