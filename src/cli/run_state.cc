#include "cli/run_state.h"

#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "agent/kernel_limits.h"
#include "agent/levels.h"
#include "agent/quota_json.h"
#include "base/quote.h"
#include "cli/remote.h"
#include "server/answers.h"
#include "server/ledger_requests.h"
#include "server/remote_account.h"
#include "server/state.h"
#include "server/state_account.h"
#include "wire/json.h"
#include "wire/unix_client.h"

namespace mete::cli {
namespace {

using server::OpenedState;
using wire::JsonWriter;

server::StateConfig ConfigOf(const RunState& state, const Clock& clock) {
  server::StateConfig config;
  config.folder = state.folder;
  config.manager.durability = state.durability;
  config.clock = &clock;
  config.open_store = [](const std::string& folder) { return OpenStore(folder); };
  config.advances = false;  // the account does, which has to hear of what happens
  return config;
}

// The owner's answer, whichever process it is. E2079: it went away, which is not a 404 of its own.
Result<wire::Json> Ask(const OpenedState& opened, std::string_view method, std::string target,
                       std::string body) {
  wire::HttpRequest request{std::string(method), std::move(target), {}, std::move(body)};
  if (!request.body.empty()) request.headers.emplace_back("content-type", "application/json");
  wire::HttpResponse response;
  if (opened.owned) {
    response = opened.owned->Answer(request);
  } else {
    Result<wire::HttpResponse> answered = wire::CallUnix(opened.socket, request);
    if (!answered) return Fail(ErrorCode::kStoreUnavailable, answered.error().message);
    response = *std::move(answered);
  }
  if (response.status >= 400) return std::unexpected(server::ReadProblem(response));
  return wire::ParseJson(response.body);
}

std::string PathOf(const TargetName& target) {
  return "/v1/quotas/" + std::string(NameOf(target.scope)) + "/" +
         server::PercentEncoded(target.id);
}

std::string CreateBody(const TargetName& target, const std::optional<TargetName>& parent,
                       const agent::AgentConfig* config) {
  JsonWriter json;
  json.BeginObject().Field("scope", NameOf(target.scope)).Field("target_id", target.id);
  json.FieldBool("exist_ok", config == nullptr);
  if (parent) json.Field("parent", agent::PathOf(*parent));
  json.Key("limits").BeginObject();
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit> limit = config == nullptr ? std::nullopt : config->limits[info.kind];
    json.Key(info.name);
    !limit || limit->amount == kUnlimited ? json.Null() : json.String(limit->text);
  }
  json.EndObject();
  if (config == nullptr) return json.EndObject().Take();
  json.Key("policy").BeginObject();
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    json.Key(NameOf(static_cast<Resource>(i))).BeginObject();
    json.Field("mode", NameOf(config->policies[i].mode));
    json.Field("action", NameOf(config->policies[i].action)).EndObject();
  }
  return json.EndObject().EndObject().Take();
}

Result<void> CheckParent(const ResourceQuota& quota, const std::optional<TargetName>& wanted) {
  if (!wanted || quota.parent == wanted) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "--" + std::string(NameOf(wanted->scope)) + ": " + quota.target.ToString() +
                  " is there already, " +
                  (quota.parent ? "below " + quota.parent->ToString() : "below nothing") +
                  ", given: " + Quoted(wanted->id));
}

// A session or tenant, made where it is not there.
Result<void> Ensure(const OpenedState& opened, const TargetName& target,
                    const std::optional<TargetName>& parent, const Clock& clock) {
  Result<wire::Json> json = Ask(opened, "POST", "/v1/quotas", CreateBody(target, parent, nullptr));
  if (!json) return std::unexpected(json.error());
  Result<ResourceQuota> quota = server::ReadQuota(*json, clock);
  if (!quota) return std::unexpected(quota.error());
  return CheckParent(*quota, parent);
}

