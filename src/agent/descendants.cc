#include "agent/descendants.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace mete::agent {
namespace {

std::string ReadFile(const std::string& path) {
  std::string text;
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char piece[4096];
  for (ssize_t got; file && (got = read(file.get(), piece, sizeof piece)) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    text.append(piece, static_cast<std::size_t>(got));
  }
  return text;
}

std::string Proc(pid_t pid, const char* file) {
  return "/proc/" + std::to_string(pid) + "/" + file;
}

// The names in a folder that are numbers.
std::vector<pid_t> NumbersIn(const std::string& path) {
  std::vector<pid_t> numbers;
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return numbers;
  while (const dirent* entry = readdir(folder)) {
    const pid_t number = std::atoi(entry->d_name);
    if (number > 0) numbers.push_back(number);
  }
  closedir(folder);
  return numbers;
}

// 0 if there is no such process. The name of the program, in parentheses, may hold anything.
pid_t ParentOf(pid_t pid) {
  const std::string stat = ReadFile(Proc(pid, "stat"));
  const std::size_t end = stat.rfind(')');
  if (end == std::string::npos || end + 4 >= stat.size()) return 0;
  return std::atoi(stat.c_str() + end + 4);  // ") S 4711"
}

bool KernelListsChildren() {
  static const bool lists = access("/proc/thread-self/children", R_OK) == 0;
  return lists;
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  for (pid_t thread : NumbersIn(Proc(pid, "task"))) {
    const std::string text = ReadFile(Proc(pid, "task/") + std::to_string(thread) + "/children");
    const char* at = text.data();
    const char* end = at + text.size();
    while (at < end) {
      pid_t child = 0;
      const auto [next, error] = std::from_chars(at, end, child);
      if (error == std::errc{} && child > 0) children.push_back(child);
      at = next + 1;  // the space; also past anything that is no number
    }
  }
  return children;
}

}  // namespace

std::vector<pid_t> DescendantsOf(pid_t root, pid_t except) {
  std::map<pid_t, std::vector<pid_t>> children;
  if (!KernelListsChildren()) {
    for (pid_t pid : NumbersIn("/proc")) children[ParentOf(pid)].push_back(pid);
  }
  std::vector<pid_t> found;
  // A number that is used again meanwhile could make a circle.
  std::set<pid_t> seen = {root, except};
  std::vector<pid_t> left = {root};
  while (!left.empty()) {
    const pid_t parent = left.back();
    left.pop_back();
    for (pid_t child : KernelListsChildren() ? ChildrenOf(parent) : children[parent]) {
      if (!seen.insert(child).second) continue;
      found.push_back(child);
      left.push_back(child);
    }
  }
  return found;
}

bool DescendsFrom(pid_t pid, pid_t ancestor) {
  std::set<pid_t> seen;
  for (; pid > 0 && seen.insert(pid).second; pid = ParentOf(pid)) {
    if (pid == ancestor) return true;
  }
  return false;
}

}  // namespace mete::agent
