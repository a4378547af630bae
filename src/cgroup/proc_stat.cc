#include "cgroup/proc_stat.h"

#include <dirent.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <string>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

// The words of /proc/PID/stat after the name, from the state on: word 0 is field 3 of proc(5).
constexpr std::size_t kState = 0, kParent = 1, kReapedUser = 13, kReapedSystem = 14, kThreads = 17,
                      kStarted = 19, kWords = 20;

template <class Number>
bool Parse(std::string_view word, Number& number) {
  return std::from_chars(word.data(), word.data() + word.size(), number).ec == std::errc{};
}

Duration FromTicks(std::int64_t ticks) {
  static const std::int64_t per_second = sysconf(_SC_CLK_TCK);
  return Duration(ticks * (1'000'000'000 / per_second));
}

char StateOfThread(pid_t pid, const char* thread) {
  const auto stat = ParseStat(ReadWhole(fmt::format("/proc/{}/task/{}/stat", pid, thread).c_str()));
  return stat ? stat->state : 'X';
}

}  // namespace

std::optional<ProcessStat> ParseStat(std::string_view text) {
  // The name may hold anything, parentheses and blanks too.
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  text.remove_prefix(name_end + 1);
  std::array<std::string_view, kWords> words;
  for (std::string_view& word : words) {
    text.remove_prefix(std::min(text.size(), text.find_first_not_of(" \n")));
    word = text.substr(0, text.find_first_of(" \n"));
    text.remove_prefix(word.size());
  }
  ProcessStat stat;
  std::int64_t user = 0, system = 0;
  if (words[kState].size() != 1 || !Parse(words[kParent], stat.parent) ||
      !Parse(words[kReapedUser], user) || !Parse(words[kReapedSystem], system) ||
      !Parse(words[kThreads], stat.threads) || !Parse(words[kStarted], stat.started)) {
    return std::nullopt;
  }
  stat.state = words[kState].front();
  stat.reaped_cpu = FromTicks(user + system);
  return stat;
}

std::optional<ProcessStat> ReadStat(pid_t pid) {
  return ParseStat(ReadWhole(fmt::format("/proc/{}/stat", pid).c_str()));
}

uid_t UserOf(pid_t pid) {
  struct stat status{};
  const bool there = stat(fmt::format("/proc/{}", pid).c_str(), &status) == 0;
  return there ? status.st_uid : static_cast<uid_t>(-1);
}

std::optional<std::int64_t> CpuTimeOf(pid_t pid) {
  clockid_t clock;
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) {
    return std::nullopt;
  }
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

Stillness StillnessOf(pid_t pid) {
  DIR* threads = opendir(fmt::format("/proc/{}/task", pid).c_str());
  if (threads == nullptr) return Stillness::kStill;  // it is gone
  Stillness found = Stillness::kStill;
  while (const dirent* entry = readdir(threads)) {
    if (entry->d_name[0] == '.') continue;
    switch (StateOfThread(pid, entry->d_name)) {
      case 'T':
      case 't':
      case 'Z':
      case 'X': break;
      case 'D':
        if (found == Stillness::kStill) found = Stillness::kHeld;
        break;
      default: found = Stillness::kRuns;
    }
  }
  closedir(threads);
  return found;
}

std::int64_t ResidentBytes(pid_t pid) {
  const std::string text = ReadWhole(fmt::format("/proc/{}/statm", pid).c_str());
  const std::size_t blank = text.find(' ');
  if (blank == std::string::npos) return 0;
  static const std::int64_t page = sysconf(_SC_PAGESIZE);
  return NumberIn(std::string_view(text).substr(blank + 1)).value_or(0) * page;
}

std::optional<std::int64_t> ProportionalBytes(pid_t pid) {
  const std::string text = ReadWhole(fmt::format("/proc/{}/smaps_rollup", pid).c_str());
  constexpr std::string_view kKey = "\nPss:";
  const std::size_t at = text.find(kKey);
  if (at == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(text).substr(at + kKey.size());
  rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
  const auto kibibytes = NumberIn(rest);
  if (!kibibytes) return std::nullopt;
  return *kibibytes * 1024;
}

}  // namespace mete::cgroup
