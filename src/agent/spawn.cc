#include "agent/spawn.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/unique_fd.h"

namespace mete::agent {
namespace {

// What the child tells before it gives up. A pipe that closes without it: the program runs.
struct Failure {
  enum Stage : int { kJoin, kExec } stage;
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

[[noreturn]] void GiveUp(int pipe_end, Failure failure) {
  // A few bytes into an empty pipe: all or nothing, never blocks.
  [[maybe_unused]] ssize_t written = write(pipe_end, &failure, sizeof failure);
  _exit(127);
}

std::unexpected<Error> SystemError(const char* what, int error) {
  return Fail(ErrorCode::kSystem, std::string(what) + ": " + std::strerror(error));
}

}  // namespace

Result<Spawned> Spawn(Group& group, const SpawnRequest& request) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  UniqueFd from_child(ends[0]);
  UniqueFd to_parent(ends[1]);
  const std::vector<char*> environment = Environment(request.environment);

  const pid_t pid = fork();
  if (pid < 0) return SystemError("cannot fork", errno);
  if (pid == 0) {
    if (int error = group.JoinSelf(); error != 0) {
      GiveUp(to_parent.get(), {Failure::kJoin, error});
    }
    sigprocmask(SIG_SETMASK, &request.signal_mask, nullptr);
    execvpe(request.argv[0], request.argv.data(), environment.data());
    GiveUp(to_parent.get(), {Failure::kExec, errno});
  }

  to_parent.reset();
  Failure failure{};
  ssize_t got;
  do {
    got = read(from_child.get(), &failure, sizeof failure);
  } while (got < 0 && errno == EINTR);
  if (got != sizeof failure) return Spawned{.pid = pid};

  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (failure.stage == Failure::kJoin) {
    return SystemError("the program could not enter its group", failure.error);
  }
  return Spawned{.pid = 0, .exec_errno = failure.error};
}

int ExitStatusOfExecError(int exec_errno) { return exec_errno == ENOENT ? 127 : 126; }

}  // namespace mete::agent
