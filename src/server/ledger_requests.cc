#include "server/ledger_requests.h"

#include <algorithm>
#include <charconv>

#include "agent/requests.h"
#include "agent/usage_fields.h"
#include "base/quote.h"
#include "wire/json.h"

namespace mete::server {
namespace {

using wire::Json;

std::unexpected<Error> Refuse(std::string message) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message));
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> Decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return Refuse("path: allowed after %: two hexadecimal digits, given: " +
                    Quoted(text.substr(i, 3)));
    }
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

Result<bool> ReadBool(std::string_view field, const Json& value) {
  if (const bool* given = value.AsBool()) return *given;
  return Refuse(std::string(field) + ": allowed: true or false");
}

Result<std::string> ReadText(std::string_view field, const Json& value) {
  if (const std::string* given = value.AsString()) return *given;
  return Refuse(std::string(field) + ": allowed: a text");
}

Result<Policy> ReadPolicy(const std::string& field, const Json& value, Policy policy) {
  if (value.AsObject() == nullptr) {
    return Refuse(field + ": allowed: {\"mode\": MODE, \"action\": ACTION}, either may be missing");
  }
  for (const auto& [name, word] : *value.AsObject()) {
    const std::string text = word.AsString() ? *word.AsString() : "";
    if (name == "mode") {
      const auto mode = FindMode(text);
      if (!mode) {
        return Refuse(field +
                      ".mode: allowed: hard, soft_then_hard, warn_only, given: " + Quoted(text));
      }
      policy.mode = *mode;
    } else if (name == "action") {
      const auto action = FindAction(text);
      if (!action) {
        return Refuse(
            field + ".action: allowed: warn, throttle, suspend, terminate, given: " + Quoted(text));
      }
      policy.action = *action;
    } else {
      return Refuse(field + ": unknown field, allowed: mode, action, given: " + Quoted(name));
    }
  }
  return policy;
}

Result<void> ReadPolicies(const Json& value, const PolicySet& configured, QuotaOptions* options) {
  if (value.AsObject() == nullptr) {
    return Refuse("policy: allowed: {RESOURCE: {\"mode\", \"action\"}}");
  }
  for (const auto& [name, given] : *value.AsObject()) {
    std::size_t resource = 0;
    while (resource < kResourceCount && NameOf(static_cast<Resource>(resource)) != name) ++resource;
    if (resource == kResourceCount) {
      return Refuse(
          "policy: unknown resource, allowed: cpu, memory, gpu_memory, tokens, requests, cost, "
          "given: " +
          Quoted(name));
    }
    Result<Policy> policy = ReadPolicy("policy." + name, given, configured[resource]);
    if (!policy) return std::unexpected(policy.error());
    options->policies[resource] = *policy;
  }
  return {};
}

Result<void> ReadCreateField(const std::string& name, const Json& value,
                             const PolicySet& configured, CreateMessage* message) {
  const auto put = [](auto result, auto* place) -> Result<void> {
    if (!result) return std::unexpected(result.error());
    *place = *std::move(result);
    return {};
  };
  if (name == "scope") {
    const std::string text = value.AsString() ? *value.AsString() : "";
    const auto scope = FindScope(text);
    if (!scope) return Refuse("scope: allowed: agent, session, tenant, given: " + Quoted(text));
    message->target.scope = *scope;
    return {};
  }
  if (name == "target_id") return put(ReadText(name, value), &message->target.id);
  if (name == "limits") return put(agent::LimitsOf(value), &message->limits);
  if (name == "policy") return ReadPolicies(value, configured, &message->options);
  if (name == "exist_ok") return put(ReadBool(name, value), &message->options.exist_ok);
  if (name == "parent") {
    if (value.IsNull()) return {};
    const std::string text = value.AsString() ? *value.AsString() : "";
    return put(ParseTarget("parent", text), &message->options.parent);
  }
  if (name == "window_seconds") {
    Result<std::int64_t> nano = wire::JsonNano(value, name);
    if (!nano) return std::unexpected(nano.error());
    message->options.window = Duration(*nano);
    return {};
  }
  return Refuse(
      "unknown field, allowed: scope, target_id, parent, limits, policy, window_seconds, exist_ok, "
      "given: " +
      Quoted(name));
}

}  // namespace

std::optional<std::string_view> RequestPath::Query(std::string_view name) const {
  const auto found = std::ranges::find(query, name, &std::pair<std::string, std::string>::first);
  if (found == query.end()) return std::nullopt;
  return found->second;
}

Result<void> RequestPath::AllowOnly(std::initializer_list<std::string_view> names) const {
  for (const auto& [name, value] : query) {
    if (std::ranges::find(names, name) != names.end()) continue;
    std::string allowed;
    for (const std::string_view known : names) {
      allowed.append(allowed.empty() ? "" : ", ").append(known);
    }
    return Refuse("unknown parameter, allowed: " + (allowed.empty() ? "none" : allowed) +
                  ", given: " + Quoted(name));
  }
  return {};
}

