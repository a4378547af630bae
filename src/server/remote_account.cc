#include "server/remote_account.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "agent/key_text.h"
#include "agent/quota_json.h"
#include "server/answers.h"
#include "server/ledger_requests.h"
#include "wire/unix_client.h"

namespace mete::server {
namespace {

using wire::Json;
using wire::JsonWriter;

std::string PathOf(const TargetName& target) {
  return "/v1/quotas/" + std::string(NameOf(target.scope)) + "/" + PercentEncoded(target.id);
}

std::string AmountsJson(const Amounts& amounts, std::string_view source,
                        std::optional<Duration> ttl) {
  JsonWriter json;
  json.BeginObject();
  agent::WriteAmounts(json, amounts);
  if (!source.empty()) json.Field("source", source);
  if (ttl) json.FieldNano("ttl_seconds", ttl->count());
  return json.EndObject().Take();
}

}  // namespace

RemoteAccount::RemoteAccount(std::string socket, TargetName target, std::string ledger,
                             const Clock& clock)
    : socket_(std::move(socket)),
      target_(std::move(target)),
      path_(PathOf(target_)),
      ledger_(std::move(ledger)),
      clock_(clock) {}

Result<std::unique_ptr<RemoteAccount>> RemoteAccount::Attach(std::string socket, TargetName target,
                                                             bool cpu_held, std::string ledger,
                                                             const Clock& clock) {
  std::unique_ptr<RemoteAccount> account(
      new RemoteAccount(std::move(socket), std::move(target), std::move(ledger), clock));
  JsonWriter body;
  body.BeginObject().Key("measured").BeginArray().String("cpu_seconds").String("memory_mb");
  body.EndArray().FieldBool("cpu_held", cpu_held).EndObject();
  if (Result<void> attached = account->Operate("attach", body.Take()); !attached) {
    return std::unexpected(attached.error());
  }
  if (Result<void> follows = account->Follow(); !follows) return std::unexpected(follows.error());
  return account;
}

// Whoever answers no more is gone, and so is the socket that another one listens on by now.
Result<Json> RemoteAccount::Exchange(std::string_view method, std::string path, std::string body,
                                     std::string_view key) {
  if (is_gone_) return Fail(ErrorCode::kStoreUnavailable, "the owner is gone: " + socket_);
  wire::HttpRequest request{std::string(method), std::move(path), {}, std::move(body)};
  if (!request.body.empty()) request.headers.emplace_back("content-type", "application/json");
  if (!key.empty()) request.headers.emplace_back("idempotency-key", agent::KeyField(key));
  Result<wire::HttpResponse> response = wire::CallUnix(socket_, request);
  if (!response) {
    is_gone_ = true;
    return Fail(ErrorCode::kStoreUnavailable, response.error().message);
  }
  if (response->status >= 400) return std::unexpected(ReadProblem(*response));
  if (response->body.empty()) return Json{};
  return wire::ParseJson(response->body);
}

Result<void> RemoteAccount::Operate(std::string_view verb, std::string body) {
  const Result<Json> done = Exchange("POST", path_ + "/" + std::string(verb), std::move(body));
  if (!done) return std::unexpected(done.error());
  return Keep(*done);
}

Result<void> RemoteAccount::Keep(const Json& json) {
  Result<ResourceQuota> quota = ReadQuota(json, clock_);
  is_stale_ = !quota;
  if (!quota) return std::unexpected(quota.error());
  quota_ = *std::move(quota);
  return {};
}

// Only what comes from here on; what had happened before is not this run's.
Result<void> RemoteAccount::Follow() {
  const wire::HttpRequest follow{
      "GET",
      "/v1/events?follow=true&target=" + PercentEncoded(agent::PathOf(target_)),
      {{"accept", "text/event-stream"}},
      {}};
  Result<UniqueFd> stream = wire::SendUnix(socket_, follow);
  if (!stream) return std::unexpected(stream.error());
  stream_ = *std::move(stream);
  // The owner begins to look for events before it answers, so that none is missed from here on.
  char bytes[4096];
  while (unread_.find("\r\n\r\n") == std::string::npos) {
    const ssize_t got = recv(stream_.get(), bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      is_gone_ = true;
      return Fail(ErrorCode::kStoreUnavailable, "no events from the owner: " + socket_);
    }
    unread_.append(bytes, static_cast<std::size_t>(got));
  }
  if (!unread_.starts_with("HTTP/1.1 200 ")) {
    return Fail(ErrorCode::kRateLimited,
                "the owner gives no events: " + unread_.substr(0, unread_.find('\r')));
  }
  TakeLines();
  return {};
}

void RemoteAccount::Advance() {
  char bytes[16 * 1024];
  while (!is_gone_) {
    const ssize_t got = recv(stream_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      is_gone_ = true;
      stream_.reset();
      return;
    }
    unread_.append(bytes, static_cast<std::size_t>(got));
    TakeLines();
  }
}

// The head of the answer and comments are lines too, which are passed over.
void RemoteAccount::TakeLines() {
  constexpr std::string_view kData = "data: ";
  std::size_t from = 0;
  for (std::size_t end; (end = unread_.find('\n', from)) != std::string::npos; from = end + 1) {
    const std::string_view line = std::string_view(unread_).substr(from, end - from);
    if (!line.starts_with(kData)) continue;
    is_stale_ = true;
    const Result<Json> json = wire::ParseJson(line.substr(kData.size()));
    if (!json) continue;
    // What an event of a newer owner says that is not known here changes the quota all the same.
    Result<Event> event = ReadEvent(*json, clock_);
    if (event && (event->target == target_ || agent::IsOfStore(event->kind))) {
      events_.push_back(*std::move(event));
    }
  }
  unread_.erase(0, from);
}

Result<Receipt> RemoteAccount::Report(const Amounts& amounts, const ReportOptions& options) {
  const std::string_view source = options.source == Source::kSampled ? "sampled" : "";
  const Result<Json> json =
      Exchange("POST", path_ + "/usage", AmountsJson(amounts, source, std::nullopt), options.key);
  if (!json) return std::unexpected(json.error());
  is_stale_ = true;
  Result<Settlement> settlement = ReadReceipt(*json);
  if (!settlement) return std::unexpected(settlement.error());
  return settlement->receipt;
}

Result<HoldId> RemoteAccount::Reserve(const Amounts& amounts, const ReserveOptions& options) {
  const Result<Json> json =
      Exchange("POST", path_ + "/holds", AmountsJson(amounts, "", options.ttl), options.key);
  if (!json) return std::unexpected(json.error());
  is_stale_ = true;
  const Json* const id = json->Find("hold_id");
  const std::string* const text = id == nullptr ? nullptr : id->AsString();
  if (text == nullptr) return Fail(ErrorCode::kSystem, "the owner of the ledger: no hold_id");
  return ParseNumber("hold_id", *text);
}

Result<Settlement> RemoteAccount::Settle(HoldId hold, const Amounts& actual) {
  const Result<Json> json = Exchange("POST", "/v1/holds/" + std::to_string(hold) + "/settle",
                                     AmountsJson(actual, "", std::nullopt));
  if (!json) return std::unexpected(json.error());
  is_stale_ = true;
  return ReadReceipt(*json);
}

Result<void> RemoteAccount::Release(HoldId hold) {
  const Result<Json> json = Exchange("DELETE", "/v1/holds/" + std::to_string(hold));
  if (!json) return std::unexpected(json.error());
  is_stale_ = true;
  return {};
}

void RemoteAccount::Abandon(HoldId hold) {
  static_cast<void>(Exchange("DELETE", "/v1/holds/" + std::to_string(hold) + "?abandoned"));
  is_stale_ = true;
}

Result<void> RemoteAccount::SetLimits(const ResourceLimits& limits) {
  JsonWriter body;
  body.BeginObject().Key("limits").BeginObject();
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit>& limit = limits[info.kind];
    if (!limit) continue;
    body.Key(info.name);
    limit->amount == kUnlimited ? body.Null() : body.String(limit->text);
  }
  body.EndObject().EndObject();
  const Result<Json> json = Exchange("PATCH", path_, body.Take());
  if (!json) return std::unexpected(json.error());
  return Keep(*json);
}