Result<void> CheckPolicies(const ResourceQuota& quota, const agent::AgentConfig& config,
                           const std::string& option) {
  if (option.empty()) return {};
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const Policy &stored = quota.policies[i], &asked = config.policies[i];
    if (stored.mode == asked.mode && stored.action == asked.action) continue;
    return Fail(ErrorCode::kInvalidArgument, "--" + option + ": " + quota.target.ToString() +
                                                 " has its policies from its creation: " +
                                                 std::string(NameOf(static_cast<Resource>(i))) +
                                                 " " + std::string(NameOf(stored.action)) + ":" +
                                                 std::string(NameOf(stored.mode)));
  }
  return {};
}

bool AreChanged(const ResourceLimits& stored, const ResourceLimits& asked) {
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit>&there = stored[info.kind], &here = asked[info.kind];
    if (here && (!there || there->amount != here->amount || there->text != here->text)) return true;
  }
  return false;
}

// E2080 for one that a process runs, which its attaching would refuse too, but later.
Result<std::optional<ResourceQuota>> Find(const OpenedState& opened, const TargetName& target,
                                          const Clock& clock) {
  Result<wire::Json> json = Ask(opened, "GET", PathOf(target), {});
  if (!json && json.error().code == ErrorCode::kNotFound) return std::nullopt;
  if (!json) return std::unexpected(json.error());
  if (const std::string pid = TextOf(*json, "pid"); !pid.empty()) {
    return Fail(ErrorCode::kInUse,
                agent::PathOf(target) + " is run by another process, pid: " + pid);
  }
  return server::ReadQuota(*json, clock);
}

// What is to be done to the accounts, once nothing is left that could be refused.
struct Plan {
  agent::AgentConfig asked;
  TargetName target;
  std::optional<TargetName> parent;  // as asked for
  bool is_there = false;
  bool are_changed = false;  // limits of one that is there
  struct Missing {
    TargetName target;
    std::optional<TargetName> parent;
  };
  std::vector<Missing> missing;  // sessions and tenants, from the lowest up
};

// What is above the agent, from the lowest up, also what is still missing there.
Result<std::vector<ResourceQuota>> LookAbove(const OpenedState& opened, const RunState& state,
                                             std::optional<TargetName> lowest, const Clock& clock,
                                             Plan* plan) {
  std::vector<ResourceQuota> above;
  std::optional<TargetName> tenant;
  if (!state.tenant.empty()) tenant = TargetName{QuotaScope::kTenant, state.tenant};
  for (std::optional<TargetName> next = std::move(lowest); next; next = above.back().parent) {
    const bool is_session = next->scope == QuotaScope::kSession;
    Result<std::optional<ResourceQuota>> level = Find(opened, *next, clock);
    if (!level) return std::unexpected(level.error());
    if (!*level) {
      level->emplace();
      (*level)->target = *next;
      if (is_session) (*level)->parent = tenant;
      plan->missing.push_back({*next, (*level)->parent});
    }
    Result<void> good = is_session ? CheckParent(**level, tenant) : Result<void>{};
    if (!good) return std::unexpected(good.error());
    good = agent::CheckRanges((*level)->limits);
    if (!good) return Fail(good.error().code, next->ToString() + ": " + good.error().message);
    above.push_back(**std::move(level));
  }
  return above;
}

// Makes the configuration that of the account, as it will be; changes no account.
Result<Plan> Look(const OpenedState& opened, const RunState& state, agent::AgentConfig* config,
                  const Clock& clock) {
  Plan plan;
  plan.asked = *config;
  plan.target = {QuotaScope::kAgent, config->id};
  if (!state.tenant.empty()) plan.parent = TargetName{QuotaScope::kTenant, state.tenant};
  if (!state.session.empty()) plan.parent = TargetName{QuotaScope::kSession, state.session};
  std::optional<TargetName> lowest = plan.parent;
  const Result<std::optional<ResourceQuota>> quota = Find(opened, plan.target, clock);
  if (!quota) return std::unexpected(quota.error());
  if (*quota) {
    Result<void> good = CheckParent(**quota, plan.parent);
    if (good) good = CheckPolicies(**quota, *config, state.policy_option);
    if (!good) return std::unexpected(good.error());
    lowest = (*quota)->parent;
    plan.is_there = true;
    plan.are_changed = AreChanged((*quota)->limits, config->limits);
    config->limits = (*quota)->limits;
    config->policies = (*quota)->policies;
    for (const LimitInfo& info : AllLimits()) {
      if (plan.asked.limits[info.kind]) config->limits[info.kind] = plan.asked.limits[info.kind];
    }
  }
  const auto above = LookAbove(opened, state, std::move(lowest), clock, &plan);
  if (!above) return std::unexpected(above.error());
  agent::PlaceBelow(*above, config);
  return plan;
}

