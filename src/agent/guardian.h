// A small process beside `mete run` that ends the agent when `mete run` dies without a word.
//
// It waits on a pipe whose other end only `mete run` holds. A byte is the goodbye of a normal end;
// a pipe that closes without it means that the process is gone, kill -9 included, and then the
// guardian kills the group, removes it and the sockets, and ends. It lives outside the group, in a
// session of its own with every signal blocked, and holds none of the caller's descriptors.
//
// The child of a fork holds the pipe too until it executes its program. That is wanted: the
// guardian then acts only after the child either is in the group or is gone.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/host.h"
#include "base/unique_fd.h"
#include "mete/error.h"

namespace mete::agent {

class Guardian {
 public:
  // `paths` are files to unlink. REQUIRES: one thread; everything that must not stay open in the
  // guardian is either not open yet or not close-on-exec (the caller's own descriptors).
  static Result<Guardian> Start(Group& group, std::vector<std::string> paths);

  Guardian(Guardian&& other) noexcept;
  Guardian& operator=(Guardian&&) = delete;
  ~Guardian() { Dismiss(); }

  // Says goodbye and waits until it is gone. Safe to repeat.
  void Dismiss();

  // Leaves the group to it: it goes on killing until nothing is left, also after this process ends.
  void TakeOver();

  // It was reaped by whoever waits for all children.
  void Reaped() { pid_ = -1; }

  pid_t pid() const { return pid_; }

 private:
  Guardian(pid_t pid, UniqueFd pipe_end) : pid_(pid), pipe_end_(std::move(pipe_end)) {}

  pid_t pid_;
  UniqueFd pipe_end_;
};

}  // namespace mete::agent
