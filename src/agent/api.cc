#include "agent/api.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

#include "agent/key_text.h"
#include "agent/responses.h"
#include "agent/usage_fields.h"

namespace mete::agent {
namespace {

// How old a reading may be that a caller is shown.
constexpr Duration kFreshness = std::chrono::milliseconds(50);

std::vector<std::string> SplitPath(std::string_view target) {
  std::vector<std::string> parts;
  target = target.substr(0, target.find('?'));
  while (!target.empty()) {
    target.remove_prefix(1);  // the slash
    const std::size_t end = std::min(target.find('/'), target.size());
    parts.emplace_back(target.substr(0, end));
    target.remove_prefix(end);
  }
  return parts;
}

wire::HttpResponse NotFound(const wire::HttpRequest& request) {
  return ProblemOf({ErrorCode::kNotFound, "no such path, given: " + request.target.substr(0, 200)});
}

wire::HttpResponse WrongMethod(const char* allowed) {
  wire::HttpResponse response = ProblemOf(
      {ErrorCode::kInvalidArgument, std::string("method, allowed here: ") + allowed}, 405);
  response.headers.emplace_back("allow", allowed);
  return response;
}

wire::HttpResponse Forbidden(const char* why) { return ProblemOf({ErrorCode::kNotPermitted, why}); }

// A report as a settlement of what nothing was reserved for.
Settlement SettlementOf(const Receipt& receipt, const Amounts& amounts) {
  Settlement settlement{.receipt = receipt, .used = {}, .above_hold = {}};
  ForEachResource(receipt.recorded,
                  [&](Resource resource) { settlement.used.Set(resource, amounts.Get(resource)); });
  return settlement;
}

Result<std::string> KeyOf(const wire::HttpRequest& request) {
  return KeyText(wire::FindHeader(request.headers, "idempotency-key"));
}

std::optional<HoldId> ParseHoldId(std::string_view text) {
  HoldId id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return id;
}

}  // namespace

wire::HttpResponse Api::AnswerAgent(const wire::HttpRequest& request, const Peer& peer) {
  const Parts path = SplitPath(request.target);
  if (path.size() < 2 || path[0] != "v1") return NotFound(request);
  if (path[1] == "quotas") return Forbidden("an agent cannot reach quotas, only GET /v1/self");
  if (path[1] == "self") {
    if (path.size() == 2) {
      return request.method == "GET" ? Quota() : Forbidden("an agent cannot change its own limits");
    }
    const std::string& what = path[2];
    if (path.size() == 3 && (what == "usage" || what == "holds")) {
      if (request.method != "POST") return WrongMethod("POST");
      return what == "usage" ? Usage(request) : Hold(request, peer);
    }
    return request.method == "GET" ? NotFound(request)
                                   : Forbidden("an agent cannot reset, resume or end itself");
  }
  if (path[1] == "holds" && path.size() == 3) {
    return request.method == "DELETE" ? ReleaseHold(path[2]) : WrongMethod("DELETE");
  }
  if (path[1] == "holds" && path.size() == 4 && path[3] == "settle") {
    return request.method == "POST" ? Settle(request, path[2]) : WrongMethod("POST");
  }
  return NotFound(request);
}

// Alive before and after: then what was found out about its number is true of this very process.
bool Api::MayOperate(const Peer& peer) {
  return IsAlive(peer.pidfd) && !agent_.group().Contains(peer.pid) && IsAlive(peer.pidfd);
}

wire::HttpResponse Api::AnswerOperator(const wire::HttpRequest& request, const Peer& peer) {
  if (!MayOperate(peer)) return Forbidden("an agent cannot use the control socket");
  const Parts path = SplitPath(request.target);
  if (path.size() < 2 || path[0] != "v1" || path[1] != "quotas") return NotFound(request);
  if (path.size() == 2) {
    if (request.method != "GET") return WrongMethod("GET");
    agent_.Measure(kFreshness);
    return JsonResponse(200, QuotaListJson(agent_, leader_));
  }
  if (path.size() < 4 || path.size() > 5) return NotFound(request);
  if (path[2] != "agent" || path[3] != agent_.id()) {
    return ProblemOf({ErrorCode::kNotFound, "no such quota here, known: agent " + agent_.id() +
                                                ", given: " + path[2] + " " + path[3]});
  }
  if (path.size() == 5) return Operate(request, path[4]);
  if (request.method == "GET") return Quota();
  return request.method == "PATCH" ? ChangeLimits(request) : WrongMethod("GET, PATCH");
}

wire::HttpResponse Api::Quota(int status) {
  agent_.Measure(kFreshness);
  return JsonResponse(status, QuotaJson(agent_, leader_));
}

wire::HttpResponse Api::Usage(const wire::HttpRequest& request) {
  Result<std::string> key = KeyOf(request);
  if (!key) return ProblemOf(key.error(), 422);
  Result<UsageMessage> message = ReadUsage(request.body, /*with_ttl=*/false);
  if (!message) return ProblemOf(message.error());
  Result<Receipt> receipt = agent_.account().Report(message->amounts, {.key = *key});
  if (!receipt) return KeyedProblemOf(receipt.error(), *key);
  return Receive(SettlementOf(*receipt, message->amounts));
}

wire::HttpResponse Api::Hold(const wire::HttpRequest& request, const Peer& peer) {
  Result<std::string> key = KeyOf(request);
  if (!key) return ProblemOf(key.error(), 422);
  Result<UsageMessage> message = ReadUsage(request.body, /*with_ttl=*/true);
  if (!message) return ProblemOf(message.error());
  for (const UsageField& field : kUsageFields) {
    if (!(message->amounts.named() & kMeasured).Has(field.resource)) continue;
    return ProblemOf(
        {ErrorCode::kInvalidArgument,
         "measured by mete, so it cannot be reserved, given: " + std::string(field.name)});
  }
  Result<HoldOwners::Grant> grant = holds_.Reserve(message->amounts, message->ttl, peer, *key);
  if (!grant) return KeyedProblemOf(grant.error(), *key);
  return JsonResponse(201, HoldJson(grant->id, grant->expires, agent_.clock()));
}

// A second settlement answers as the first did, with a key or without.
wire::HttpResponse Api::Settle(const wire::HttpRequest& request, std::string_view id) {
  if (Result<std::string> key = KeyOf(request); !key) return ProblemOf(key.error(), 422);
  Result<UsageMessage> message = ReadUsage(request.body, /*with_ttl=*/false);
  if (!message) return ProblemOf(message.error());
  const std::optional<HoldId> hold = ParseHoldId(id);
  if (!hold) {
    return ProblemOf({ErrorCode::kNotFound, "no such hold, given: " + std::string(id)});
  }
  Result<Settlement> settlement = holds_.Settle(*hold, message->amounts);
  if (!settlement) return ProblemOf(settlement.error());
  return Receive(*settlement);
}

wire::HttpResponse Api::Receive(const Settlement& settlement) {
  std::optional<bool> durable;
  if (agent_.account().ledger() != kMemoryLedger) durable = settlement.receipt.durable;
  return JsonResponse(200, ReceiptJson(settlement, agent_.quota(), settlement.receipt.replayed,
                                       agent_.clock(), durable));
}

wire::HttpResponse Api::ReleaseHold(std::string_view id) {
  const std::optional<HoldId> hold = ParseHoldId(id);
  if (!hold) {
    return ProblemOf({ErrorCode::kNotFound, "no such hold, given: " + std::string(id)});
  }
  if (Result<void> released = holds_.Release(*hold); !released) {
    return ProblemOf(released.error());
  }
  return wire::HttpResponse{.status = 204, .headers = {}, .body = {}};
}

wire::HttpResponse Api::Operate(const wire::HttpRequest& request, std::string_view verb) {
  if (verb == "usage") {
    if (request.method != "GET") return WrongMethod("GET");
    agent_.Measure(kFreshness);
    return JsonResponse(200, TotalsJson(agent_));
  }
  constexpr std::array<std::string_view, 5> kVerbs = {"reset", "suspend", "resume", "terminate",
                                                      "clear-throttle"};
  if (std::ranges::find(kVerbs, verb) == kVerbs.end()) return NotFound(request);
  if (request.method != "POST") return WrongMethod("POST");
  if (verb == "terminate") {
    agent_.End({EndCause::kOperator, std::nullopt});
    agent_.Reconcile();
    return Quota(202);
  }
  if (agent_.ended()) return ProblemOf({ErrorCode::kInUse, "the agent is being ended"});
  if (verb == "resume") return Resume(request);
  if (verb == "clear-throttle") {
    if (Result<void> cleared = agent_.ClearThrottle(); !cleared) return ProblemOf(cleared.error());
    agent_.Reconcile();
    return Quota();
  }
  // The account is there for as long as its agent.
  if (verb == "reset") {
    [[maybe_unused]] const auto reset = agent_.account().Reset();
  } else {
    [[maybe_unused]] const auto suspended = agent_.account().Suspend();
  }
  agent_.Reconcile();
  if (verb == "suspend" && agent_.state() == State::kRunning) {
    return ProblemOf({ErrorCode::kSuspendFailed, "the agent does not stand still; tried again"});
  }
  return Quota();
}

wire::HttpResponse Api::Resume(const wire::HttpRequest& request) {
  Result<bool> override_causes = ReadOverride(request.body);
  if (!override_causes) return ProblemOf(override_causes.error());
  if (Result<void> resumed = agent_.account().Resume(*override_causes); !resumed) {
    return ProblemOf(resumed.error(), 409);
  }
  agent_.Reconcile();
  return Quota();
}

wire::HttpResponse Api::ChangeLimits(const wire::HttpRequest& request) {
  Result<ResourceLimits> limits = ReadLimits(request.body);
  if (!limits) return ProblemOf(limits.error());
  if (Result<void> changed = agent_.SetLimits(*limits); !changed) {
    return ProblemOf(changed.error());
  }
  agent_.Reconcile();
  return Quota();
}

}  // namespace mete::agent