Result<void> RemoteAccount::Resume(bool override_causes) {
  return Operate("resume", override_causes ? R"({"override":true})" : "");
}

ResourceQuota RemoteAccount::Quota() {
  if (!is_stale_ || is_gone_) return quota_;
  const Result<Json> json = Exchange("GET", path_);
  if (!json) return quota_;
  static_cast<void>(Keep(*json));
  return quota_;
}

ResourceUsage RemoteAccount::Totals() {
  if (const Result<Json> json = Exchange("GET", path_ + "/usage")) {
    if (const Result<ResourceUsage> totals = ReadTotals(*json)) totals_ = *totals;
  }
  return totals_;
}

Result<std::vector<ResourceQuota>> RemoteAccount::Above() {
  std::vector<ResourceQuota> above;
  for (std::optional<TargetName> parent = Quota().parent; parent; parent = above.back().parent) {
    const Result<Json> json = Exchange("GET", PathOf(*parent));
    if (!json) return std::unexpected(json.error());
    Result<ResourceQuota> quota = ReadQuota(*json, clock_);
    if (!quota) return std::unexpected(quota.error());
    above.push_back(*std::move(quota));
  }
  return above;
}

std::vector<Event> RemoteAccount::TakeEvents() {
  Advance();
  return std::exchange(events_, {});
}

}  // namespace mete::server
