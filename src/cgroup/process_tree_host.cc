#include "cgroup/process_tree_host.h"

#include <errno.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "base/unique_fd.h"
#include "cgroup/control_file.h"
#include "cgroup/limits.h"
#include "cgroup/marked_processes.h"
#include "cgroup/probe.h"
#include "cgroup/process_tree.h"
#include "cgroup/process_tree_group.h"

namespace mete::cgroup {
namespace {

using agent::Capabilities;
using agent::Grade;
using agent::GradeInfo;
using agent::Group;
using agent::KernelLimits;

// Why not even trees of processes can be held; empty if they can.
std::string Obstacle() {
  const UniqueFd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self) {
    return fmt::format("no descriptors of processes (pidfd, Linux 5.3): {}", ErrnoText(errno));
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_RSS, &limit) != 0 || limit.rlim_max < 2 * kFirstMark) {
    return "processes cannot be marked: the hard limit RLIMIT_RSS is not unlimited";
  }
  if (!ReadStat(getpid())) return "/proc is not mounted";
  return {};
}

Result<void> MakeFolder(const std::string& folder) {
  if (mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return Fail(ErrorCode::kSystem,
              fmt::format("cannot make the folder for groups: {}: {}", folder, ErrnoText(errno)));
}

}  // namespace

ProcessTreeHost::ProcessTreeHost(std::string_view folder, std::string missing)
    : folder_(folder),
      missing_(std::move(missing)),
      shared_(std::make_shared<TreeShared>(TreeShared{TreeRegistry(folder)})) {}

Capabilities ProcessTreeHost::Look() {
  Capabilities seen;
  seen.layout = "processes";
  seen.root = shared_->registry.root();
  if (const std::string why = Obstacle(); !why.empty()) {
    seen.layout = "none";
    for (GradeInfo* info :
         {&seen.cpu, &seen.memory, &seen.pids, &seen.freeze, &seen.kill, &seen.cpu_usage,
          &seen.memory_usage, &seen.memory_peak, &seen.labels, &seen.pressure}) {
      *info = {Grade::kAbsent, why};
    }
    return seen;
  }
  seen.cpu = {Grade::kSampled, "SIGSTOP and SIGCONT in turn",
              "one period of 100 ms, and every core for 100 ms"};
  seen.memory = {Grade::kSampled, "resident memory, read every 100 ms",
                 "what is allocated in 100 ms, and while it is read"};
  // Root is not counted, and everybody else is counted with all that runs as the same user.
  seen.pids = geteuid() == 0 ? GradeInfo{Grade::kAbsent, "RLIMIT_NPROC does not hold root"}
                             : GradeInfo{Grade::kAdvisory,
                                         "RLIMIT_NPROC, which counts all processes of the user"};
  seen.freeze = {Grade::kSampled, "SIGSTOP to every process, again every 100 ms",
                 "what is continued from inside runs for 100 ms"};
  seen.kill = {Grade::kSampled, "SIGKILL to every process until none is found"};
  seen.cpu_usage = {Grade::kSampled, "the clocks of the processes"};
  seen.memory_usage = {Grade::kSampled, "statm, and smaps_rollup of several"};
  seen.memory_peak = {Grade::kSampled, "the highest that was read"};
  seen.labels = {Grade::kKernel, "a file in " + seen.root};
  seen.pressure = {Grade::kAbsent, "only a control group has a pressure of its own"};
  if (!missing_.empty()) seen.notes.push_back("no control groups: " + missing_);
  return seen;
}

Capabilities ProcessTreeHost::Probe() { return ProbeHost(*this); }

Result<std::unique_ptr<Group>> ProcessTreeHost::Create(std::string_view name,
                                                       const KernelLimits& limits) {
  if (auto checked = agent::CheckGroupName(name); !checked) {
    return std::unexpected(checked.error());
  }
  if (auto checked = CheckLimits(limits); !checked) return std::unexpected(checked.error());
  if (const std::string why = Obstacle(); !why.empty()) return Fail(ErrorCode::kSystem, why);
  if (auto made = MakeFolder(folder_); !made) return std::unexpected(made.error());
  return ProcessTreeGroup::Make(shared_, name, limits);
}

Result<std::unique_ptr<Group>> ProcessTreeHost::Find(std::string_view name) {
  if (name != agent::kTopGroup) {
    if (auto checked = agent::CheckGroupName(name); !checked) {
      return std::unexpected(checked.error());
    }
  }
  if (!shared_->registry.Has(name)) {
    return Fail(ErrorCode::kNotFound, fmt::format("group does not exist: {}", name));
  }
  return ProcessTreeGroup::Find(shared_, name);
}

std::optional<std::string> ProcessTreeHost::GroupOf(pid_t pid) {
  return shared_->registry.NameOf(MarkOfAny(pid));
}

Result<std::vector<agent::FoundGroup>> ProcessTreeHost::Scan() {
  std::vector<agent::FoundGroup> found;
  for (const TreeRegistry::Entry& entry : shared_->registry.Below(agent::kTopGroup)) {
    agent::FoundGroup group;
    group.name = entry.name;
    group.leaf = !agent::IsLevel(entry.name);
    group.inode = entry.inode;
    group.label = shared_->registry.Label(entry.name);
    group.freeze_wanted = shared_->registry.Frozen(entry.name);
    group.frozen = group.freeze_wanted || shared_->registry.FrozenAbove(entry.name);
    for (const TreeRegistry::Entry& below : shared_->registry.Below(entry.name)) {
      if (below.mark == 0 || group.populated) continue;
      group.populated = !ProcessTree({below.mark}).Members(ProcessTree::Look::kMarked).empty();
    }
    found.push_back(std::move(group));
  }
  return found;
}

}  // namespace mete::cgroup
