#include "agent/host.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>

#include "base/quote.h"

namespace mete::agent {
namespace {

std::unexpected<Error> CannotHere(const char* what) {
  return Fail(ErrorCode::kSystem, std::string(what) + " is not possible on this machine");
}

// Finds the level, sees whose it is, and writes its limits; without limits, nothing.
Result<void> LimitLevel(Host& host, const GroupId& id, const std::optional<KernelLimits>& limits,
                        const std::string& ledger) {
  if (!limits) return {};
  Result<std::unique_ptr<Group>> level = host.Find(GroupNameOf(id));
  if (!level) return std::unexpected(level.error());
  const std::string owner = ledger.empty() ? ledger : (*level)->Claim(ledger);
  if (owner == ledger) return (*level)->SetLimits(*limits);
  const std::string kind = id.session.empty() ? "tenant" : "session";
  return Fail(ErrorCode::kAlreadyExists,
              "agents of a " + kind +
                  " of that name are there already, of another state folder: " + kind + " " +
                  (id.session.empty() ? id.tenant : id.session) + ", folder " + Quoted(owner));
}

}  // namespace

std::string_view NameOf(Grade grade) noexcept {
  switch (grade) {
    case Grade::kKernel: return "kernel";
    case Grade::kSampled: return "sampled";
    case Grade::kReported: return "reported";
    case Grade::kAdvisory: return "advisory";
    case Grade::kAbsent: return "absent";
  }
  return "absent";
}

Result<void> Group::SetCpuRate(std::optional<std::int64_t>) {
  return CannotHere("a rate of CPU for a group");
}

Result<void> Group::Adopt(pid_t) { return CannotHere("taking a running process into a group"); }

Result<EffectiveLimits> Group::Effective() { return EffectiveLimits{}; }

Result<void> Group::SetLabel(std::string_view) { return CannotHere("a label on a group"); }

std::string Group::Label() { return {}; }

Result<std::int64_t> Group::ReadCpu() {
  Result<Sample> sample = Read();
  if (!sample) return std::unexpected(sample.error());
  return sample->cpu_ns;
}

Result<PressureWatch> Group::WatchPressure(Pressure, Duration, Duration) {
  return CannotHere("watching the pressure on a group");
}

bool Group::Holds(pid_t pid) { return Contains(pid) || (kill(pid, 0) != 0 && errno == ESRCH); }

Result<std::vector<FoundGroup>> Host::Scan() { return CannotHere("finding all groups"); }

Result<std::vector<std::uint64_t>> Host::Generations(const GroupId& id) {
  Result<std::vector<FoundGroup>> found = Scan();
  if (!found) return std::unexpected(found.error());
  std::vector<std::uint64_t> generations;
  const std::string name = GroupNameOf(id);
  const std::string_view stem = std::string_view(name).substr(0, name.rfind('.') + 1);
  for (const FoundGroup& group : *found) {
    if (auto generation = GenerationIn(group.name, stem)) generations.push_back(*generation);
  }
  std::ranges::sort(generations);
  return generations;
}

Result<std::unique_ptr<Group>> CreateLeaf(Host& host, const GroupId& id, const KernelLimits& limits,
                                          const LevelLimits& levels) {
  Result<std::unique_ptr<Group>> leaf = host.Create(GroupNameOf(id), limits);
  if (!leaf) return leaf;
  Result<void> held;
  if (!id.tenant.empty())
    held = LimitLevel(host, {id.tenant, {}, {}}, levels.tenant, levels.ledger);
  if (held && !id.session.empty()) {
    held = LimitLevel(host, {id.tenant, id.session, {}}, levels.session, levels.ledger);
  }
  if (held) return leaf;
  // The error that led here says more than one of cleaning up.
  [[maybe_unused]] Result<void> removed = (*leaf)->Remove();
  return std::unexpected(held.error());
}

}  // namespace mete::agent
