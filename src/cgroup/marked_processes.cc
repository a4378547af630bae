#include "cgroup/marked_processes.h"

#include <dirent.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

// The state letter of /proc/PID/stat, after the last parenthesis; 0 if there is no such process.
char StateOf(pid_t pid) {
  const std::string stat = ReadWhole(fmt::format("/proc/{}/stat", pid).c_str());
  const std::size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= stat.size() ? '\0' : stat[name_end + 2];
}

bool IsGone(char state) { return state == '\0' || state == 'Z' || state == 'X'; }

std::vector<pid_t> Walk(rlim_t mark) {
  std::vector<pid_t> found;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return found;
  while (const dirent* entry = readdir(proc)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (MarkOf(pid) == mark && !IsGone(StateOf(pid))) found.push_back(pid);
  }
  closedir(proc);
  return found;
}

}  // namespace

int MarkSelf(rlim_t mark) noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_RSS, &limit) != 0) return errno;
  limit.rlim_cur = mark;
  return setrlimit(RLIMIT_RSS, &limit) == 0 ? 0 : errno;
}

rlim_t MarkOf(pid_t pid) {
  rlimit limit{};
  return pid > 0 && prlimit(pid, RLIMIT_RSS, nullptr, &limit) == 0 ? limit.rlim_cur : 0;
}

rlim_t MarkOfAny(pid_t pid) {
  if (pid <= 0) return 0;
  rlimit limit{};
  if (prlimit(pid, RLIMIT_RSS, nullptr, &limit) == 0) return limit.rlim_cur;
  if (errno != EPERM) return 0;
  const std::string text = ReadWhole(fmt::format("/proc/{}/limits", pid).c_str());
  constexpr std::string_view kKey = "\nMax resident set";
  const std::size_t at = text.find(kKey);
  if (at == std::string::npos) return 0;
  std::string_view rest = std::string_view(text).substr(at + kKey.size());
  rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
  return static_cast<rlim_t>(NumberIn(rest).value_or(0));  // "unlimited" is no number
}

std::vector<pid_t> Marked(rlim_t mark) {
  // Twice the same: who forked and ended behind the back of one walk leaves a child for the next.
  std::vector<pid_t> last = Walk(mark);
  for (;;) {
    std::vector<pid_t> found = Walk(mark);
    if (found == last) return found;
    last = std::move(found);
  }
}

bool IsStopped(pid_t pid) {
  const char state = StateOf(pid);
  return state == 'T' || state == 't' || IsGone(state);
}

}  // namespace mete::cgroup
