#include "agent/agent_group.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "agent/adopt.h"
#include "agent/runtime_dir.h"
#include "wire/unix_client.h"

namespace mete::agent {
namespace {

// Of an agent that is below nothing: the id itself, but for those that are the name of a level, or
// none.
std::string PlainName(const std::string& id) {
  const bool plain = CheckGroupName(id) && !IsLevel(id) && id.find('/') == std::string::npos;
  return plain ? id : GroupNameOf({{}, {}, id, 1});
}

class Maker {
 public:
  Maker(Host& host, const Clock& clock, Guardian& guardian, const std::string& dir,
        const AgentConfig& config)
      : host_(host),
        clock_(clock),
        guardian_(guardian),
        dir_(dir),
        place_{config.tenant, config.session, {}, 1},
        levels_(config.levels),
        record_(NewRecord(clock)) {
    record_.kernel =
        KernelLimitsOf(config.limits, config.policies, config.pids_max, config.controllers);
    for (std::size_t i = 0; i < kLimitKindCount; ++i) {
      if (config.limits.entries[i]) record_.limits[i] = config.limits.entries[i]->text;
    }
  }

  Result<std::unique_ptr<RecordedGroup>> Make(const std::string& id) {
    Result<std::unique_ptr<RecordedGroup>> made = TryToMake(id);
    if (!made) guardian_.Making({});
    return made;
  }

  // The name was free, but a level above is another ledger's.
  bool refused_above() const { return refused_above_; }

 private:
  Result<std::unique_ptr<RecordedGroup>> TryToMake(const std::string& id) {
    record_.id = id;
    if (Result<void> named = NameGroup(id); !named) return std::unexpected(named.error());
    const std::string path = RecordPath(dir_, id);
    guardian_.Making(record_.group, path);
    Result<RecordFile> file = ClaimRecord(host_, path, record_, clock_);
    if (!file) return std::unexpected(file.error());
    Result<std::unique_ptr<Group>> group = is_below()
                                               ? CreateLeaf(host_, place_, record_.kernel, levels_)
                                               : host_.Create(record_.group, record_.kernel);
    if (!group) {
      file->Remove();
      refused_above_ = is_below();
      return std::unexpected(group.error());
    }
    guardian_.Made();
    return std::make_unique<RecordedGroup>(*std::move(group), *std::move(file));
  }

  bool is_below() const { return !place_.tenant.empty() || !place_.session.empty(); }

  // Below a tenant or session each run has a group of its own, also beside one that was left.
  Result<void> NameGroup(const std::string& id) {
    record_.group = PlainName(id);
    if (!is_below()) return {};
    place_.agent = id;
    const Result<std::vector<std::uint64_t>> there = host_.Generations(place_);
    if (!there) return std::unexpected(there.error());
    place_.generation = there->empty() ? 1 : there->back() + 1;
    record_.group = GroupNameOf(place_);
    return {};
  }

  Host& host_;
  const Clock& clock_;
  Guardian& guardian_;
  const std::string& dir_;
  GroupId place_;
  LevelLimits levels_;
  AgentRecord record_;
  bool refused_above_ = false;
};

// Why the group of that name is there: its `mete run` answers, or nobody does any more.
std::string TakenText(const std::string& dir, const std::string& id, const Error& error) {
  const wire::HttpRequest look{"GET", "/v1/quotas", {}, {}};
  const Result<wire::HttpResponse> answer =
      wire::CallUnix(ControlSocketPath(dir, id), look, std::chrono::seconds(1));
  // One that is silent is there all the same: stopped, with its terminal.
  if (!answer && answer.error().code == ErrorCode::kNotFound) {
    return error.message + ", and no `mete run` of this user has it";
  }
  return fmt::format(
      "--agent: an agent of that name runs already: {}; `mete quota get {}` shows it, "
      "`mete terminate {}` ends it",
      id, id, id);
}

}  // namespace

Result<std::unique_ptr<RecordedGroup>> MakeGroup(Host& host, const Clock& clock, Guardian& guardian,
                                                 const std::string& dir, AgentConfig* config) {
  Maker maker(host, clock, guardian, dir, *config);
  if (!config->id.empty()) {
    Result<std::unique_ptr<RecordedGroup>> named = maker.Make(config->id);
    if (named || named.error().code != ErrorCode::kAlreadyExists) return named;
    if (maker.refused_above()) return named;
    return Fail(ErrorCode::kAlreadyExists, TakenText(dir, config->id, named.error()));
  }
  // The number of a process that was killed together with its guardian may have come round.
  const std::string base = fmt::format("run-{}", getpid());
  config->id = base;
  Result<std::unique_ptr<RecordedGroup>> group = maker.Make(config->id);
  for (int i = 2; i < 100 && !group && group.error().code == ErrorCode::kAlreadyExists; ++i) {
    config->id = fmt::format("{}-{}", base, i);
    group = maker.Make(config->id);
  }
  return group;
}

void Describe(const Agent& agent, AgentRecord* record) {
  if (agent.ended()) record->phase = Phase::kEnding;
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    const std::optional<Limit>& limit = agent.config().limits.entries[i];
    record->limits[i] = limit ? limit->text : std::string();
  }
  record->causes = agent.quota().causes;
  record->counters = agent.totals();
}

}  // namespace mete::agent
