#include "agent/requests.h"

#include <algorithm>

#include "agent/usage_fields.h"
#include "wire/json.h"

namespace mete::agent {
namespace {

using wire::Json;

__extension__ using Int128 = __int128;

constexpr std::int64_t kNanoPerUnit = 1'000'000'000;

std::unexpected<Error> Refuse(std::string message) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message));
}

// Rounded away from zero, as limits are.
Result<std::int64_t> BytesOfMebi(std::int64_t nano, std::string_view field) {
  const Int128 bytes = (static_cast<Int128>(nano) * (1 << 20) + kNanoPerUnit - 1) / kNanoPerUnit;
  if (bytes >= kUnlimited) return Refuse(std::string(field) + ": too large");
  return static_cast<std::int64_t>(bytes);
}

Result<std::int64_t> ReadAmount(const UsageField& field, const Json& value) {
  Result<std::int64_t> amount = field.form == AmountForm::kWhole
                                    ? wire::JsonInt(value, field.name)
                                    : wire::JsonNano(value, field.name);
  if (!amount) return amount;
  if (*amount < 0) return Refuse(std::string(field.name) + ": negative, allowed: 0 and more");
  return field.form == AmountForm::kMebi ? BytesOfMebi(*amount, field.name) : amount;
}

}  // namespace

Result<Json> ReadObject(std::string_view body) {
  Result<Json> json = wire::ParseJson(body);
  if (json && json->AsObject() == nullptr) return Refuse("the body must be a JSON object");
  return json;
}

Result<UsageMessage> ReadUsage(std::string_view body, bool with_ttl, bool with_source) {
  Result<Json> json = ReadObject(body);
  if (!json) return std::unexpected(json.error());
  UsageMessage message;
  for (const auto& [name, value] : *json->AsObject()) {
    if (with_ttl && name == "ttl_seconds") {
      Result<std::int64_t> nano = wire::JsonNano(value, name);
      if (!nano) return std::unexpected(nano.error());
      if (*nano <= 0) return Refuse("ttl_seconds: allowed: more than 0");
      message.ttl = Duration(*nano);
      continue;
    }
    if (with_source && name == "source") {
      const std::string* source = value.AsString();
      if (source == nullptr || (*source != "sampled" && *source != "reported")) {
        return Refuse("source: allowed: \"reported\" or \"sampled\"");
      }
      message.source = *source == "sampled" ? Source::kSampled : Source::kReported;
      continue;
    }
    const auto* field = std::ranges::find(kUsageFields, name, &UsageField::name);
    if (field == kUsageFields.end()) {
      return Refuse(
          "unknown field, allowed: tokens, requests, cost, cpu_seconds, memory_mb, "
          "gpu_memory_mb, given: " +
          name);
    }
    Result<std::int64_t> amount = ReadAmount(*field, value);
    if (!amount) return std::unexpected(amount.error());
    message.amounts.Set(field->resource, *amount);
  }
  if (message.amounts.named().empty())
    return Refuse("names no amount, allowed: at least one, like {\"tokens\": 1500}");
  return message;
}

Result<ResourceLimits> LimitsOf(const Json& object) {
  if (object.AsObject() == nullptr) return Refuse("limits: allowed: {NAME: AMOUNT or null, ...}");
  ResourceLimits result;
  for (const auto& [name, value] : *object.AsObject()) {
    const std::optional<LimitKind> kind = FindLimit(name);
    if (!kind) return Refuse("limits: unknown, given: " + name);
    if (value.IsNull()) {
      result[*kind] = Limit{};
      continue;
    }
    const std::string* text = value.AsString();
    if (text == nullptr && value.AsNumber() != nullptr) text = &value.AsNumber()->text;
    if (text == nullptr) return Refuse(name + ": allowed: a quantity or null");
    Result<Limit> limit = ParseLimit(*kind, *text);
    if (!limit) return std::unexpected(limit.error());
    result[*kind] = *std::move(limit);
  }
  return result;
}

Result<ResourceLimits> ReadLimits(std::string_view body) {
  const auto failed = [](const Error& error) {
    return Fail(ErrorCode::kUpdateFailed, error.ToString());
  };
  Result<Json> json = ReadObject(body);
  if (!json) return failed(json.error());
  const Json* limits = json->Find("limits");
  if (limits == nullptr || limits->AsObject() == nullptr || json->AsObject()->size() != 1 ||
      limits->AsObject()->empty()) {
    return failed({ErrorCode::kInvalidArgument,
                   "allowed: {\"limits\": {NAME: AMOUNT or null, ...}} and nothing else"});
  }
  Result<ResourceLimits> result = LimitsOf(*limits);
  if (!result) return failed(result.error());
  return result;
}

Result<bool> ReadOverride(std::string_view body) {
  if (body.empty()) return false;
  Result<Json> json = ReadObject(body);
  if (!json) return std::unexpected(json.error());
  if (json->AsObject()->empty()) return false;
  const Json* wanted = json->Find("override");
  if (wanted == nullptr || wanted->AsBool() == nullptr || json->AsObject()->size() != 1) {
    return Refuse("allowed: {\"override\": true} or nothing");
  }
  return *wanted->AsBool();
}

}  // namespace mete::agent
