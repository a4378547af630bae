#include "server/ledger_api.h"

#include <algorithm>
#include <array>

#include "agent/key_text.h"
#include "agent/requests.h"
#include "agent/responses.h"
#include "base/quote.h"

namespace mete::server {
namespace {

using agent::JsonResponse;
using agent::ProblemOf;
using wire::HttpRequest;
using wire::HttpResponse;

// A reader takes a mebibyte (wire/http.h) and 10,000 values (wire/json.cc). One quota has up to
// some kilobytes, and 8 limits, 8 windows, 6 policies and its causes: 150 values and more.
constexpr std::size_t kPageQuotas = 50;

HttpResponse NotFound(const HttpRequest& request) {
  return ProblemOf(
      {ErrorCode::kNotFound, "no such path, given: " + Quoted(request.target.substr(0, 200))});
}

HttpResponse WrongMethod(const char* allowed) {
  HttpResponse response = ProblemOf(
      {ErrorCode::kInvalidArgument, std::string("method, allowed here: ") + allowed}, 405);
  response.headers.emplace_back("allow", allowed);
  return response;
}

HttpResponse NoContent() { return {.status = 204, .headers = {}, .body = {}}; }

// The key of the request, or empty; E2071.
Result<std::string> KeyOf(const HttpRequest& request) {
  return agent::KeyText(wire::FindHeader(request.headers, "idempotency-key"));
}

// The manager's refusal of something that came with a key: bad content was refused before, so that
// an invalid argument is the key's (rule 17), or a sum that passes 63 bits.
HttpResponse Refusal(const Error& error, bool has_key) {
  const bool is_key =
      has_key && error.code == ErrorCode::kInvalidArgument && error.message.starts_with("key:");
  return ProblemOf(error, is_key ? 422 : 0);
}

bool Concerns(const Event& event, const std::optional<TargetName>& target) {
  return !target || event.target == *target || event.account == *target;
}

}  // namespace

HttpResponse LedgerApi::Answer(const HttpRequest& request, const agent::Peer& peer) {
  Result<RequestPath> path = ReadPath(request.target);
  if (!path) return ProblemOf(path.error());
  const std::vector<std::string>& parts = path->parts;
  if (parts.size() < 2 || parts[0] != "v1") return NotFound(request);
  if (parts[1] == "events" && parts.size() == 2) return Events(request, *path);
  if (parts[1] == "holds") return Holds(request, peer, *path);
  if (parts[1] == "status" && parts.size() == 2) {
    if (request.method != "GET") return WrongMethod("GET");
    return JsonResponse(200, StatusJson(manager_.store_status(), ledger_));
  }
  if (parts[1] != "quotas") return NotFound(request);
  const bool records = parts.size() == 5 && (parts[4] == "usage" || parts[4] == "holds");
  if (request.method != "GET" && !records && owners_.IsInsideAgent(peer)) {
    return ProblemOf({ErrorCode::kNotPermitted, "an agent can report, and changes no account"});
  }
  if (parts.size() == 2) return Quotas(request, *path);
  if (parts.size() > 5 || parts.size() < 4) return NotFound(request);
  const auto scope = FindScope(parts[2]);
  if (!scope) {
    return ProblemOf({ErrorCode::kInvalidArgument,
                      "scope: allowed: agent, session, tenant, given: " + Quoted(parts[2])});
  }
  const Call call{request, peer, *path, Target(*scope, parts[3])};
  return parts.size() == 4 ? Account(call) : Verb(call, parts[4]);
}

HttpResponse LedgerApi::Quotas(const HttpRequest& request, const RequestPath& path) {
  if (request.method == "POST") {
    Result<CreateMessage> message = ReadCreate(request.body, configured_);
    if (!message) return ProblemOf(message.error());
    Result<ResourceQuota> made =
        manager_.CreateQuota(message->target, message->limits, message->options);
    if (!made) return ProblemOf(made.error());
    return JsonResponse(201, AccountJson(*made, owners_.RunnerOf(message->target), manager_));
  }
  if (request.method != "GET") return WrongMethod("GET, POST");
  Result<ListQuery> query = ReadListQuery(path);
  if (!query) return ProblemOf(query.error());
  const std::vector<ResourceQuota> quotas = manager_.ListQuotas(query->scope);
  std::string text = "{\"quotas\":[";
  std::size_t next = std::min(query->offset, quotas.size());
  const std::size_t end = std::min(quotas.size(), next + kPageQuotas);
  for (; next < end; ++next) {
    if (text.back() != '[') text += ',';
    text += AccountJson(quotas[next], owners_.RunnerOf(quotas[next].target), manager_.clock());
  }
  const std::string follows = next < quotas.size() ? std::to_string(next) : "null";
  return JsonResponse(200, text + "],\"next\":" + follows + "}");
}

std::optional<EventsQuery> LedgerApi::FollowQuery(const HttpRequest& request) {
  Result<RequestPath> path = ReadPath(request.target);
  if (!path || request.method != "GET" || path->parts.size() != 2 || path->parts[0] != "v1" ||
      path->parts[1] != "events") {
    return std::nullopt;
  }
  Result<EventsQuery> query =
      ReadEventsQuery(*path, wire::FindHeader(request.headers, "last-event-id"));
  if (!query || !query->follow) return std::nullopt;
  return *std::move(query);
}

HttpResponse LedgerApi::Events(const HttpRequest& request, const RequestPath& path) {
  if (request.method != "GET") return WrongMethod("GET");
  Result<EventsQuery> query =
      ReadEventsQuery(path, wire::FindHeader(request.headers, "last-event-id"));
  if (!query) return ProblemOf(query.error());
  std::uint64_t last = query->after.value_or(0);
  EventReader reader = manager_.EventsAfter(last);
  const EventReader::Batch batch = reader.Take(query->most);
  std::vector<std::string> events;
  for (const Event& event : batch.events) {
    last = event.sequence;
    if (Concerns(event, query->target)) events.push_back(EventJson(event));
  }
  return JsonResponse(200, EventsJson(events, batch.missed, last));
}

HttpResponse LedgerApi::Quota(Target target, int status) {
  Result<ResourceQuota> quota = manager_.GetQuota(target);
  if (!quota) return ProblemOf(quota.error());
  return JsonResponse(status, AccountJson(*quota, owners_.RunnerOf(target), manager_));
}

HttpResponse LedgerApi::Account(const Call& call) {
  if (call.request.method == "GET") return Quota(call.target);
  if (call.request.method == "PATCH") {
    Result<ResourceLimits> limits = agent::ReadLimits(call.request.body);
    if (!limits) return ProblemOf(limits.error());
    Result<ResourceQuota> changed = manager_.UpdateQuota(call.target, *limits);
    if (!changed) {
      const bool unknown = changed.error().message.starts_with("E2070");
      return ProblemOf(changed.error(), unknown ? 404 : 0);
    }
    return Quota(call.target);
  }
  if (call.request.method != "DELETE") return WrongMethod("GET, PATCH, DELETE");
  if (Result<void> ok = call.path.AllowOnly({"cascade"}); !ok) return ProblemOf(ok.error());
  const std::string_view cascade = call.path.Query("cascade").value_or("false");
  if (cascade != "true" && cascade != "false" && !cascade.empty()) {
    return ProblemOf({ErrorCode::kInvalidArgument,
                      "cascade: allowed: true or false, given: " + Quoted(cascade)});
  }
  Result<void> removed = manager_.CleanupQuota(call.target, cascade != "false");
  return removed ? NoContent() : ProblemOf(removed.error());
}

HttpResponse LedgerApi::Verb(const Call& call, std::string_view verb) {
  const bool is_post = call.request.method == "POST";
  if (verb == "usage") {
    if (is_post) return Usage(call);
    if (call.request.method != "GET") return WrongMethod("GET, POST");
    Result<ResourceUsage> totals = manager_.GetUsage(call.target);
    if (!totals) return ProblemOf(totals.error());
    return JsonResponse(200, TotalsJson(*totals));
  }
  constexpr std::array<std::string_view, 8> kVerbs = {
      "holds", "attach", "detach", "reset", "suspend", "resume", "terminate", "clear-throttle"};
  if (std::ranges::find(kVerbs, verb) == kVerbs.end()) return NotFound(call.request);
  if (!is_post) return WrongMethod("POST");
  if (verb == "holds") return Hold(call);
  if (verb == "attach") {
    Result<ResourceManager::Running> running = ReadAttach(call.request.body);
    if (!running) return ProblemOf(running.error());
    if (Result<void> ok = owners_.Attach(call.peer, call.target, *running); !ok) {
      return ProblemOf(ok.error());
    }
    return Quota(call.target);
  }
  if (verb == "detach") {
    if (Result<void> ok = owners_.Detach(call.peer, call.target); !ok) return ProblemOf(ok.error());
    return Quota(call.target);
  }
  return Operate(call, verb);
}

HttpResponse LedgerApi::Operate(const Call& call, std::string_view verb) {
  Result<void> done;
  int status = 200;
  if (verb == "reset") {
    if (Result<ResourceQuota> reset = manager_.ResetQuota(call.target); !reset) {
      done = std::unexpected(reset.error());
    }
  } else if (verb == "suspend") {
    done = manager_.Suspend(call.target);
  } else if (verb == "terminate") {
    done = manager_.Terminate(call.target);
    status = 202;  // whoever runs it carries it out
  } else if (verb == "clear-throttle") {
    done = manager_.ClearThrottle(call.target);
  } else {
    Result<bool> override_causes = agent::ReadOverride(call.request.body);
    if (!override_causes) return ProblemOf(override_causes.error());
    done = manager_.Resume(call.target, *override_causes);
    // A refusal by what is left, not by a limit that time lifts.
    if (!done && done.error().code == ErrorCode::kLimitExceeded) {
      return ProblemOf(done.error(), 409);
    }
  }
  return done ? Quota(call.target, status) : ProblemOf(done.error());
}

std::string LedgerApi::Receipt(const Settlement& settlement, Target target) {
  // It may have been removed since: then its limits are not shown.
  const Result<ResourceQuota> quota = manager_.GetQuota(target);
  std::optional<bool> durable;
  if (manager_.store_status().has_store) durable = settlement.receipt.durable;
  return agent::ReceiptJson(settlement, quota ? *quota : ResourceQuota{},
                            settlement.receipt.replayed, manager_.clock(), durable);
}

HttpResponse LedgerApi::Usage(const Call& call) {
  Result<std::string> key = KeyOf(call.request);
  if (!key) return ProblemOf(key.error(), 422);
  Result<agent::UsageMessage> message =
      agent::ReadUsage(call.request.body, /*with_ttl=*/false, /*with_source=*/true);
  if (!message) return ProblemOf(message.error());
  if (message->source == Source::kSampled && !owners_.IsRunner(call.peer, call.target)) {
    return ProblemOf({ErrorCode::kNotPermitted,
                      "source: sampled is what the process says that attached the target"});
  }
  Result<mete::Receipt> receipt = manager_.ReportUsage(
      call.target, message->amounts, ReportOptions{.source = message->source, .key = *key});
  if (!receipt) return Refusal(receipt.error(), !key->empty());
  Settlement settlement{.receipt = *receipt, .used = {}, .above_hold = {}};
  ForEachResource(receipt->recorded, [&](Resource resource) {
    settlement.used.Set(resource, message->amounts.Get(resource));
  });
  return JsonResponse(200, Receipt(settlement, call.target));
}

HttpResponse LedgerApi::Hold(const Call& call) {
  Result<std::string> key = KeyOf(call.request);
  if (!key) return ProblemOf(key.error(), 422);
  Result<agent::UsageMessage> message = agent::ReadUsage(call.request.body, /*with_ttl=*/true);
  if (!message) return ProblemOf(message.error());
  Result<Owners::Grant> grant =
      owners_.Reserve(call.peer, call.target, message->amounts, {.ttl = message->ttl, .key = *key});
  if (!grant) return Refusal(grant.error(), !key->empty());
  return JsonResponse(201, agent::HoldJson(grant->id, grant->expires, manager_.clock()));
}

HttpResponse LedgerApi::Settle(const Call& call, HoldId hold) {
  Result<agent::UsageMessage> message = agent::ReadUsage(call.request.body, /*with_ttl=*/false);
  if (!message) return ProblemOf(message.error());
  const std::optional<TargetName> target = owners_.TargetOf(hold);
  Result<Settlement> settlement = manager_.Settle(hold, message->amounts);
  if (!settlement) return ProblemOf(settlement.error());
  owners_.Forget(hold);
  return JsonResponse(200, Receipt(*settlement, target ? Target(*target) : Target("")));
}

HttpResponse LedgerApi::Holds(const HttpRequest& request, const agent::Peer& peer,
                              const RequestPath& path) {
  const std::vector<std::string>& parts = path.parts;
  const bool settles = parts.size() == 4 && parts[3] == "settle";
  if (parts.size() != 3 && !settles) return NotFound(request);
  const Result<std::uint64_t> id = ParseNumber("hold_id", parts[2]);
  if (!id) {
    return ProblemOf({ErrorCode::kNotFound, "no such hold, given: " + Quoted(parts[2])});
  }
  if (settles) {
    if (request.method != "POST") return WrongMethod("POST");
    return Settle({request, peer, path, Target("")}, *id);
  }
  if (request.method != "DELETE") return WrongMethod("DELETE");
  if (path.Query("abandoned")) {
    manager_.Abandon(*id);
  } else if (Result<void> released = manager_.Release(*id); !released) {
    return ProblemOf(released.error());
  }
  owners_.Forget(*id);
  return NoContent();
}

}  // namespace mete::server
