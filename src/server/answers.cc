#include "server/answers.h"

#include <array>
#include <charconv>
#include <string>
#include <utility>

#include "agent/requests.h"
#include "agent/usage_fields.h"
#include "base/quote.h"
#include "server/ledger_requests.h"

namespace mete::server {
namespace {

using wire::Json;

std::unexpected<Error> Unfit(std::string_view field) {
  return Fail(ErrorCode::kSystem,
              "the owner of the ledger answers in another form, at: " + std::string(field));
}

// The code that a refusal names; one that this program does not know stands in the text.
ErrorCode CodeOf(std::string_view name) {
  for (int number = 2070; number <= 2099; ++number) {
    const auto code = static_cast<ErrorCode>(number);
    if (code != ErrorCode::kSystem && name == ErrorCodeName(code)) return code;
  }
  return ErrorCode::kSystem;
}

std::string TextOf(const Json& json, std::string_view name) {
  const Json* const member = json.Find(name);
  const std::string* const text = member == nullptr ? nullptr : member->AsString();
  return text == nullptr ? std::string() : *text;
}

bool IsTrue(const Json& json, std::string_view name) {
  const Json* const member = json.Find(name);
  const bool* const value = member == nullptr ? nullptr : member->AsBool();
  return value != nullptr && *value;
}

Result<const Json*> Member(const Json& json, std::string_view name) {
  const Json* const member = json.Find(name);
  if (member == nullptr) return Unfit(name);
  return member;
}

Result<std::int64_t> AmountOf(const Json& json, std::string_view name, bool in_nano) {
  const Result<const Json*> member = Member(json, name);
  if (!member) return std::unexpected(member.error());
  if ((*member)->IsNull()) return kUnlimited;
  return in_nano ? wire::JsonNano(**member, name) : wire::JsonInt(**member, name);
}

// Written by MebiNano, which rounds down less than a byte.
Result<std::int64_t> BytesOf(const Json& json, std::string_view name) {
  const Result<std::int64_t> nano = AmountOf(json, name, true);
  if (!nano) return nano;
  __extension__ using Wide = __int128;
  return static_cast<std::int64_t>((static_cast<Wide>(*nano) * (1 << 20) + 999'999'999) /
                                   1'000'000'000);
}

Result<Limit> LimitOf(const LimitInfo& info, const Json& limits) {
  const std::string text = TextOf(limits, info.name);
  if (text.empty()) return Limit{};
  return ParseLimit(info.kind, text);
}

Result<LimitUsage> ReadWindow(const Json& json, const ResourceLimits& limits, const Clock& clock) {
  const std::optional<LimitKind> kind = FindLimit(TextOf(json, "limit"));
  if (!kind) return Unfit("windows.limit");
  const bool nano = InfoOf(*kind).unit == Unit::kNano;
  const auto amount = AmountOf(json, "amount", nano), used = AmountOf(json, "used", nano),
             held = AmountOf(json, "held", nano);
  for (const auto* value : {&amount, &used, &held}) {
    if (!*value) return std::unexpected(value->error());
  }
  LimitUsage usage;
  usage.kind = *kind;
  usage.violated = IsTrue(json, "violated");
  usage.limit = limits[*kind].value_or(Limit{.amount = *amount, .text = {}});
  usage.effective = *amount;
  usage.used = *used;
  usage.held = *held;
  if (const std::string reset = TextOf(json, "reset_at"); !reset.empty()) {
    const Result<WallTime> at = ReadTime(reset);
    if (!at) return std::unexpected(at.error());
    usage.reset_at = clock.Now() + (*at - clock.WallNow());
  }
  return usage;
}

Result<Cause> ReadCause(const Json& json) {
  Result<TargetName> account = ParseTarget("held_by.account", TextOf(json, "account"));
  if (!account) return std::unexpected(account.error());
  Cause cause{.account = *std::move(account)};
  if (const std::string limit = TextOf(json, "limit"); !limit.empty()) {
    cause.limit = FindLimit(limit);
    if (!cause.limit) return Unfit("held_by.limit");
  }
  const std::optional<QuotaAction> action = FindAction(TextOf(json, "action"));
  if (!action) return Unfit("held_by.action");
  cause.action = *action;
  return cause;
}

Result<PolicySet> ReadPolicies(const Json& json) {
  PolicySet policies;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const Json* const policy = json.Find(NameOf(static_cast<Resource>(i)));
    if (policy == nullptr) return Unfit("policy");
    const auto mode = FindMode(TextOf(*policy, "mode"));
    const auto action = FindAction(TextOf(*policy, "action"));
    if (!mode || !action) return Unfit("policy");
    policies[i] = {*mode, *action};
  }
  return policies;
}

// The elements of an array, each read by `read` and given to `put`.
template <class Read, class Put>
Result<void> ReadEach(const Json& json, std::string_view name, Read&& read, Put&& put) {
  const Json* const member = json.Find(name);
  const wire::JsonArray* const array = member == nullptr ? nullptr : member->AsArray();
  if (array == nullptr) return Unfit(name);
  for (const Json& element : *array) {
    auto value = read(element);
    if (!value) return std::unexpected(value.error());
    put(*std::move(value));
  }
  return {};
}

}  // namespace

Error ReadProblem(const wire::HttpResponse& response) {
  const Result<Json> problem = wire::ParseJson(response.body);
  const std::string code = problem ? TextOf(*problem, "code") : "";
  const std::string detail = problem ? TextOf(*problem, "detail") : "";
  if (code.empty() || detail.empty()) {
    return {ErrorCode::kSystem,
            "an answer without a reason, status " + std::to_string(response.status), Duration(0)};
  }
  Error error{CodeOf(code), detail, Duration(0)};
  if (const Json* wait = problem->Find("retry_after_seconds")) {
    error.retry_after = Duration(wire::JsonNano(*wait, "retry_after_seconds").value_or(0));
  }
  return error;
}

Result<WallTime> ReadTime(std::string_view text) {
  std::array<int, 6> parts{};  // year, month, day, hours, minutes, seconds
  constexpr std::string_view kSeparators = "--T::";
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto [next, error] = std::from_chars(at, end, parts[i]);
    if (error != std::errc{} || (i < 5 && (next == end || *next != kSeparators[i]))) {
      return Unfit("time " + Quoted(text));
    }
    at = i < 5 ? next + 1 : next;
  }
  Duration fraction{0};
  if (at != end && *at == '.') {
    std::int64_t unit = 100'000'000;
    for (++at; at != end && *at >= '0' && *at <= '9'; ++at, unit /= 10) {
      fraction += Duration((*at - '0') * unit);
    }
  }
  const std::chrono::year_month_day day{std::chrono::year{parts[0]},
                                        std::chrono::month{static_cast<unsigned>(parts[1])},
                                        std::chrono::day{static_cast<unsigned>(parts[2])}};
  if (at == end || *at != 'Z' || !day.ok()) return Unfit("time " + Quoted(text));
  return std::chrono::sys_days(day) + std::chrono::hours(parts[3]) +
         std::chrono::minutes(parts[4]) + std::chrono::seconds(parts[5]) + fraction;
}

