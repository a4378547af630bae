#include "left_behind.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace mete {
namespace {

namespace fs = std::filesystem;

std::string WholeOf(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<std::int64_t> NumberIn(const fs::path& path) {
  std::istringstream text(WholeOf(path));
  std::int64_t number = 0;
  // "max", and what a v1 hierarchy says where nothing is held.
  if (!(text >> number) || number < 0 || number > (std::int64_t{1} << 62)) return std::nullopt;
  return number;
}

bool Says(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

std::string FreshName(const std::string& what) {
  static int count = 0;
  return "crash-" + what + "-" + std::to_string(getpid()) + "-" + std::to_string(++count);
}

std::vector<pid_t> ProcessesWith(const std::string& mark) {
  const std::string needle = "METE_TEST_MARK=" + mark + '\0';
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == getpid()) continue;
    // A dead one that nobody has waited for has no environment any more.
    if (WholeOf(entry.path() / "environ").find(needle) != std::string::npos) found.push_back(pid);
  }
  return found;
}

std::vector<std::string> GroupsNamed(const std::string& name) {
  std::vector<std::string> found;
  std::error_code ignored;
  const auto options = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator("/sys/fs/cgroup", options, ignored);
       it != fs::recursive_directory_iterator(); it.increment(ignored)) {
    if (it->path().filename() == name) found.push_back(it->path());
  }
  return found;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

HeldLimits LimitsHeld(const std::string& group) {
  HeldLimits held;
  const auto take = [](std::optional<std::int64_t>* slot, std::optional<std::int64_t> number) {
    if (number) *slot = number;
  };
  for (const fs::path dir : GroupsNamed(group)) {
    const std::string events = WholeOf(dir / "cgroup.events");
    held.populated = held.populated || Says(events, "populated 1");
    held.frozen = held.frozen || WholeOf(dir / "cgroup.freeze") == "1\n";
    take(&held.cpu_us, NumberIn(dir / "cpu.cfs_quota_us"));
    take(&held.cpu_us, NumberIn(dir / "cpu.max"));
    take(&held.memory, NumberIn(dir / "memory.limit_in_bytes"));
    take(&held.memory, NumberIn(dir / "memory.max"));
    take(&held.pids, NumberIn(dir / "pids.max"));
  }
  return held;
}

Output RunProgram(const std::vector<std::string>& words) {
  Output output;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return output;
  const pid_t pid = fork();
  if (pid == 0) {
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    dup2(ends[1], STDOUT_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  std::array<char, 4096> piece;
  for (ssize_t got; (got = read(ends[0], piece.data(), piece.size())) > 0;) {
    output.text.append(piece.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  output.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return output;
}

}  // namespace mete
