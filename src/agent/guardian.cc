#include "agent/guardian.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Messages: one letter, and a text.
constexpr char kReady = 'r';
constexpr char kMaking = 'm';
constexpr char kMade = 'M';
constexpr char kPath = 'p';
constexpr char kGoodbye = 'g';

// What the caller left open for its programs is not close-on-exec; mete's own files are. So that a
// pipe of the caller ends when the agent ends, not when the guardian does.
void CloseInherited() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    if (fd <= STDERR_FILENO || fd == dirfd(folder)) continue;
    const int flags = fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) close(fd);
  }
  closedir(folder);
}

void LeaveTerminal() {
  setsid();
  prctl(PR_SET_NAME, "mete-guardian");
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
  if (null > STDERR_FILENO) close(null);
}

struct Duties {
  std::string name;  // of the group; empty: none was begun
  bool made = false;
  std::vector<std::string> paths;
};

// Nothing after a goodbye; else what was left when the other end closed.
std::optional<Duties> WaitForEnd(int line) {
  Duties duties;
  std::array<char, 4096> message;
  for (;;) {
    const ssize_t got = recv(line, message.data(), message.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return duties;
    const std::string text(message.data() + 1, static_cast<std::size_t>(got - 1));
    switch (message[0]) {
      case kMaking: duties.name = text; break;
      case kMade: duties.made = true; break;
      case kPath: duties.paths.push_back(text); break;
      case kGoodbye: return std::nullopt;
      default: break;
    }
  }
}

void EndAgent(Host& host, const Duties& duties) {
  for (const std::string& path : duties.paths) unlink(path.c_str());
  if (duties.name.empty()) return;
  // Each round is bounded; a process stuck in the kernel is tried again until it is gone, because
  // nobody else is left to do it.
  for (milliseconds pause(1);; pause = std::min<milliseconds>(pause * 2, seconds(10))) {
    auto group = host.Find(duties.name);
    if (!group) return;
    if (duties.made && !(*group)->Kill(seconds(2))) continue;
    if ((*group)->Remove() || !duties.made) return;
    const timespec span{pause.count() / 1000, (pause.count() % 1000) * 1'000'000};
    nanosleep(&span, nullptr);
  }
}

}  // namespace

Result<Guardian> Guardian::Start(Host& host) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return Fail(ErrorCode::kSystem, std::string("guardian: socketpair: ") + std::strerror(errno));
  }
  UniqueFd mine(ends[0]);
  UniqueFd guardians(ends[1]);
  sigset_t all, old;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &old);
  const pid_t pid = fork();
  if (pid == 0) {
    mine.reset();
    LeaveTerminal();
    CloseInherited();
    send(guardians.get(), &kReady, 1, MSG_NOSIGNAL);
    if (std::optional<Duties> left = WaitForEnd(guardians.get())) EndAgent(host, *left);
    _exit(0);
  }
  const int fork_errno = errno;
  sigprocmask(SIG_SETMASK, &old, nullptr);
  if (pid < 0) {
    return Fail(ErrorCode::kSystem, std::string("guardian: fork: ") + std::strerror(fork_errno));
  }
  return Guardian(pid, std::move(mine));
}

Guardian::Guardian(Guardian&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), line_(std::move(other.line_)), ready_(other.ready_) {}

// Fails only if the guardian is gone; then there is nobody to tell.
void Guardian::Tell(char kind, std::string_view text) {
  std::string message(1, kind);
  message += text;
  send(line_.get(), message.data(), message.size(), MSG_NOSIGNAL);
}

void Guardian::Making(std::string_view name) {
  if (!ready_) {
    char byte;
    while (recv(line_.get(), &byte, 1, 0) < 0 && errno == EINTR) {
    }
    ready_ = true;
  }
  Tell(kMaking, name);
}

void Guardian::Made() { Tell(kMade); }

void Guardian::Remember(std::string_view path) { Tell(kPath, path); }

void Guardian::Dismiss() {
  if (pid_ < 0) return;
  Tell(kGoodbye);
  line_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void Guardian::TakeOver() {
  line_.reset();
  pid_ = -1;
}

}  // namespace mete::agent