Result<ResourceUsage> ReadTotals(const Json& json) {
  ResourceUsage usage;
  const auto cpu = AmountOf(json, "cpu_seconds", true), cost = AmountOf(json, "cost", true);
  const auto memory = BytesOf(json, "memory_mb"), peak = BytesOf(json, "memory_peak_mb");
  const auto tokens = AmountOf(json, "tokens_consumed", false),
             requests = AmountOf(json, "requests", false);
  for (const auto* value : {&cpu, &cost, &memory, &peak, &tokens, &requests}) {
    if (!*value) return std::unexpected(value->error());
  }
  usage.cpu_ns = *cpu;
  usage.cost_nano = *cost;
  usage.memory_bytes = *memory;
  usage.memory_peak_bytes = *peak;
  usage.tokens_consumed = *tokens;
  usage.requests = *requests;
  return usage;
}

Result<ResourceQuota> ReadQuota(const Json& json, const Clock& clock) {
  ResourceQuota quota;
  Result<TargetName> target =
      ParseTarget("target_id", TextOf(json, "scope") + "/" + TextOf(json, "target_id"));
  if (!target) return std::unexpected(target.error());
  quota.target = *std::move(target);
  if (const std::string parent = TextOf(json, "parent"); !parent.empty()) {
    Result<TargetName> above = ParseTarget("parent", parent);
    if (!above) return std::unexpected(above.error());
    quota.parent = *std::move(above);
  }
  const auto limits = Member(json, "limits"), usage = Member(json, "usage"),
             policy = Member(json, "policy");
  for (const auto* member : {&limits, &usage, &policy}) {
    if (!*member) return std::unexpected(member->error());
  }
  for (const LimitInfo& info : AllLimits()) {
    if ((*limits)->Find(info.name) == nullptr) continue;
    Result<Limit> limit = LimitOf(info, **limits);
    if (!limit) return std::unexpected(limit.error());
    quota.limits[info.kind] = *std::move(limit);
  }
  Result<PolicySet> policies = ReadPolicies(**policy);
  if (!policies) return std::unexpected(policies.error());
  quota.policies = *policies;
  Result<ResourceUsage> used = ReadTotals(**usage);
  if (!used) return std::unexpected(used.error());
  quota.usage = *used;
  Result<void> windows = ReadEach(
      json, "windows", [&](const Json& each) { return ReadWindow(each, quota.limits, clock); },
      [&](LimitUsage read) { quota.windows.push_back(std::move(read)); });
  if (!windows) return std::unexpected(windows.error());
  Result<void> causes = ReadEach(json, "held_by", ReadCause,
                                 [&](Cause cause) { quota.causes.push_back(std::move(cause)); });
  if (!causes) return std::unexpected(causes.error());
  if (const std::string reset = TextOf(json, "reset_at"); !reset.empty()) {
    const Result<WallTime> at = ReadTime(reset);
    if (!at) return std::unexpected(at.error());
    quota.reset_at = *at;
  }
  quota.suspended = IsTrue(json, "is_suspended");
  quota.throttled = IsTrue(json, "is_throttled");
  quota.terminated = IsTrue(json, "is_terminated");
  return quota;
}

