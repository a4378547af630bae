#include "traced_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

namespace mete {
namespace {

constexpr int kSyscallStop = SIGTRAP | 0x80;

std::string FirstLineOf(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string Last(const std::string& path, int parts) {
  std::size_t at = path.size();
  while (parts-- > 0 && at != std::string::npos && at > 0) at = path.rfind('/', at - 1);
  return at == std::string::npos ? path : path.substr(at + (path[at] == '/' ? 1 : 0));
}

}  // namespace

TracedProcess::TracedProcess(std::string id, const std::function<int()>& body)
    : id_(std::move(id)) {
  pid_ = fork();
  if (pid_ == 0) {
    raise(SIGSTOP);
    _exit(body());
  }
  waitpid(pid_, nullptr, WUNTRACED);
  if (ptrace(PTRACE_SEIZE, pid_, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0) {
    perror("ptrace");
    Kill();
  }
  kill(pid_, SIGCONT);
}

TracedProcess::~TracedProcess() { Kill(); }

void TracedProcess::Kill() {
  if (ended_) return;
  kill(pid_, SIGKILL);
  // Stops that were on their way may come first.
  while (waitpid(pid_, &status_, 0) == pid_ && WIFSTOPPED(status_)) {
  }
  ended_ = true;
}

std::optional<std::string> TracedProcess::Next() {
  if (stopped_) ptrace(PTRACE_SYSCALL, pid_, nullptr, nullptr);
  stopped_ = false;
  while (!ended_ && waitpid(pid_, &status_, 0) == pid_) {
    if (!WIFSTOPPED(status_)) {
      ended_ = true;
      break;
    }
    int signal_number = WSTOPSIG(status_);
    if (signal_number == kSyscallStop) {
      std::string name = NameOfCall();
      stopped_ = !name.empty();
      if (stopped_) return name;
      signal_number = 0;
    } else if ((status_ >> 16) != 0 || signal_number == SIGTRAP) {
      signal_number = 0;
    }
    ptrace(PTRACE_SYSCALL, pid_, nullptr, signal_number);
  }
  return std::nullopt;
}

std::string TracedProcess::Text(unsigned long address, std::size_t most) const {
  std::string text(most, '\0');
  iovec here{text.data(), text.size()};
  iovec there{reinterpret_cast<void*>(address), text.size()};
  ssize_t got = process_vm_readv(pid_, &here, 1, &there, 1, 0);
  // The end of the page may be the end of what can be read.
  if (got <= 0) {
    there.iov_len = here.iov_len = std::min<std::size_t>(most, 4096 - address % 4096);
    got = process_vm_readv(pid_, &here, 1, &there, 1, 0);
  }
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

std::string TracedProcess::FileOf(unsigned long fd) const {
  char target[512];
  const std::string link = "/proc/" + std::to_string(pid_) + "/fd/" + std::to_string(fd);
  const ssize_t length = readlink(link.c_str(), target, sizeof target);
  return length > 0 ? std::string(target, static_cast<std::size_t>(length)) : std::string();
}

std::string TracedProcess::Shortened(std::string path) const {
  for (std::size_t at; (at = path.find(id_)) != std::string::npos;) {
    path.replace(at, id_.size(), "ID");
  }
  return Last(path, path.find("mete/") == std::string::npos ? 1 : 2);
}

std::string TracedProcess::NameOfWrite(unsigned long fd, unsigned long address,
                                       unsigned long length) const {
  const std::string file = FileOf(fd);
  const std::string text = Text(address, std::min<std::size_t>(length, 2048));
  if (file.ends_with(".record")) {
    const std::size_t at = text.find("\nphase ");
    if (at == text.npos) return "record";
    return "record " + text.substr(at + 7, text.find('\n', at + 1) - at - 7);
  }
  if (file.starts_with("/sys/fs/cgroup")) {
    return "write " + Last(file, 1) + " " + text.substr(0, text.find('\n'));
  }
  if (file.starts_with("pipe:")) return length == 1 ? "let the program start" : "";
  return {};
}

std::string TracedProcess::NameOfCall() const {
  __ptrace_syscall_info info{};
  if (ptrace(PTRACE_GET_SYSCALL_INFO, pid_, sizeof info, &info) <= 0) return {};
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return {};
  const auto* args = info.entry.args;
  const auto path = [&](int which) {
    const std::string text = Text(args[which], 256);
    return Shortened(text.substr(0, text.find('\0')));
  };
  switch (info.entry.nr) {
    case SYS_mkdirat: return "mkdir " + Last(FileOf(args[0]), 1) + " " + path(1);
    case SYS_unlinkat: return "remove " + Last(FileOf(args[0]), 1) + " " + path(1);
    case SYS_openat: return (args[2] & O_CREAT) != 0 ? "create " + path(1) : "";
#ifdef SYS_mkdir
    case SYS_mkdir: return "mkdir " + path(0);
    case SYS_unlink: return "unlink " + path(0);
    case SYS_rmdir: return "rmdir " + path(0);
    case SYS_fork: return "fork";
#endif
    case SYS_clone: return "fork";
    case SYS_clone3: return "clone3";
    case SYS_flock: return "lock " + Shortened(FileOf(args[0]));
    case SYS_fallocate: return "allocate " + Shortened(FileOf(args[0]));
    case SYS_fsetxattr:
    case SYS_setxattr: return "label";
    case SYS_bind: return "bind a socket";
    case SYS_pwrite64:
    case SYS_write: return NameOfWrite(args[0], args[1], args[2]);
    case SYS_sendto: {
      const std::string text = Text(args[1], std::min<std::size_t>(args[2], 16));
      if (text.starts_with("HTTP")) return "answer a report";
      return text.empty() ? "" : std::string("tell the guardian ") + text[0];
    }
    case SYS_kill:
    case SYS_pidfd_send_signal: return "signal " + std::to_string(args[1]);
    case SYS_exit_group: return "exit";
    default: return {};
  }
}

pid_t TracedProcess::ChildNamed(std::string_view name) const {
  const std::string self = std::to_string(pid_);
  std::istringstream children(FirstLineOf("/proc/" + self + "/task/" + self + "/children"));
  for (pid_t child; children >> child;) {
    if (FirstLineOf("/proc/" + std::to_string(child) + "/comm") == name) return child;
  }
  return 0;
}

std::string KillPoint::ToString() const {
  return stage + ": " + name + (before == 0 ? "" : " (" + std::to_string(before + 1) + ")");
}

std::vector<KillPoint> KillPointsOf(TracedProcess& process) {
  std::map<std::string, int> seen;
  std::vector<KillPoint> points;
  std::string stage = "spawn";
  while (const std::optional<std::string> name = process.Next()) {
    if (*name == "record suspended") stage = "freeze";
    if (*name == "record ending") stage = "terminate";
    points.push_back({*name, seen[*name]++, stage});
  }
  return points;
}

bool RunTo(TracedProcess& process, const KillPoint& point) {
  int before = 0;
  while (const std::optional<std::string> name = process.Next()) {
    if (*name == point.name && before++ == point.before) return true;
  }
  return false;
}

}  // namespace mete
