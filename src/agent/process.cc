#include "agent/process.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string>
#include <string_view>

namespace mete::agent {
namespace {

// linux/pidfd.h, younger than the oldest headers that mete builds with.
struct PidfdInfo {
  std::uint64_t mask, group_id;
  std::uint32_t pid, process, parent, owners[8];
  std::int32_t exit_code;
};
constexpr std::uint64_t kInfoExit = 8;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);

// The fields of /proc/PID/stat after the name, which is in parentheses and may hold anything.
std::string_view FieldsOf(std::string_view stat) {
  const std::size_t name_end = stat.rfind(')');
  return name_end == std::string_view::npos ? std::string_view() : stat.substr(name_end + 1);
}

// A number in /proc/PID/stat, by its place in proc(5), where the name is the second; nothing if
// there is no such process.
std::optional<std::uint64_t> FieldOf(pid_t pid, int place) {
  if (pid <= 0) return std::nullopt;
  const UniqueFd file(
      open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1024> text;
  const ssize_t got = file ? read(file.get(), text.data(), text.size()) : -1;
  if (got <= 0) return std::nullopt;
  std::string_view fields = FieldsOf({text.data(), static_cast<std::size_t>(got)});
  for (int i = 2; i < place; ++i) {
    const std::size_t space = fields.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    fields.remove_prefix(space + 1);
  }
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(fields.data(), fields.data() + fields.size(), number);
  return parsed.ec == std::errc() ? std::optional(number) : std::nullopt;
}

}  // namespace

ProcessId IdentifyProcess(pid_t pid) {
  const std::optional<std::uint64_t> start = FieldOf(pid, 22);
  return start ? ProcessId{pid, *start} : ProcessId{};
}

bool IsEnding(pid_t pid) {
  constexpr std::uint64_t kExiting = 4;  // PF_EXITING of the kernel's linux/sched.h
  return (FieldOf(pid, 9).value_or(kExiting) & kExiting) != 0;
}

UniqueFd OpenProcess(const ProcessId& process) {
  if (process.pid <= 0) return UniqueFd();
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  // Looked at after the descriptor was taken: if it is the one that was meant, it was so all along.
  if (pidfd && IdentifyProcess(process.pid) != process) pidfd.reset();
  return pidfd;
}

std::optional<int> WaitStatusOf(const UniqueFd& pidfd) {
  PidfdInfo info{};
  info.mask = kInfoExit;
  if (!pidfd || ioctl(pidfd.get(), kGetInfo, &info) != 0) return std::nullopt;
  if ((info.mask & kInfoExit) == 0) return std::nullopt;
  return info.exit_code;
}

}  // namespace mete::agent
