#include "agent/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/unique_fd.h"

namespace mete::agent {
namespace {

// What the child tells: that it joined, then nothing more if the program runs.
struct Notice {
  enum Stage : int { kJoined, kJoinFailed, kIdentityFailed, kExecFailed } stage;
  int error;
};

// Written by the child, and what it waits for; the second pair only where it has to wait.
struct Pipes {
  UniqueFd from_child, to_parent, from_parent, to_child;
};

std::string_view NameOfVariable(std::string_view entry) { return entry.substr(0, entry.find('=')); }

std::vector<char*> Environment(const std::vector<std::string>& added) {
  std::vector<char*> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    bool replaced = false;
    for (const std::string& mine : added) {
      replaced = replaced || NameOfVariable(mine) == NameOfVariable(*entry);
    }
    if (!replaced) result.push_back(*entry);
  }
  // exec does not write through these pointers.
  for (const std::string& mine : added) result.push_back(const_cast<char*>(mine.c_str()));
  result.push_back(nullptr);
  return result;
}

// A few bytes into an all but empty pipe: all or nothing, never blocks.
void Tell(int pipe_end, Notice notice) {
  [[maybe_unused]] ssize_t written = write(pipe_end, &notice, sizeof notice);
}

// As fork(2), into the group. Safe with one thread, of which the child then does only what is safe
// in a signal handler.
pid_t CloneInto(int group_fd) {
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(group_fd);
  return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
}

std::unexpected<Error> SystemError(const char* what, int error) {
  return Fail(ErrorCode::kSystem, std::string(what) + ": " + std::strerror(error));
}

// Everything from 3 up is closed when the program starts.
void CloseTheRest() {
  if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return;
  // Before Linux 5.11. Whoever allows itself more descriptors than this has few of them open.
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t end = limit.rlim_cur < 65536 ? limit.rlim_cur : 65536;
  for (rlim_t fd = 3; fd < end; ++fd) fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);
}

// Whether the parent lets it go on; it does not when it is gone.
bool WaitForParent(const Pipes& pipes) {
  if (!pipes.from_parent) return true;
  close(pipes.to_child.get());  // else this end would keep itself waiting
  char byte;
  ssize_t got;
  do {
    got = read(pipes.from_parent.get(), &byte, 1);
  } while (got < 0 && errno == EINTR);
  return got == 1;
}

// In the child: never returns.
[[noreturn]] void Turn(Group& group, bool cloned, const SpawnRequest& request,
                       char* const* environment, const Pipes& pipes) {
  const int to_parent = pipes.to_parent.get();
  const int error = cloned ? group.JoinRest() : group.JoinSelf();
  Tell(to_parent, {error == 0 ? Notice::kJoined : Notice::kJoinFailed, error});
  if (error != 0 || !WaitForParent(pipes)) _exit(127);
  sigprocmask(SIG_SETMASK, &request.signal_mask, nullptr);
  if (request.identity != nullptr) {
    if (const int refused = Become(*request.identity)) {
      Tell(to_parent, {Notice::kIdentityFailed, refused});
      _exit(127);
    }
    CloseTheRest();
  }
  execvpe(request.argv[0], request.argv.data(), environment);
  Tell(to_parent, {Notice::kExecFailed, errno});
  _exit(127);
}

Result<Pipes> MakePipes(bool both) {
  Pipes pipes;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  pipes.from_child.reset(ends[0]);
  pipes.to_parent.reset(ends[1]);
  if (!both) return pipes;
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  pipes.from_parent.reset(ends[0]);
  pipes.to_child.reset(ends[1]);
  return pipes;
}

// What the child told last, once it can tell no more; nothing if it died before it could. `joined`
// is called when it is in the group.
std::optional<Notice> LastNotice(int from_child, const std::function<void()>& joined) {
  std::optional<Notice> last;
  Notice notice{};
  for (;;) {
    const ssize_t got = read(from_child, &notice, sizeof notice);
    if (got == sizeof notice) {
      last = notice;
      if (notice.stage == Notice::kJoined) joined();
    } else if (got >= 0 || errno != EINTR) {
      return last;
    }
  }
}

void Reap(pid_t pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

namespace {

// How it went, from what the child told last.
Result<Spawned> Answer(pid_t pid, const Notice& last, const Result<void>& allowed) {
  switch (last.stage) {
    case Notice::kJoined:
      if (allowed) return Spawned{.pid = pid};
      break;
    case Notice::kExecFailed: break;
    case Notice::kJoinFailed:
      Reap(pid);
      return SystemError("the program could not enter its group", last.error);
    case Notice::kIdentityFailed:
      Reap(pid);
      return Fail(
          ErrorCode::kNotPermitted,
          std::string("--user: not allowed to become this user: ") + std::strerror(last.error));
  }
  Reap(pid);
  if (!allowed) return std::unexpected(allowed.error());
  return Spawned{.pid = 0, .exec_errno = last.error};
}

}  // namespace

Result<Spawned> Spawn(Group& group, const SpawnRequest& request) {
  std::vector<std::string> added = request.environment;
  if (request.identity != nullptr) {
    const std::vector<std::string>& theirs = request.identity->environment;
    added.insert(added.end(), theirs.begin(), theirs.end());
  }
  const std::vector<char*> environment = Environment(added);
  bool clone = group.CloneFd() >= 0;
  for (;;) {
    Result<Pipes> pipes = MakePipes(request.before_start != nullptr);
    if (!pipes) return std::unexpected(pipes.error());

    pid_t pid = clone ? CloneInto(group.CloneFd()) : -1;
    if (pid < 0) {  // an old kernel, or a filter of system calls
      clone = false;
      pid = fork();
    }
    if (pid < 0) return SystemError("cannot fork", errno);
    if (pid == 0) Turn(group, clone, request, environment.data(), *pipes);

    pipes->to_parent.reset();
    Result<void> allowed;
    const std::optional<Notice> last = LastNotice(pipes->from_child.get(), [&] {
      if (!request.before_start) return;
      allowed = request.before_start(pid);
      if (allowed) {
        [[maybe_unused]] ssize_t sent = write(pipes->to_child.get(), "", 1);
      }
      pipes->to_child.reset();
    });
    if (last) return Answer(pid, *last, allowed);
    if (!clone) return Spawned{.pid = pid};  // killed on its way, as it might be later
    Reap(pid);
    // Linux 6.18 kills what is cloned into, or from, a group that `cgroup.kill` was ever used on.
    clone = false;
  }
}

int ExitStatusOfExecError(int exec_errno) { return exec_errno == ENOENT ? 127 : 126; }

}  // namespace mete::agent
