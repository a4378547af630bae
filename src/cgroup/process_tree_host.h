// The host for a machine, or a user, without control groups: groups of processes as marked trees.
//
// Nothing is held by the kernel. What is promised instead, and how far it may be passed, stands in
// Look(); docs/enforcement.md has it beside the other hosts.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "agent/host.h"
#include "cgroup/tree_registry.h"

namespace mete::cgroup {

// What a host shares with its groups.
struct TreeShared {
  TreeRegistry registry;
  int groups_made = 0;  // in this process
};

class ProcessTreeHost final : public agent::Host {
 public:
  // `folder` belongs to the user alone; it is made when the first group is. `missing` says why
  // there are no control groups.
  ProcessTreeHost(std::string_view folder, std::string missing);

  agent::Capabilities Probe() override;
  agent::Capabilities Look() override;
  Result<std::unique_ptr<agent::Group>> Create(std::string_view name,
                                               const agent::KernelLimits& limits) override;
  Result<std::unique_ptr<agent::Group>> Find(std::string_view name) override;
  std::optional<std::string> GroupOf(pid_t pid) override;
  Result<std::vector<agent::FoundGroup>> Scan() override;

 private:
  std::string folder_, missing_;
  std::shared_ptr<TreeShared> shared_;
};

}  // namespace mete::cgroup
