#include "cgroup/directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/group_name.h"
#include "cgroup/control_file.h"
#include "cgroup/processes.h"

namespace mete::cgroup {
namespace {

// Others may remove a group above between its making and this one's as often as they end a last
// group in it.
constexpr int kMakeAttempts = 100;
// The kernel lets go of a group a moment after its last process ended: 1, 2, 4 .. 64 ms, 0.4 s.
constexpr int kRemoveAttempts = 10;
constexpr int kMaxDepth = 32;
// Where those go who are in a delegated base itself; never removed, since they stay in it.
constexpr const char* kCallers = "mete-callers";

// The processes that are in a delegated base itself, for as long as there are any: only from one of
// them another is born there. 0 or an errno.
int MoveCallersBelow(int base) {
  UniqueFd below;
  for (int attempt = 0; attempt < kMakeAttempts; ++attempt) {
    FileBuffer buffer;
    const auto text = ReadAt(base, "cgroup.procs", buffer);
    if (!text) return text.error();
    if (text->empty()) return 0;
    if (mkdirat(base, kCallers, 0755) != 0 && errno != EEXIST) return errno;
    below.reset(openat(base, kCallers, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!below) return errno;
    // Whole lines only: a long list is cut.
    for (std::string_view rest = text->substr(0, text->rfind('\n') + 1); !rest.empty();) {
      const std::size_t end = rest.find('\n');
      const int error = WriteAt(below.get(), "cgroup.procs", rest.substr(0, end));
      if (error != 0 && error != ESRCH) return error;
      rest.remove_prefix(end + 1);
    }
  }
  return EBUSY;
}

Result<void> CannotMake(const Root& root, std::string_view relative, int error) {
  return Fail(ErrorCode::kSystem, fmt::format("no group can be made at {}/{}: {}", root.dir,
                                              relative, ErrnoText(error)));
}

// What a process writes itself to. A thread that moves itself (v1 has "tasks") needs not stop all
// others of the machine, as a process must; between fork and exec there is but one.
const char* EnterFile(const Root& root) {
  return root.controller.empty() ? "cgroup.procs" : "tasks";
}

void Pause(int attempt) {
  const timespec time{0, std::min(1 << attempt, 64) * 1'000'000L};
  nanosleep(&time, nullptr);
}

// rmdir, after the groups below. 0 or the errno that stayed.
int RemoveTree(int parent, const char* name, int depth) {
  int error = 0;
  for (int attempt = 0; attempt < kRemoveAttempts; ++attempt) {
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
    error = errno;
    if (error != EBUSY && error != ENOTEMPTY) return error;
    if (depth < kMaxDepth) {
      UniqueFd dir(openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!dir) continue;
      const int fd = dir.release();
      DIR* listing = fdopendir(fd);
      if (listing == nullptr) {
        close(fd);
        continue;
      }
      while (const dirent* entry = readdir(listing)) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
        RemoveTree(fd, entry->d_name, depth + 1);
      }
      closedir(listing);
      if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
    }
    Pause(attempt);
  }
  return error;
}

void AddController(Roots& roots, std::size_t which, const char* name, const ControllerPlace& place,
                   std::size_t& index) {
  roots.versions[which] = place.version;
  if (place.version == Version::kV2) {
    std::string& list = roots.all.front().controllers;
    list += fmt::format("{}+{}", list.empty() ? "" : " ", name);
  } else if (place.version == Version::kV1) {
    auto same = std::ranges::find(roots.all, place.dir, &Root::dir);
    index = static_cast<std::size_t>(same - roots.all.begin());
    if (same == roots.all.end()) roots.all.push_back(Root{place.dir, place.path, {}, name, {}});
  }
}

}  // namespace

Roots OpenRoots(const Places& places) {
  Roots roots;
  roots.all.push_back(Root{places.unified_dir, places.unified_path, {}, {}, {}, places.delegated});
  AddController(roots, 1, "memory", places.memory, roots.memory);
  AddController(roots, 2, "pids", places.pids, roots.pids);
  AddController(roots, 0, "cpu", places.cpu, roots.cpu);  // see Directories::Join
  for (Root& root : roots.all) {
    root.base.reset(open(root.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  return roots;
}

Directories::Directories(std::shared_ptr<const Roots> roots, std::string_view name)
    : roots_(std::move(roots)), relative_(kParent), is_level_(agent::IsLevel(name)) {
  for (std::string_view rest = name; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    levels_.push_back(relative_);
    relative_.append("/").append(part);
  }
  for (const Root& root : roots_->all) paths_.push_back(JoinPath(root.path, relative_));
  dirs_.resize(roots_->all.size());
}

// EEXIST is as good as made; ENOENT: one above was removed meanwhile, so the caller tries again.
Result<void> Directories::MakeLevels(const Root& root) {
  for (const std::string& level : levels_) {
    if (mkdirat(root.base.get(), level.c_str(), 0755) == 0) {
      // Before Linux 5.11 a v1 group counted what is below it only when told to.
      const std::string sums = level + "/memory.use_hierarchy";
      FileBuffer buffer;
      const auto text = ReadAt(root.base.get(), sums.c_str(), buffer);
      if (text && NumberIn(*text) == 0) WriteAt(root.base.get(), sums.c_str(), "1");
    } else if (errno == ENOENT) {
      return {};
    } else if (errno != EEXIST) {
      return CannotMake(root, level, errno);
    }
  }
  return {};
}

Result<void> Directories::MakeOne(const Root& root) {
  for (int attempt = 0; attempt < kMakeAttempts; ++attempt) {
    if (mkdirat(root.base.get(), relative_.c_str(), 0755) == 0) return {};
    if (errno == EEXIST) {
      struct stat info{};
      const bool file =
          fstatat(root.base.get(), relative_.c_str(), &info, 0) == 0 && !S_ISDIR(info.st_mode);
      if (file) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("group name is one of the kernel's own: given {}",
                                relative_.substr(kParent.size() + 1)));
      }
      return Fail(ErrorCode::kAlreadyExists,
                  fmt::format("group exists already: {}", JoinPath(root.dir, relative_)));
    }
    if (errno != ENOENT) return CannotMake(root, relative_, errno);
    if (auto made = MakeLevels(root); !made) return made;
  }
  return CannotMake(root, relative_, ENOENT);
}

// v2 groups get the files of a controller only from a parent that passes it on. Done after the
// group is made: with a child in it, nobody can remove a group above any more. Whether it is needed
// is asked of the group itself: while another maker is at it, the parent says so already, but the
// files come later, and writing waits for them.
Result<void> Directories::PassControllers(const Root& root) {
  bool complete = true;
  for (const char* name : {"cpu", "memory", "pids"}) {
    if (root.controllers.find(fmt::format("+{}", name)) == std::string::npos) continue;
    const std::string file = fmt::format("{}/{}.max", relative_, name);
    if (faccessat(root.base.get(), file.c_str(), F_OK, 0) != 0) complete = false;
  }
  if (complete) return {};
  // Before, not when the kernel refuses: cpu and pids alone it would pass on, to threads.
  if (const int error = root.delegated ? MoveCallersBelow(root.base.get()) : 0) {
    return Fail(ErrorCode::kSystem,
                fmt::format("processes cannot be moved: from {} to {} below it: {}", root.dir,
                            kCallers, ErrnoText(error)));
  }
  std::vector<std::string> files = {"cgroup.subtree_control"};
  for (const std::string& level : levels_) files.push_back(level + "/cgroup.subtree_control");
  for (const std::string& file : files) {
    const int error = WriteAt(root.base.get(), file.c_str(), root.controllers);
    if (error == 0) continue;
    return Fail(ErrorCode::kSystem,
                fmt::format("controllers cannot be passed on: {}/{} asked {}: {}", root.dir, file,
                            root.controllers,
                            error == EBUSY ? "processes are in that group" : ErrnoText(error)));
  }
  return {};
}

Result<void> Directories::OpenOne(const Root& root, UniqueFd& dir) {
  dir.reset(openat(root.base.get(), relative_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return CannotMake(root, relative_, errno);
  const char* file = EnterFile(root);
  if (faccessat(dir.get(), file, W_OK, AT_EACCESS) == 0) return {};
  const int error = errno;
  dir.reset();
  return CannotMake(root, fmt::format("{}/{}", relative_, file), error);
}

Result<void> Directories::Make() {
  for (std::size_t i = 0; i < roots_->all.size(); ++i) {
    const Root& root = roots_->all[i];
    Result<void> made = MakeOne(root);
    if (!made && i > 0 && made.error().code == ErrorCode::kAlreadyExists &&
        unlinkat(root.base.get(), relative_.c_str(), AT_REMOVEDIR) == 0) {
      made = MakeOne(root);  // an empty leftover of a crash: the name is ours in the unified one
    }
    if (made) made = PassControllers(root);
    if (made) made = OpenOne(root, dirs_[i]);
    if (made) continue;
    // A directory that was there before (only the last one can be such) is not ours to remove.
    const bool ours = made.error().code == ErrorCode::kSystem;
    for (std::size_t k = ours ? i + 1 : i; k-- > 0;) {
      unlinkat(roots_->all[k].base.get(), relative_.c_str(), AT_REMOVEDIR);
      RemoveLevels(roots_->all[k]);
    }
    return made;
  }
  return {};
}

Result<void> Directories::Open() {
  for (std::size_t i = 0; i < roots_->all.size(); ++i) {
    Result<void> opened = OpenOne(roots_->all[i], dirs_[i]);
    if (!opened && i == 0) {
      return Fail(ErrorCode::kNotFound, fmt::format("group does not exist: {}", paths_.front()));
    }
  }
  return {};
}

// The descriptor is not kept from the start: there may be a thousand groups, and one process that
// joins.
int Directories::Enter(std::size_t which) const noexcept {
  const int file = openat(dirs_[which].get(), EnterFile(roots_->all[which]), O_WRONLY | O_CLOEXEC);
  if (file < 0) return errno;
  const int error = write(file, "0", 1) == 1 ? 0 : errno;
  close(file);
  return error;
}

int Directories::Join() const noexcept {
  if (const int error = Enter(0)) return error;
  return JoinOutsideUnified();
}

int Directories::JoinOutsideUnified() const noexcept {
  for (std::size_t i = 1; i < dirs_.size(); ++i) {
    if (const int error = Enter(i)) return error;
  }
  return 0;
}

// In the order of Join, for the same reasons.
int Directories::Move(pid_t pid) const {
  for (const UniqueFd& dir : dirs_) {
    if (const int error = WriteAt(dir.get(), "cgroup.procs", fmt::format("{}", pid))) {
      return error;
    }
  }
  return 0;
}

bool Directories::HoldsAll(std::string_view proc_cgroup_text) const {
  for (std::size_t i = 0; i < roots_->all.size(); ++i) {
    const auto path = PathIn(proc_cgroup_text, roots_->all[i].controller);
    if (!path || !IsWithin(*path, paths_[i])) return false;
  }
  return true;
}

// Refused by the kernel while other groups are in them, and then so are those further up.
void Directories::RemoveLevels(const Root& root) const {
  for (std::size_t i = levels_.size(); i-- > 0;) {
    if (unlinkat(root.base.get(), levels_[i].c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return;
  }
}

int Directories::RemoveOne(const Root& root) const {
  if (!is_level_) return RemoveTree(root.base.get(), relative_.c_str(), 0);
  const bool gone =
      unlinkat(root.base.get(), relative_.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT;
  return gone ? 0 : errno;
}

Result<void> Directories::Remove() {
  int error = 0;
  std::string where, why = "processes are in it";
  FileBuffer buffer;
  auto events = ReadAt(unified(), "cgroup.events", buffer);
  if (events && NumberAfter(*events, "populated") == 1) error = EBUSY, where = paths_.front();
  if (error == 0 && is_level_) why = "groups are in it";
  for (std::size_t i = roots_->all.size(); i-- > 0 && error == 0;) {
    const Root& root = roots_->all[i];
    error = RemoveOne(root);
    if (error != 0) where = JoinPath(root.dir, relative_);
    RemoveLevels(root);
  }
  if (error == 0) return {};
  const bool in_use = error == EBUSY || error == ENOTEMPTY;
  return Fail(
      in_use ? ErrorCode::kInUse : ErrorCode::kSystem,
      fmt::format("group cannot be removed: {}: {}", where, in_use ? why : ErrnoText(error)));
}

std::string Directories::directory_of(std::size_t controller) const {
  const std::array<std::size_t, 3> index = {roots_->cpu, roots_->memory, roots_->pids};
  return JoinPath(roots_->all[index[controller]].dir, relative_);
}

ControlDirs Directories::controls() const {
  auto one = [&](std::size_t which, std::size_t index) {
    const Version version = dirs_[index] ? roots_->versions[which] : Version::kNone;
    return ControlDirs::One{version, version == Version::kNone ? -1 : dirs_[index].get()};
  };
  return {one(0, roots_->cpu), one(1, roots_->memory), one(2, roots_->pids)};
}

std::vector<pid_t> Directories::ProcessesOutsideUnified() const {
  std::vector<pid_t> pids;
  for (std::size_t i = 1; i < dirs_.size(); ++i) {
    std::vector<pid_t> more = ProcessesIn(dirs_[i].get());
    pids.insert(pids.end(), more.begin(), more.end());
  }
  return pids;
}

}  // namespace mete::cgroup
