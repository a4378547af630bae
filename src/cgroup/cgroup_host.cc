#include "cgroup/cgroup_host.h"

#include <fmt/core.h>

#include <algorithm>

#include "cgroup/cgroup_group.h"
#include "cgroup/directories.h"
#include "cgroup/label.h"
#include "cgroup/limits.h"
#include "cgroup/name.h"
#include "cgroup/pressure.h"
#include "cgroup/probe.h"
#include "cgroup/processes.h"
#include "cgroup/tree_scan.h"

namespace mete::cgroup {
namespace {

using agent::Capabilities;
using agent::Grade;
using agent::GradeInfo;

GradeInfo Kernel(const ControllerPlace& place, const char* v2, const char* v1) {
  switch (place.version) {
    case Version::kV2: return {Grade::kKernel, v2};
    case Version::kV1: return {Grade::kKernel, std::string(v1) + " (v1)"};
    case Version::kNone: break;
  }
  return {Grade::kAbsent, place.why};
}

void AddNotesFromAbove(const Roots& roots, Capabilities& seen) {
  const auto one = [&roots](std::size_t which, std::size_t index) {
    return ControlDirs::One{roots.versions[which], roots.all[index].base.get()};
  };
  const agent::EffectiveLimits above = ReadEffective(
      {one(0, roots.cpu), one(1, roots.memory), one(2, roots.pids)},
      {roots.all[roots.cpu].dir, roots.all[roots.memory].dir, roots.all[roots.pids].dir});
  if (above.cpu_nanocores.value) {
    seen.notes.push_back(fmt::format("all groups together get no more CPU than {} holds: {}m",
                                     above.cpu_nanocores.holder,
                                     *above.cpu_nanocores.value / 1'000'000));
  }
  if (above.memory_max.value) {
    seen.notes.push_back(
        fmt::format("all groups together get no more memory than {} holds: {} bytes",
                    above.memory_max.holder, *above.memory_max.value));
  }
  if (above.pids_max.value) {
    seen.notes.push_back(fmt::format("all groups together get no more processes than {} holds: {}",
                                     above.pids_max.holder, *above.pids_max.value));
  }
}

}  // namespace

CgroupHost::CgroupHost(Places places)
    : places_(std::move(places)),
      roots_(places_.missing.empty() ? std::make_shared<const Roots>(OpenRoots(places_))
                                     : nullptr) {}

CgroupHost::~CgroupHost() = default;

Capabilities CgroupHost::Look() {
  Capabilities seen;
  if (!places_.missing.empty()) {
    seen.layout = "none";
    for (GradeInfo* info :
         {&seen.cpu, &seen.memory, &seen.pids, &seen.freeze, &seen.kill, &seen.cpu_usage,
          &seen.memory_usage, &seen.memory_peak, &seen.labels, &seen.pressure}) {
      *info = {Grade::kAbsent, places_.missing};
    }
    return seen;
  }
  seen.layout = places_.hybrid() ? "hybrid" : "v2";
  seen.root = JoinPath(places_.unified_dir, kParent);
  seen.cpu = Kernel(places_.cpu, "cpu.max", "cpu.cfs_quota_us");
  seen.memory = Kernel(places_.memory, "memory.max", "memory.limit_in_bytes");
  seen.pids = Kernel(places_.pids, "pids.max", "pids.max");
  seen.freeze = {Grade::kKernel, "cgroup.freeze"};
  seen.kill = {Grade::kKernel, "cgroup.kill"};
  seen.cpu_usage = {Grade::kKernel, "cpu.stat"};
  seen.memory_usage = Kernel(places_.memory, "memory.current", "memory.usage_in_bytes");
  seen.memory_peak = Kernel(places_.memory, "memory.peak", "memory.max_usage_in_bytes");
  const int base = roots_->all.front().base.get();
  seen.labels = LabelGrade(base);
  seen.pressure = PressureGrade(base);
  seen.memory_slows = places_.memory.version == Version::kV2;
  AddNotesFromAbove(*roots_, seen);
  if (!places_.undelegated.empty()) {
    seen.notes.push_back(
        fmt::format("systemd did not delegate {}: groups lie in its tree all the same; a unit with "
                    "Delegate=yes has them in its own",
                    places_.undelegated));
  }
  return seen;
}

Capabilities CgroupHost::Probe() { return ProbeHost(*this); }

Result<std::unique_ptr<agent::Group>> CgroupHost::Create(std::string_view name,
                                                         const agent::KernelLimits& limits) {
  if (auto checked = CheckGroupName(name); !checked) return std::unexpected(checked.error());
  if (auto checked = CheckLimits(limits); !checked) return std::unexpected(checked.error());
  if (!places_.missing.empty()) {
    return Fail(ErrorCode::kSystem,
                fmt::format("no control groups can be made here ('mete doctor' tells more): {}",
                            places_.missing));
  }
  return CgroupGroup::Make(roots_, name, limits);
}

Result<std::unique_ptr<agent::Group>> CgroupHost::Find(std::string_view name) {
  if (auto checked = CheckGroupName(name); !checked && name != agent::kTopGroup) {
    return std::unexpected(checked.error());
  }
  if (!places_.missing.empty()) {
    return Fail(ErrorCode::kNotFound, fmt::format("group does not exist: {}", name));
  }
  return CgroupGroup::Find(roots_, name);
}

std::optional<std::string> CgroupHost::GroupOf(pid_t pid) {
  return GroupIn(UnifiedPathOf(pid), places_.unified_path);
}

Result<std::vector<agent::FoundGroup>> CgroupHost::Scan() {
  if (!places_.missing.empty()) return std::vector<agent::FoundGroup>{};
  return ScanGroups(roots_->all.front().base.get());
}

Result<std::vector<std::uint64_t>> CgroupHost::Generations(const agent::GroupId& id) {
  if (!places_.missing.empty()) return std::vector<std::uint64_t>{};
  std::string stem = agent::GroupNameOf(id);
  stem.resize(stem.rfind('.') + 1);
  return GenerationsIn(roots_->all.front().base.get(), stem);
}

}  // namespace mete::cgroup
