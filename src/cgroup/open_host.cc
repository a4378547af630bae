// Which host this machine, and this user, has: control groups where any can be made, else trees of
// processes.
#include "agent/runtime_dir.h"
#include "cgroup/cgroup_host.h"
#include "cgroup/process_tree_host.h"

namespace mete::agent {

std::unique_ptr<Host> OpenHost() {
  cgroup::Places places = cgroup::FindPlaces(cgroup::ReadLayout());
  if (places.missing.empty()) return std::make_unique<cgroup::CgroupHost>(std::move(places));
  return std::make_unique<cgroup::ProcessTreeHost>(RuntimeDir(), std::move(places.missing));
}

}  // namespace mete::agent
