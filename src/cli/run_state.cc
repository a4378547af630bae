#include "cli/run_state.h"

#include <optional>
#include <string_view>
#include <utility>

#include "agent/levels.h"
#include "agent/quota_json.h"
#include "base/quote.h"
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

// The owner's answer, whichever process it is.
Result<wire::Json> Ask(const OpenedState& opened, std::string_view method, std::string target,
                       std::string body) {
  wire::HttpRequest request{std::string(method), std::move(target), {}, std::move(body)};
  if (!request.body.empty()) request.headers.emplace_back("content-type", "application/json");
  wire::HttpResponse response;
  if (opened.owned) {
    response = opened.owned->Answer(request);
  } else {
    Result<wire::HttpResponse> answered = wire::CallUnix(opened.socket, request);
    if (!answered) return std::unexpected(answered.error());
    response = *std::move(answered);
  }
  if (response.status >= 400) return std::unexpected(server::ReadProblem(response));
  return wire::ParseJson(response.body);
}

std::string PathOf(const TargetName& target) {
  return "/v1/quotas/" + std::string(NameOf(target.scope)) + "/" +
         server::PercentEncoded(target.id);
}

// Those that are set, or, for a new account, all of them: what is not set is unlimited.
void WriteLimits(JsonWriter& json, const ResourceLimits& limits, bool all) {
  json.Key("limits").BeginObject();
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit>& limit = limits[info.kind];
    if (!limit && !all) continue;
    json.Key(info.name);
    !limit || limit->amount == kUnlimited ? json.Null() : json.String(limit->text);
  }
  json.EndObject();
}

std::string CreateBody(const TargetName& target, const std::optional<TargetName>& parent,
                       const agent::AgentConfig* config) {
  JsonWriter json;
  json.BeginObject().Field("scope", NameOf(target.scope)).Field("target_id", target.id);
  json.FieldBool("exist_ok", true);
  if (parent) json.Field("parent", agent::PathOf(*parent));
  WriteLimits(json, config == nullptr ? ResourceLimits{} : config->limits, true);
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

// The account as it is to be for this run.
Result<ResourceQuota> Prepare(const OpenedState& opened, const RunState& state,
                              const agent::AgentConfig& config, const Clock& clock) {
  std::optional<TargetName> parent;
  for (const auto& [scope, id] : {std::pair(QuotaScope::kTenant, &state.tenant),
                                  std::pair(QuotaScope::kSession, &state.session)}) {
    if (id->empty()) continue;
    const TargetName target{scope, *id};
    if (Result<void> there = Ensure(opened, target, parent, clock); !there) {
      return std::unexpected(there.error());
    }
    parent = target;
  }
  const TargetName target{QuotaScope::kAgent, config.id};
  Result<wire::Json> json = Ask(opened, "GET", PathOf(target), {});
  if (!json && json.error().code == ErrorCode::kNotFound) {
    json = Ask(opened, "POST", "/v1/quotas", CreateBody(target, parent, &config));
  }
  if (!json) return std::unexpected(json.error());
  Result<ResourceQuota> quota = server::ReadQuota(*json, clock);
  if (!quota) return quota;
  if (Result<void> good = CheckParent(*quota, parent); !good) return std::unexpected(good.error());
  Result<void> good = CheckPolicies(*quota, config, state.policy_option);
  if (!good) return std::unexpected(good.error());
  if (!AreChanged(quota->limits, config.limits)) return quota;
  JsonWriter body;
  WriteLimits(body.BeginObject(), config.limits, false);
  json = Ask(opened, "PATCH", PathOf(target), body.EndObject().Take());
  if (!json) return std::unexpected(json.error());
  return server::ReadQuota(*json, clock);
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

}  // namespace

std::function<Result<std::unique_ptr<agent::Account>>(agent::AgentConfig&)> OpenStored(
    RunState state, const Clock& clock) {
  return [state = std::move(state),
          &clock](agent::AgentConfig& config) -> Result<std::unique_ptr<agent::Account>> {
    Result<OpenedState> first = server::OpenState(ConfigOf(state, clock));
    if (!first) return std::unexpected(first.error());
    Result<ResourceQuota> quota = Prepare(*first, state, config, clock);
    if (!quota) return std::unexpected(quota.error());
    config.limits = quota->limits;
    config.policies = quota->policies;
    const auto opened = std::make_shared<std::optional<OpenedState>>(*std::move(first));
    Result<std::unique_ptr<server::StateAccount>> account = server::StateAccount::Create(
        [opened, state, target = quota->target, cpu_held = config.controllers.cpu,
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
    const Result<std::vector<ResourceQuota>> above = (*account)->Above();
    if (!above) return std::unexpected(above.error());
    agent::PlaceBelow(*above, &config);
    return *std::move(account);
  };
}

}  // namespace mete::cli