Result<Settlement> ReadReceipt(const Json& json) {
  Settlement settlement;
  const auto amounts_of = [&json](std::string_view name, Amounts& amounts) -> Result<void> {
    const Json* const member = json.Find(name);
    if (member == nullptr) return {};
    for (const agent::UsageField& field : agent::kUsageFields) {
      if (member->Find(field.name) == nullptr) continue;
      const Result<std::int64_t> amount =
          field.form == agent::AmountForm::kMebi
              ? BytesOf(*member, field.name)
              : AmountOf(*member, field.name, field.form == agent::AmountForm::kNano);
      if (!amount) return std::unexpected(amount.error());
      amounts.Set(field.resource, *amount);
    }
    return {};
  };
  if (Result<void> used = amounts_of("recorded", settlement.used); !used) {
    return std::unexpected(used.error());
  }
  if (Result<void> above = amounts_of("above_hold", settlement.above_hold); !above) {
    return std::unexpected(above.error());
  }
  Receipt& receipt = settlement.receipt;
  receipt.recorded = settlement.used.named();
  if (const Json* measured = json.Find("not_charged"); measured && measured->AsArray()) {
    for (const Json& name : *measured->AsArray()) {
      for (const agent::UsageField& field : agent::kUsageFields) {
        if (name.AsString() && *name.AsString() == field.name) {
          receipt.measured.Insert(field.resource);
        }
      }
    }
  }
  receipt.replayed = IsTrue(json, "replayed");
  receipt.durable = json.Find("durable") == nullptr || IsTrue(json, "durable");
  receipt.suspended = IsTrue(json, "suspended");
  receipt.throttled = IsTrue(json, "throttled");
  receipt.action_pending = IsTrue(json, "action_pending");
  if (const Json* wait = json.Find("retry_after_seconds")) {
    receipt.retry_after = Duration(wire::JsonNano(*wait, "retry_after_seconds").value_or(0));
  }
  return settlement;
}

Result<Event> ReadEvent(const Json& json, const Clock& clock) {
  Event event;
  const Result<std::int64_t> sequence = AmountOf(json, "sequence", false);
  const Result<WallTime> time = ReadTime(TextOf(json, "time"));
  if (!sequence) return std::unexpected(sequence.error());
  if (!time) return std::unexpected(time.error());
  event.sequence = static_cast<std::uint64_t>(*sequence);
  event.wall_time = *time;
  event.time = clock.Now() + (*time - clock.WallNow());
  const std::optional<EventKind> kind = FindEventKind(TextOf(json, "kind"));
  if (!kind) return Unfit("kind");
  event.kind = *kind;
  event.detail = TextOf(json, "detail");
  for (const auto& [name, account] :
       {std::pair("target", &event.target), std::pair("account", &event.account)}) {
    const std::string text = TextOf(json, name);
    if (text.empty()) continue;  // the store's own
    Result<TargetName> read = ParseTarget(name, text);
    if (!read) return std::unexpected(read.error());
    *account = *std::move(read);
  }
  if (const std::string limit = TextOf(json, "limit"); !limit.empty()) {
    event.limit = FindLimit(limit);
    if (!event.limit) return Unfit("limit");
    const bool nano = InfoOf(*event.limit).unit == Unit::kNano;
    const auto used = AmountOf(json, "used", nano), amount = AmountOf(json, "amount", nano);
    if (!used) return std::unexpected(used.error());
    if (!amount) return std::unexpected(amount.error());
    event.used = *used;
    event.amount = *amount;
  }
  if (json.Find("percent") != nullptr) {
    event.percent = static_cast<int>(AmountOf(json, "percent", false).value_or(0));
  }
  return event;
}

}  // namespace mete::server
