#include "agent/attach.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "agent/descendants.h"

namespace mete::agent {
namespace {

// A fork bomb outside any limit cannot be caught by moving; whatever forks less is, in a few.
constexpr int kMostRounds = 200;

}  // namespace

std::vector<std::string> CommandOf(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/cmdline", pid), std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\0', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

Result<ProcessId> CheckAttachable(Host& host, pid_t pid) {
  const ProcessId process = IdentifyProcess(pid);
  if (process.pid == 0) {
    return Fail(ErrorCode::kNotFound, fmt::format("no such process, given: {}", pid));
  }
  if (DescendsFrom(getpid(), pid)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("mete itself was started by it, allowed: a process that did not start "
                            "this command, given: {}",
                            pid));
  }
  if (const std::optional<std::string> group = host.GroupOf(pid)) {
    return Fail(ErrorCode::kInUse,
                fmt::format("the process is in an agent already: {}, given: {}", *group, pid));
  }
  if (CommandOf(pid).empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("the process has ended or is the kernel's own, allowed: a running "
                            "program, given: {}",
                            pid));
  }
  return process;
}

Result<bool> MoveIn(Group& group, pid_t pid) {
  if (Result<void> adopted = group.Adopt(pid); !adopted) {
    if (adopted.error().code == ErrorCode::kNotFound) return false;
    return std::unexpected(adopted.error());
  }
  // For one that is on its way out the kernel says yes, and leaves it where it was.
  return group.Holds(pid);
}

Result<std::size_t> AdoptTree(Group& group, pid_t root) {
  std::size_t moved = 0;
  int clean = 0;
  for (int round = 0; clean < 2; ++round) {
    if (round == kMostRounds) {
      return Fail(ErrorCode::kSystem,
                  fmt::format("the program starts processes faster than they can be moved: process "
                              "{}, moved {}",
                              root, moved));
    }
    bool found = false;
    std::vector<pid_t> pids = DescendantsOf(root);
    pids.insert(pids.begin(), root);
    for (pid_t pid : pids) {
      if (group.Holds(pid)) continue;
      const Result<bool> inside = MoveIn(group, pid);
      if (!inside) return std::unexpected(inside.error());
      found = found || *inside;
      moved += *inside ? 1 : 0;
    }
    clean = found ? 0 : clean + 1;
  }
  if (moved == 0) {
    return Fail(ErrorCode::kNotFound, fmt::format("the process has ended: process {}", root));
  }
  return moved;
}

}  // namespace mete::agent
