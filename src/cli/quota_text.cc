#include "cli/quota_text.h"

#include <algorithm>

#include "cli/remote.h"
#include "cli/table.h"
#include "mete/quota.h"
#include "mete/units.h"

namespace mete::cli {
namespace {

using wire::Json;
using wire::JsonObject;

bool IsTrue(const Json& json, std::string_view name) {
  const Json* member = json.Find(name);
  return member != nullptr && member->AsBool() != nullptr && *member->AsBool();
}

std::vector<Json> Elements(const Json& json, std::string_view name) {
  const Json* member = json.Find(name);
  if (member == nullptr || member->AsArray() == nullptr) return {};
  return *member->AsArray();
}

JsonObject Members(const Json& json, std::string_view name) {
  const Json* member = json.Find(name);
  if (member == nullptr || member->AsObject() == nullptr) return {};
  return *member->AsObject();
}

// To the millisecond: the rest is noise to a reader.
std::string SecondsText(const std::string& text) {
  const std::size_t point = text.find('.');
  return (point == text.npos ? text : text.substr(0, point + 4)) + " s";
}

// With its unit, where that is not plain: of `cpu` cores are allowed, and seconds used.
std::string AllowedText(std::string_view limit, const std::string& text) {
  const std::optional<LimitKind> kind = FindLimit(limit);
  if (kind == LimitKind::kCpu) return text + (text == "1" ? " core" : " cores");
  return kind == LimitKind::kCpuSecondsPerHour ? text + " s" : text;
}

// A number of the window of that limit: bytes and seconds for people, else as it came; "-" for
// none, which is what no limit has.
std::string AmountText(const Json& window, std::string_view limit, std::string_view name) {
  std::string text = TextOf(window, name);
  if (text.empty()) return "-";
  if (name == "amount" && FindLimit(limit) == LimitKind::kCpu) return AllowedText(limit, text);
  const std::optional<LimitKind> kind = FindLimit(limit);
  if (kind && InfoOf(*kind).resource == Resource::kCpu) return SecondsText(text);
  const bool bytes = kind == LimitKind::kMemory || kind == LimitKind::kGpuMemory;
  if (!bytes) return text;
  Result<std::int64_t> amount = wire::JsonInt(*window.Find(name), name);
  return amount ? FormatBytes(*amount) : text;
}

std::string SecondsText(const Json& usage, std::string_view name) {
  return SecondsText(TextOf(usage, name));
}

std::string MebiText(const Json& usage, std::string_view name) {
  const Json* member = usage.Find(name);
  if (member == nullptr) return "-";
  Result<std::int64_t> nano = wire::JsonNano(*member, name);
  if (!nano) return TextOf(usage, name) + " MiB";
  constexpr std::int64_t kNano = 1'000'000'000;
  constexpr std::int64_t kMebi = 1 << 20;
  return FormatBytes(*nano / kNano * kMebi + *nano % kNano * kMebi / kNano);
}

std::string CausesText(const Json& quota) {
  std::string text;
  for (const Json& cause : Elements(quota, "causes")) {
    if (const std::string* name = cause.AsString()) {
      text.append(text.empty() ? "" : ", ").append(*name);
    }
  }
  return text;
}

std::string StateText(const Json& quota) {
  std::string text = TextOf(quota, "state");
  if (IsTrue(quota, "is_throttled")) text += ", throttled";
  const std::string causes = CausesText(quota);
  return causes.empty() ? text : text + " (" + causes + ")";
}

// What stands against a limit: the last columns of its row.
void FillRow(const Json& window, std::string_view limit, std::vector<std::string>& row) {
  row[2] = AmountText(window, limit, "used");
  row[3] = AmountText(window, limit, "remaining");
  if (std::string at = TextOf(window, "reset_at"); !at.empty()) row[4] = std::move(at);
}

// As --on-memory and the like take it.
std::string PolicyText(const Json& quota) {
  std::string text;
  for (const auto& [resource, policy] : Members(quota, "policy")) {
    const std::string mode = TextOf(policy, "mode"), action = TextOf(policy, "action");
    text.append(text.empty() ? "" : ", ").append(resource).append(" ");
    text += mode == "warn_only" ? "warn" : action;
    if (mode == "soft_then_hard" && action != "warn") text += ":" + mode;
  }
  return text;
}

std::string UsageText(const Json& usage) {
  const std::string now = TextOf(usage, "memory_mb").empty() ? "-" : MebiText(usage, "memory_mb");
  return "CPU " + SecondsText(usage, "cpu_seconds") + ", memory " + now + " (peak " +
         MebiText(usage, "memory_peak_mb") + "), tokens " + TextOf(usage, "tokens_consumed") +
         ", requests " + TextOf(usage, "requests") + ", cost " + TextOf(usage, "cost") + "\n";
}

// What is over its limit now; a policy that warns first, or only, has not held the agent back.
std::string OverText(const Json& quota, const std::vector<Json>& windows) {
  std::string text;
  const std::vector<Json> causes = Elements(quota, "causes");
  for (const Json& window : windows) {
    if (!IsTrue(window, "violated")) continue;
    const std::string name = TextOf(window, "limit");
    const bool held = std::ranges::any_of(causes, [&](const Json& cause) {
      return cause.AsString() != nullptr && *cause.AsString() == name;
    });
    text += (text.empty() ? "\nover its limit now: " : "over its limit now: ") + name + ": " +
            AmountText(window, name, "used") + " of " + AmountText(window, name, "amount") +
            " used" + (held ? "\n" : "; not held back for it so far\n");
  }
  return text;
}

}  // namespace

std::string QuotaText(const Json& quota) {
  std::string text =
      TextOf(quota, "scope") + " " + TextOf(quota, "target_id") + ": " + StateText(quota) + "\n\n";
  std::vector<std::vector<std::string>> rows = {{"LIMIT", "ALLOWED", "USED", "LEFT", "RESETS"}};
  const std::vector<Json> windows = Elements(quota, "windows");
  for (const auto& [name, allowed] : Members(quota, "limits")) {
    const std::string* entered = allowed.AsString();
    std::vector<std::string> row = {name, entered == nullptr ? "-" : AllowedText(name, *entered),
                                    "-", "-", "-"};
    for (const Json& window : windows) {
      if (TextOf(window, "limit") == name) FillRow(window, name, row);
    }
    rows.push_back(std::move(row));
  }
  for (const Json& window : Elements(quota, "above")) {
    const std::string name = TextOf(window, "limit");
    std::vector<std::string> row = {name + " of " + TextOf(window, "account"),
                                    AllowedText(name, TextOf(window, "text")), "-", "-", "-"};
    FillRow(window, name, row);
    rows.push_back(std::move(row));
  }
  text += rows.size() > 1 ? FormatTable(rows) : "no limits\n";
  text += OverText(quota, windows);

  const Json* usage = quota.Find("usage");
  if (usage == nullptr) return text;
  text += "\nused: " + UsageText(*usage);
  if (const Json* lifetime = quota.Find("lifetime")) text += "lifetime: " + UsageText(*lifetime);
  if (const std::string policy = PolicyText(quota); !policy.empty()) {
    text += "at a limit: " + policy + "\n";
  }
  return text;
}

std::string QuotaListText(const std::vector<Json>& quotas) {
  std::vector<std::vector<std::string>> rows = {
      {"AGENT", "PID", "CPU", "MEMORY", "TOKENS", "STATE"}};
  for (const Json& quota : quotas) {
    const Json* usage = quota.Find("usage");
    const Json none;
    if (usage == nullptr) usage = &none;
    rows.push_back({TextOf(quota, "target_id"), TextOf(quota, "pid"),
                    SecondsText(*usage, "cpu_seconds"), MebiText(*usage, "memory_mb"),
                    TextOf(*usage, "tokens_consumed"), StateText(quota)});
  }
  return FormatTable(rows);
}

std::string AccountListText(const std::vector<Json>& quotas) {
  std::vector<std::vector<std::string>> rows = {
      {"ACCOUNT", "IN", "CPU", "MEMORY", "TOKENS", "STATE"}};
  for (const Json& quota : quotas) {
    const Json* usage = quota.Find("usage");
    const Json none;
    if (usage == nullptr) usage = &none;
    const std::string parent = TextOf(quota, "parent");
    rows.push_back({TextOf(quota, "scope") + "/" + TextOf(quota, "target_id"),
                    parent.empty() ? "-" : parent, SecondsText(*usage, "cpu_seconds"),
                    MebiText(*usage, "memory_mb"), TextOf(*usage, "tokens_consumed"),
                    StateText(quota)});
  }
  return FormatTable(rows);
}

std::string EventText(const Json& event) {
  if (const std::string missed = TextOf(event, "missed"); !missed.empty()) {
    return missed + " events are not kept any more\n";
  }
  const std::string time = TextOf(event, "time");
  std::string text = TextOf(event, "sequence") + " " + time.substr(0, time.find('.')) + "Z ";
  const std::string target = TextOf(event, "target");
  if (!target.empty()) text += target + " ";
  text += TextOf(event, "kind");
  const std::string limit = TextOf(event, "limit");
  if (!limit.empty()) {
    text += ": " + limit;
    if (TextOf(event, "account") != target) text += " of " + TextOf(event, "account");
    const std::string amount = AmountText(event, limit, "amount");
    text += ": " + AmountText(event, limit, "used") + " used";
    text += amount == "-" ? ", unlimited" : ", " + amount;
    if (std::string percent = TextOf(event, "percent"); !percent.empty()) {
      text += " (" + percent + " %)";
    }
  }
  if (std::string detail = TextOf(event, "detail"); !detail.empty()) text += ": " + detail;
  return text + "\n";
}

std::string ReceiptText(const Json& receipt) {
  std::string text = "recorded:";
  const char* separator = " ";
  for (const auto& [name, amount] : Members(receipt, "recorded")) {
    const wire::JsonNumber* number = amount.AsNumber();
    text.append(separator).append(name).append(" ").append(number ? number->text : "-");
    separator = ", ";
  }
  if (Members(receipt, "recorded").empty()) text += " nothing";
  if (IsTrue(receipt, "replayed")) text += " (by the first report with this key)";
  text += '\n';
  for (const Json& name : Elements(receipt, "not_charged")) {
    if (name.AsString() == nullptr) continue;
    text += "not counted: " + *name.AsString() + ", mete measures it itself\n";
  }
  for (const Json& window : Elements(receipt, "limits")) {
    const std::string name = TextOf(window, "limit");
    text += name + ": " + AmountText(window, name, "used") + " of " +
            AmountText(window, name, "amount") + " used, " + AmountText(window, name, "remaining") +
            " left";
    if (std::string at = TextOf(window, "reset_at"); !at.empty()) text += ", resets at " + at;
    text += '\n';
  }
  if (const Json* durable = receipt.Find("durable"); durable && !IsTrue(receipt, "durable")) {
    text += "counted, but not on disk: the store cannot be written\n";
  }
  if (IsTrue(receipt, "suspended")) text += "state: suspended\n";
  if (IsTrue(receipt, "throttled")) text += "state: throttled\n";
  if (std::string wait = TextOf(receipt, "retry_after_seconds"); !wait.empty()) {
    text += "the next request fits in " + wait + " s\n";
  }
  return text;
}

}  // namespace mete::cli