Result<RequestPath> ReadPath(std::string_view target) {
  RequestPath path;
  const std::size_t mark = std::min(target.find('?'), target.size());
  std::string_view query = target.substr(std::min(mark + 1, target.size()));
  target = target.substr(0, mark);
  while (!target.empty()) {
    target.remove_prefix(1);  // the slash
    const std::size_t end = std::min(target.find('/'), target.size());
    Result<std::string> part = Decoded(target.substr(0, end));
    if (!part) return std::unexpected(part.error());
    path.parts.push_back(*std::move(part));
    target.remove_prefix(end);
  }
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    Result<std::string> name = Decoded(pair.substr(0, equals));
    Result<std::string> value = Decoded(pair.substr(std::min(equals + 1, pair.size())));
    if (!name) return std::unexpected(name.error());
    if (!value) return std::unexpected(value.error());
    if (path.Query(*name)) return Refuse("parameter given twice: " + Quoted(*name));
    path.query.emplace_back(*std::move(name), *std::move(value));
  }
  return path;
}

std::string PercentEncoded(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      encoded += c;
      continue;
    }
    constexpr std::string_view kHex = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return encoded;
}

Result<TargetName> ParseTarget(std::string_view field, std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto scope = FindScope(text.substr(0, slash));
  if (slash == text.npos || !scope || slash + 1 == text.size()) {
    return Refuse(std::string(field) +
                  ": allowed: SCOPE/ID, such as session/s1, given: " + Quoted(text));
  }
  return TargetName{*scope, std::string(text.substr(slash + 1))};
}

Result<CreateMessage> ReadCreate(std::string_view body, const PolicySet& configured) {
  Result<Json> json = agent::ReadObject(body);
  if (!json) return std::unexpected(json.error());
  CreateMessage message;
  for (const auto& [name, value] : *json->AsObject()) {
    if (Result<void> ok = ReadCreateField(name, value, configured, &message); !ok) {
      return std::unexpected(ok.error());
    }
  }
  for (const char* needed : {"scope", "target_id"}) {
    if (json->Find(needed) == nullptr) return Refuse(std::string(needed) + ": missing");
  }
  return message;
}

Result<ResourceManager::Running> ReadAttach(std::string_view body) {
  ResourceManager::Running running;
  if (body.empty()) return running;
  Result<Json> json = agent::ReadObject(body);
  if (!json) return std::unexpected(json.error());
  for (const auto& [name, value] : *json->AsObject()) {
    if (name == "cpu_held") {
      Result<bool> held = ReadBool(name, value);
      if (!held) return std::unexpected(held.error());
      running.cpu_held = *held;
    } else if (name == "measured" && value.AsArray() != nullptr) {
      for (const Json& element : *value.AsArray()) {
        const std::string text = element.AsString() ? *element.AsString() : "";
        const auto* field = std::ranges::find(agent::kUsageFields, text, &agent::UsageField::name);
        if (field == agent::kUsageFields.end()) {
          return Refuse("measured: allowed: names of amounts like cpu_seconds, given: " +
                        Quoted(text));
        }
        running.measured.Insert(field->resource);
      }
    } else {
      return Refuse("allowed: {\"measured\": [NAME, ..], \"cpu_held\": BOOL}, given: " +
                    Quoted(name));
    }
  }
  return running;
}

Result<std::uint64_t> ParseNumber(std::string_view field, std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return Refuse(std::string(field) + ": allowed: a whole number, given: " + Quoted(text));
  }
  return number;
}

Result<EventsQuery> ReadEventsQuery(const RequestPath& path, std::string_view last_event_id) {
  if (Result<void> ok = path.AllowOnly({"after", "follow", "most", "target"}); !ok) {
    return std::unexpected(ok.error());
  }
  EventsQuery query;
  if (const auto follow = path.Query("follow")) {
    if (*follow != "true" && *follow != "false" && !follow->empty()) {
      return Refuse("follow: allowed: true or false, given: " + Quoted(*follow));
    }
    query.follow = *follow != "false";
  }
  // What a client that was cut off has seen leads over where it once began.
  const std::string_view after =
      last_event_id.empty() ? path.Query("after").value_or("") : last_event_id;
  if (!after.empty() || path.Query("after")) {
    Result<std::uint64_t> number =
        ParseNumber(last_event_id.empty() ? "after" : "Last-Event-ID", after);
    if (!number) return std::unexpected(number.error());
    query.after = *number;
  }
  if (const auto most = path.Query("most")) {
    Result<std::uint64_t> number = ParseNumber("most", *most);
    if (!number) return std::unexpected(number.error());
    if (*number < 1 || *number > EventsQuery::kMost) {
      return Refuse("most: allowed: 1 to 500, given: " + Quoted(*most));
    }
    query.most = *number;
  }
  if (const auto target = path.Query("target")) {
    Result<TargetName> name = ParseTarget("target", *target);
    if (!name) return std::unexpected(name.error());
    query.target = *std::move(name);
  }
  return query;
}

Result<ListQuery> ReadListQuery(const RequestPath& path) {
  if (Result<void> ok = path.AllowOnly({"scope", "offset"}); !ok) {
    return std::unexpected(ok.error());
  }
  ListQuery query;
  if (const auto text = path.Query("scope")) {
    query.scope = FindScope(*text);
    if (!query.scope) {
      return Refuse("scope: allowed: agent, session, tenant, given: " + Quoted(*text));
    }
  }
  if (const auto text = path.Query("offset")) {
    Result<std::uint64_t> number = ParseNumber("offset", *text);
    if (!number) return std::unexpected(number.error());
    query.offset = *number;
  }
  return query;
}

}  // namespace mete::server
