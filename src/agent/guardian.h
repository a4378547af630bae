// A small process beside the owner of an agent that settles the agent when its owner dies without a
// word.
//
// It is there before the group is, and is told what is made: so there is no moment at which a kill
// -9 of the owner leaves anything behind. It listens on a socket whose other end only the owner
// holds. A goodbye is a normal end; a socket that closes without it means that the process is gone.
// Then the guardian waits for a successor, as long as it was told to and as the record's lease
// lasts, and does what the record says (adopt.h): under `mete run` it kills the group at once and
// removes it, the record and the sockets. It goes without a word when a successor has the record.
// It lives outside the group, in a session of its own with every signal blocked, and holds none of
// the caller's files.
//
// The child of a fork holds that end too until it executes its program. That is wanted: the
// guardian then acts only after the child either is in the group or is gone.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "agent/host.h"
#include "base/unique_fd.h"
#include "mete/error.h"

namespace mete::agent {

class Guardian {
 public:
  // REQUIRES: one thread. What is open and not close-on-exec is the caller's, and is closed there.
  // It waits so long for a successor.
  static Result<Guardian> Start(Host& host, Duration wait = Duration::zero());

  Guardian(Guardian&& other) noexcept;
  Guardian& operator=(Guardian&&) = delete;
  ~Guardian() { Dismiss(); }

  // Before a group of that name is made, and its record, if it has one. Where there is no record of
  // this process's, the group is removed if it is empty, since the name may be another's; after
  // Made() it is killed. The first call waits until no terminal can reach the guardian any more.
  void Making(std::string_view name, std::string_view record_path = {});
  void Made();

  // A file to unlink, where there is no record to tell.
  void Remember(std::string_view path);

  // Says goodbye and waits until it is gone. Safe to repeat.
  void Dismiss();

  // Leaves the group to it: it goes on killing until nothing is left, also after this process ends.
  void TakeOver();

  // It was reaped by whoever waits for all children.
  void Reaped() { pid_ = -1; }

  pid_t pid() const { return pid_; }

 private:
  Guardian(pid_t pid, UniqueFd line) : pid_(pid), line_(std::move(line)) {}
  void Tell(char kind, std::string_view text = {});

  pid_t pid_;
  UniqueFd line_;
  bool ready_ = false;
};

}  // namespace mete::agent
