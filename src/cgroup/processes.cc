#include "cgroup/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "agent/group_name.h"
#include "base/unique_fd.h"
#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

// Groups nest as deep as an agent likes to make them; deeper ones than this are its own affair.
constexpr int kMaxDepth = 32;

void Collect(int dir, int depth, std::vector<pid_t>& pids) {
  UniqueFd procs(openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC));
  std::string text;
  FileBuffer piece;
  for (ssize_t got; procs && (got = read(procs.get(), piece.data(), piece.size())) > 0;) {
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  for (std::string_view rest = text; !rest.empty();) {
    std::size_t end = rest.find('\n');
    auto pid = NumberIn(rest.substr(0, end));
    if (pid && *pid > 0) pids.push_back(static_cast<pid_t>(*pid));  // 0: not in our pid namespace
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  if (depth >= kMaxDepth) return;
  UniqueFd copy(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy) return;
  DIR* listing = fdopendir(copy.get());
  if (listing == nullptr) return;
  (void)copy.release();
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    UniqueFd child(openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (child) Collect(child.get(), depth + 1, pids);
  }
  closedir(listing);
}

}  // namespace

std::vector<pid_t> ProcessesIn(int dir) {
  std::vector<pid_t> pids;
  Collect(dir, 0, pids);
  return pids;
}

std::optional<std::string> PathIn(std::string_view text, std::string_view controller) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (controller.empty() != line.starts_with("0::")) continue;
    line.remove_prefix(std::min(line.size(), line.find(':') + 1));
    const std::string_view list = line.substr(0, line.find(':'));
    if (!controller.empty() && !HasWord(list, controller)) continue;
    line.remove_prefix(std::min(line.size(), list.size() + 1));
    constexpr std::string_view kDeleted = " (deleted)";
    if (line.ends_with(kDeleted)) line.remove_suffix(kDeleted.size());
    return std::string(line);
  }
  return std::nullopt;
}

std::string UnifiedPathIn(std::string_view text) { return PathIn(text, "").value_or(""); }

std::string UnifiedPathOf(pid_t pid) {
  if (pid <= 0) return {};
  return UnifiedPathIn(ReadWhole(fmt::format("/proc/{}/cgroup", pid).c_str()));
}

bool IsWithin(std::string_view path, std::string_view group) {
  if (!path.starts_with(group)) return false;
  return path.size() == group.size() || group.ends_with('/') || path[group.size()] == '/';
}

std::optional<std::string> GroupIn(std::string_view path, std::string_view base) {
  const std::string mark = fmt::format("/{}/", kParent);
  if (base == "/") base = "";
  std::size_t at = std::string_view::npos;
  if (path.starts_with(base) && path.substr(base.size()).starts_with(mark)) {
    at = base.size();
  } else {
    at = path.find(mark);
  }
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view inside = path.substr(at + mark.size());
  // Levels as far as there are any, then the group of an agent; what follows is its own affair.
  std::string_view name = inside.substr(0, inside.find('/'));
  while (agent::IsLevel(name) && name.size() < inside.size()) {
    const std::string_view longer = inside.substr(0, inside.find('/', name.size() + 1));
    if (!agent::CheckGroupName(longer)) break;
    name = longer;
  }
  if (name.empty()) return std::nullopt;
  return std::string(name);
}

bool SignalIn(pid_t pid, int signal_number, std::span<const std::string> groups) {
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return false;
  const std::string text = ReadWhole(fmt::format("/proc/{}/cgroup", pid).c_str());
  bool inside = false;
  for (std::string_view rest = text; !rest.empty() && !inside;) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    line.remove_prefix(std::min(line.size(), line.find(":/")));
    if (!line.empty()) line.remove_prefix(1);
    inside = std::ranges::any_of(groups, [&](const auto& group) { return IsWithin(line, group); });
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  if (!inside) return false;
  return syscall(SYS_pidfd_send_signal, process.get(), signal_number, nullptr, 0) == 0;
}

}  // namespace mete::cgroup
