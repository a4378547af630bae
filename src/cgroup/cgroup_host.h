// The Linux host: groups of processes as control groups, on v2 and on the hybrid layout in which
// cpu, memory and pids are v1 hierarchies while freezing, killing and CPU time come from v2.
//
// A group is one directory "mete/<name>" under a base in each hierarchy (layout.h says which base).
// The unified one is made first and removed last, so it alone decides whether a name is in use.
// "mete" itself goes with the last group; whoever makes a group at that moment tries again.
#pragma once

#include <memory>
#include <string>

#include "agent/host.h"
#include "cgroup/layout.h"

namespace mete::cgroup {

struct Roots;  // the bases, opened; shared by a host and its groups

class CgroupHost final : public agent::Host {
 public:
  // REQUIRES: `places` describes directories of this machine (or of a test's tree).
  explicit CgroupHost(Places places);
  ~CgroupHost() override;

  agent::Capabilities Probe() override;
  agent::Capabilities Look() override;
  Result<std::unique_ptr<agent::Group>> Create(std::string_view name,
                                               const agent::KernelLimits& limits) override;
  Result<std::unique_ptr<agent::Group>> Find(std::string_view name) override;
  std::optional<std::string> GroupOf(pid_t pid) override;
  Result<std::vector<agent::FoundGroup>> Scan() override;
  Result<std::vector<std::uint64_t>> Generations(const agent::GroupId& id) override;

 private:
  Places places_;
  std::shared_ptr<const Roots> roots_;
};

}  // namespace mete::cgroup
