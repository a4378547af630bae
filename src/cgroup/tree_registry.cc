#include "cgroup/tree_registry.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/group_name.h"
#include "base/unique_fd.h"
#include "cgroup/control_file.h"
#include "cgroup/marked_processes.h"

namespace mete::cgroup {
namespace {

// No group's name starts with a dot.
constexpr const char *kMark = ".mark", *kFrozen = ".frozen", *kLabel = ".label";
constexpr const char* kFiles[] = {kMark, kFrozen, kLabel};

std::unexpected<Error> Failed(const char* what, const std::string& path, int error) {
  return Fail(ErrorCode::kSystem, fmt::format("{}: {}: {}", what, path, ErrnoText(error)));
}

}  // namespace

rlim_t NewMark() {
  rlim_t random = 0;
  while (getrandom(&random, sizeof random, 0) != sizeof random) {
  }
  return kFirstMark + random % kFirstMark;
}

TreeRegistry::TreeRegistry(std::string_view folder) : root_(folder) { root_ += "/groups"; }

std::string TreeRegistry::Path(std::string_view name, std::string_view file) const {
  std::string path = root_;
  if (!name.empty()) path.append("/").append(name);
  if (!file.empty()) path.append("/").append(file);
  return path;
}

// Replaced as a whole, so that a reader never sees half of it.
Result<void> TreeRegistry::Write(const std::string& path, std::string_view text) {
  const std::string fresh = fmt::format("{}.{}", path, getpid());
  UniqueFd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return Failed("cannot make the file of a group", fresh, errno);
  const bool written =
      write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (written && rename(fresh.c_str(), path.c_str()) == 0) return {};
  const int error = errno;
  unlink(fresh.c_str());
  return Failed("cannot write the file of a group", path, error);
}

Result<void> TreeRegistry::Make(std::string_view name, rlim_t mark) {
  // Those above go with the last group in them: whoever makes one at that moment tries again.
  for (int attempt = 0;; ++attempt) {
    for (std::size_t at = 0; at != std::string_view::npos;) {
      mkdir(Path(name.substr(0, at)).c_str(), 0700);
      at = name.find('/', at == 0 ? 0 : at + 1);
    }
    if (mkdir(Path(name).c_str(), 0700) == 0) break;
    if (errno == EEXIST) {
      return Fail(ErrorCode::kAlreadyExists, fmt::format("group exists already: {}", name));
    }
    if (errno != ENOENT || attempt == 100) {
      return Failed("cannot make the folder of a group", Path(name), errno);
    }
  }
  if (mark == 0) return {};
  Result<void> written = Write(Path(name, kMark), fmt::format("{}", mark));
  if (!written) [[maybe_unused]]
    auto removed = Remove(name);
  return written;
}

bool TreeRegistry::Has(std::string_view name) const {
  return access(Path(name).c_str(), F_OK) == 0;
}

Result<void> TreeRegistry::Remove(std::string_view name) {
  const std::string path = Path(name);
  if (Below(name).size() <= 1) {
    for (const char* file : kFiles) unlink(Path(name, file).c_str());
  }
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) {
    if (errno != ENOTEMPTY && errno != EEXIST) {
      return Failed("cannot remove the folder of a group", path, errno);
    }
    return Fail(ErrorCode::kInUse,
                fmt::format("group cannot be removed: groups are in it: {}", name));
  }
  for (std::string_view above = name; !above.empty();) {
    above = agent::ParentOf(above);
    // One with a file of its own (a label, a freeze) is still empty of groups.
    if (!above.empty() && Below(above).size() == 1) {
      for (const char* file : kFiles) unlink(Path(above, file).c_str());
    }
    if (rmdir(Path(above).c_str()) != 0) break;
  }
  return {};
}

Result<void> TreeRegistry::SetFrozen(std::string_view name, bool frozen) {
  const std::string path = Path(name, kFrozen);
  if (frozen) return Write(path, "1");
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return Failed("cannot remove the file of a group", path, errno);
}

bool TreeRegistry::Frozen(std::string_view name) const {
  return access(Path(name, kFrozen).c_str(), F_OK) == 0;
}

bool TreeRegistry::FrozenAbove(std::string_view name) const {
  while (!name.empty()) {
    name = agent::ParentOf(name);
    if (Frozen(name)) return true;
  }
  return false;
}

Result<void> TreeRegistry::SetLabel(std::string_view name, std::string_view text) {
  return Write(Path(name, kLabel), text);
}

std::string TreeRegistry::Label(std::string_view name) const {
  return ReadWhole(Path(name, kLabel).c_str());
}

void TreeRegistry::Collect(std::string_view name, std::vector<Entry>& found) const {
  const std::string path = Path(name);
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return;
  if (!name.empty()) {
    Entry entry{std::string(name), 0, status.st_ino};
    const auto mark = NumberIn(ReadWhole(Path(name, kMark).c_str()));
    if (mark) entry.mark = static_cast<rlim_t>(*mark);
    found.push_back(std::move(entry));
  }
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return;
  std::vector<std::string> inside;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') inside.emplace_back(entry->d_name);
  }
  closedir(folder);
  std::ranges::sort(inside);
  for (const std::string& one : inside) {
    Collect(name.empty() ? one : fmt::format("{}/{}", name, one), found);
  }
}

std::vector<TreeRegistry::Entry> TreeRegistry::Below(std::string_view name) const {
  std::vector<Entry> found;
  Collect(name, found);
  return found;
}

std::optional<std::string> TreeRegistry::NameOf(rlim_t mark) const {
  if (!IsMark(mark)) return std::nullopt;
  for (const Entry& entry : Below(agent::kTopGroup)) {
    if (entry.mark == mark) return entry.name;
  }
  return std::nullopt;
}

}  // namespace mete::cgroup
