#include "agent/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
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
  enum Stage : int { kJoined, kJoinFailed, kExecFailed } stage;
  int error;
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

// In the child: never returns.
[[noreturn]] void Become(Group& group, bool cloned, const SpawnRequest& request,
                         char* const* environment, int to_parent) {
  const int error = cloned ? group.JoinRest() : group.JoinSelf();
  Tell(to_parent, {error == 0 ? Notice::kJoined : Notice::kJoinFailed, error});
  if (error == 0) {
    sigprocmask(SIG_SETMASK, &request.signal_mask, nullptr);
    execvpe(request.argv[0], request.argv.data(), environment);
    Tell(to_parent, {Notice::kExecFailed, errno});
  }
  _exit(127);
}

// What the child told last, once it can tell no more; nothing if it died before it could.
std::optional<Notice> LastNotice(int from_child) {
  std::optional<Notice> last;
  Notice notice{};
  for (;;) {
    const ssize_t got = read(from_child, &notice, sizeof notice);
    if (got == sizeof notice) {
      last = notice;
    } else if (got >= 0 || errno != EINTR) {
      return last;
    }
  }
}

void Reap(pid_t pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::unexpected<Error> SystemError(const char* what, int error) {
  return Fail(ErrorCode::kSystem, std::string(what) + ": " + std::strerror(error));
}

}  // namespace

Result<Spawned> Spawn(Group& group, const SpawnRequest& request) {
  const std::vector<char*> environment = Environment(request.environment);
  bool clone = group.CloneFd() >= 0;
  for (;;) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
    UniqueFd from_child(ends[0]);
    UniqueFd to_parent(ends[1]);

    pid_t pid = clone ? CloneInto(group.CloneFd()) : -1;
    if (pid < 0) {  // an old kernel, or a filter of system calls
      clone = false;
      pid = fork();
    }
    if (pid < 0) return SystemError("cannot fork", errno);
    if (pid == 0) Become(group, clone, request, environment.data(), to_parent.get());

    to_parent.reset();
    const std::optional<Notice> last = LastNotice(from_child.get());
    if (last && last->stage == Notice::kJoined) return Spawned{.pid = pid};
    if (!last && !clone) return Spawned{.pid = pid};  // killed on its way, as it might be later
    Reap(pid);
    // Linux 6.18 kills what is cloned into, or from, a group that `cgroup.kill` was ever used on.
    if (!last) {
      clone = false;
      continue;
    }
    if (last->stage == Notice::kJoinFailed) {
      return SystemError("the program could not enter its group", last->error);
    }
    return Spawned{.pid = 0, .exec_errno = last->error};
  }
}

int ExitStatusOfExecError(int exec_errno) { return exec_errno == ENOENT ? 127 : 126; }

}  // namespace mete::agent
