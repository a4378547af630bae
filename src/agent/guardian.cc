#include "agent/guardian.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// What the caller left open for its programs is not close-on-exec; the group's own files are. So
// that a pipe of the caller ends when the agent ends, not when the guardian does.
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

// True for a goodbye, false when the writer is gone.
bool WaitForGoodbye(int pipe_end) {
  char byte;
  ssize_t got;
  do {
    got = read(pipe_end, &byte, 1);
  } while (got < 0 && errno == EINTR);
  return got == 1;
}

void EndAgent(Group& group, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) unlink(path.c_str());
  // Each round is bounded; a process stuck in the kernel is tried again until it is gone, because
  // nobody else is left to do it.
  milliseconds pause(1);
  while (!group.Kill(seconds(2)) || !group.Remove()) {
    timespec span{pause.count() / 1000, (pause.count() % 1000) * 1'000'000};
    nanosleep(&span, nullptr);
    if (pause < seconds(10)) pause *= 2;
  }
}

}  // namespace

Result<Guardian> Guardian::Start(Group& group, std::vector<std::string> paths) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Fail(ErrorCode::kSystem, std::string("guardian: pipe: ") + std::strerror(errno));
  }
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  sigset_t all, old;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &old);
  const pid_t pid = fork();
  if (pid == 0) {
    writer.reset();
    LeaveTerminal();
    CloseInherited();
    if (!WaitForGoodbye(reader.get())) EndAgent(group, paths);
    _exit(0);
  }
  const int fork_errno = errno;
  sigprocmask(SIG_SETMASK, &old, nullptr);
  if (pid < 0) {
    return Fail(ErrorCode::kSystem, std::string("guardian: fork: ") + std::strerror(fork_errno));
  }
  return Guardian(pid, std::move(writer));
}

Guardian::Guardian(Guardian&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pipe_end_(std::move(other.pipe_end_)) {}

void Guardian::Dismiss() {
  if (pid_ < 0) return;
  const char goodbye = 'g';
  // It fails only if the guardian is gone already. SIGPIPE is blocked in `mete run`.
  [[maybe_unused]] ssize_t written = write(pipe_end_.get(), &goodbye, 1);
  pipe_end_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void Guardian::TakeOver() {
  pipe_end_.reset();
  pid_ = -1;
}

}  // namespace mete::agent