// From the top down, as each is below the one before.
Result<void> Create(const OpenedState& opened, const Plan& plan, const Clock& clock) {
  for (auto level = plan.missing.rbegin(); level != plan.missing.rend(); ++level) {
    Result<void> made = Ensure(opened, level->target, level->parent, clock);
    if (!made) return made;
  }
  if (plan.is_there) return {};
  const std::string body = CreateBody(plan.target, plan.parent, &plan.asked);
  Result<wire::Json> made = Ask(opened, "POST", "/v1/quotas", body);
  if (!made) return std::unexpected(made.error());
  return {};
}

// In this process, where it owns the folder; else at the owner.
Result<std::unique_ptr<agent::Account>> Attach(OpenedState opened, const RunState& state,
                                               const TargetName& target, bool cpu_held,
                                               const Clock& clock) {
  if (!opened.owned) {
    Result<std::unique_ptr<server::RemoteAccount>> remote =
        server::RemoteAccount::Attach(opened.socket, target, cpu_held, state.folder, clock);
    if (!remote) return std::unexpected(remote.error());
    return *std::move(remote);
  }
  // So that nobody attaches it over the socket, beside this process.
  if (Result<wire::Json> own = Ask(opened, "POST", PathOf(target) + "/attach", {}); !own) {
    return std::unexpected(own.error());
  }
  const std::shared_ptr<server::OwnedState> owned = std::move(opened.owned);
  return agent::AttachShared(std::shared_ptr<ResourceManager>(owned, &owned->manager()), target,
                             cpu_held, state.folder);
}

Result<std::unique_ptr<agent::Account>> Open(std::shared_ptr<std::optional<OpenedState>> opened,
                                             const RunState& state, const Plan& plan,
                                             const Clock& clock) {
  // Who owned it when it was looked at may be gone by now.
  if (!(*opened)->owned) {
    Result<OpenedState> now = server::OpenState(ConfigOf(state, clock));
    if (!now) return std::unexpected(now.error());
    *opened = *std::move(now);
  }
  Result<void> made = Create(**opened, plan, clock);
  if (!made) return std::unexpected(made.error());
  Result<std::unique_ptr<server::StateAccount>> account = server::StateAccount::Create(
      [opened, state, target = plan.target, cpu_held = plan.asked.controllers.cpu,
       &clock]() -> Result<std::unique_ptr<agent::Account>> {
        if (!*opened) {
          Result<OpenedState> next = server::OpenState(ConfigOf(state, clock));
          if (!next) return std::unexpected(next.error());
          *opened = *std::move(next);
        }
        return Attach(*std::exchange(*opened, std::nullopt), state, target, cpu_held, clock);
      },
      clock);
  if (!account) return std::unexpected(account.error());
  // Attached by now: nobody else runs it.
  if (plan.are_changed) {
    Result<void> changed = (*account)->SetLimits(plan.asked.limits);
    if (!changed) return std::unexpected(changed.error());
  }
  return *std::move(account);
}

}  // namespace

std::function<Result<agent::RunConfig::OpenAccount>(agent::AgentConfig&)> FindStored(
    RunState state, const Clock& clock) {
  return [state = std::move(state),
          &clock](agent::AgentConfig& config) -> Result<agent::RunConfig::OpenAccount> {
    Result<OpenedState> first = server::OpenState(ConfigOf(state, clock));
    if (!first) return std::unexpected(first.error());
    Result<Plan> plan = Look(*first, state, &config, clock);
    if (!plan) return std::unexpected(plan.error());
    // The same for everybody, however they write it.
    std::error_code error;
    config.levels.ledger = std::filesystem::canonical(state.folder, error).string();
    const auto opened = std::make_shared<std::optional<OpenedState>>(*std::move(first));
    return [opened, state, plan = *std::move(plan), &clock] {
      return Open(opened, state, plan, clock);
    };
  };
}

}  // namespace mete::cli
