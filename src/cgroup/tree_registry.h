// Which groups there are where no control group file system keeps them: one directory for each, in
// the runtime folder of the user.
//
//   groups/t-acme/s-42/a-bot.7/.mark     what the processes of the agent carry
//   groups/t-acme/s-42/a-bot.7/.frozen   there while it is to stand still
//   groups/t-acme/s-42/a-bot.7/.label
//
// As with control groups the directory decides whether a name is in use, stays when its owner dies,
// and goes with those above it when nothing else is in them.
//
// Two processes may use it at once: every step is one system call that happens or does not.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/error.h"

namespace mete::cgroup {

class TreeRegistry {
 public:
  // The folder in which "groups" is made; made itself, by the caller, when the first group is.
  explicit TreeRegistry(std::string_view folder);

  const std::string& root() const { return root_; }

  // Makes the group, and those above it; E2076 if it is there, E2099 if it cannot be made. Without
  // a mark (0) it is one of a tenant or session.
  Result<void> Make(std::string_view name, rlim_t mark);
  bool Has(std::string_view name) const;
  // E2080 while groups are in it. With those above it that hold nothing else. Safe to repeat.
  Result<void> Remove(std::string_view name);

  Result<void> SetFrozen(std::string_view name, bool frozen);
  bool Frozen(std::string_view name) const;       // by itself
  bool FrozenAbove(std::string_view name) const;  // by one of those above it
  Result<void> SetLabel(std::string_view name, std::string_view text);
  std::string Label(std::string_view name) const;

  struct Entry {
    std::string name;
    rlim_t mark = 0;  // 0: of a tenant or session, or its maker died
    std::uint64_t inode = 0;
  };
  // This group and all below it, each before those in it; the top one is not listed itself.
  std::vector<Entry> Below(std::string_view name) const;

  // Which group has this mark.
  std::optional<std::string> NameOf(rlim_t mark) const;

 private:
  std::string Path(std::string_view name, std::string_view file = {}) const;
  Result<void> Write(const std::string& path, std::string_view text);
  void Collect(std::string_view name, std::vector<Entry>& found) const;

  std::string root_;
};

// A mark that no other group has, in the range of marks.
rlim_t NewMark();

}  // namespace mete::cgroup
