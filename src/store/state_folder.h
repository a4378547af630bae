// A folder that holds the state of one manager, and the lock that says whose it is.
//
// The lock is one of flock(2) on the file `lock`, which holds the number of the owner's process. It
// ends with the last descriptor of that opening: with the process, unless that has forked without
// an exec.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "mete/error.h"

namespace mete::store {

class StateFolder {
 public:
  // Makes it if it is not there, mode 0700. E2079: it cannot be used, or others may write to it,
  // or its file `lock` is another program's, which stays as it is; E2080: another process has it.
  static Result<StateFolder> Open(const std::string& path);

  const std::string& path() const noexcept { return path_; }
  int fd() const noexcept { return folder_.get(); }
  std::string PathOf(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
  UniqueFd folder_;
  UniqueFd lock_;
};

}  // namespace mete::store
