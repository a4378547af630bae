#include "store/rows.h"

#include <charconv>
#include <limits>
#include <optional>

namespace mete::store {
namespace {

// A limit that is unlimited by choice, not for want of a word about it. No quantity reads so.
constexpr std::string_view kUnlimitedText = "unlimited";

// The letters of `policies`, in the order of the enumerations.
constexpr std::string_view kModes = "hsw";     // hard, soft_then_hard, warn_only
constexpr std::string_view kActions = "wtsk";  // warn, throttle, suspend, terminate (kill)
constexpr std::size_t kPolicyText = 3 * kResourceCount - 1;

std::array<char, kPolicyText> TextOfPolicies(const PolicySet& policies) {
  std::array<char, kPolicyText> text;
  text.fill(' ');
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    text[3 * i] = kModes[static_cast<std::size_t>(policies[i].mode)];
    text[3 * i + 1] = kActions[static_cast<std::size_t>(policies[i].action)];
  }
  return text;
}

std::optional<PolicySet> FindPolicies(std::string_view text) {
  if (text.size() != kPolicyText) return std::nullopt;
  PolicySet policies;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const std::size_t mode = kModes.find(text[3 * i]), action = kActions.find(text[3 * i + 1]);
    if (mode == std::string_view::npos || action == std::string_view::npos) return std::nullopt;
    policies[i] = {static_cast<EnforcementMode>(mode), static_cast<QuotaAction>(action)};
  }
  return policies;
}

// "tokens=1500 cost=0"; "" for none.
std::string TextOfAmounts(const Amounts& amounts) {
  std::string text;
  ForEachResource(amounts.named(), [&](Resource resource) {
    if (!text.empty()) text += ' ';
    text += std::string(NameOf(resource)) + "=" + std::to_string(amounts.Get(resource));
  });
  return text;
}

bool TakeNumber(std::string_view text, std::int64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

// Calls `take(name, number)` for each pair; false if it is no such text.
template <class Take>
bool ForEachPair(std::string_view text, Take&& take) {
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
    const std::size_t middle = pair.find('=');
    std::int64_t number = 0;
    if (middle == std::string_view::npos || !TakeNumber(pair.substr(middle + 1), number) ||
        !take(pair.substr(0, middle), number)) {
      return false;
    }
  }
  return true;
}

std::optional<Amounts> FindAmounts(std::string_view text) {
  Amounts amounts;
  const bool good = ForEachPair(text, [&](std::string_view name, std::int64_t number) {
    for (std::size_t i = 0; i < kResourceCount; ++i) {
      const auto resource = static_cast<Resource>(i);
      if (NameOf(resource) != name) continue;
      amounts.Set(resource, number);
      return true;
    }
    return false;
  });
  return good ? std::optional(amounts) : std::nullopt;
}

struct UsageField {
  std::string_view name;
  std::int64_t ResourceUsage::* field;
};
constexpr UsageField kUsageFields[] = {
    {"cpu_ns", &ResourceUsage::cpu_ns},
    {"memory_bytes", &ResourceUsage::memory_bytes},
    {"memory_peak_bytes", &ResourceUsage::memory_peak_bytes},
    {"gpu_memory_bytes", &ResourceUsage::gpu_memory_bytes},
    {"gpu_memory_peak_bytes", &ResourceUsage::gpu_memory_peak_bytes},
    {"tokens", &ResourceUsage::tokens_consumed},
    {"requests", &ResourceUsage::requests},
    {"cost_nano", &ResourceUsage::cost_nano},
};

// As amounts are; what is 0 is left out.
std::string TextOfUsage(const ResourceUsage& usage) {
  std::string text;
  for (const UsageField& field : kUsageFields) {
    if (usage.*field.field == 0) continue;
    if (!text.empty()) text += ' ';
    text += std::string(field.name) + "=" + std::to_string(usage.*field.field);
  }
  return text;
}

bool FindUsage(std::string_view text, ResourceUsage& usage) {
  usage = {};
  return ForEachPair(text, [&](std::string_view name, std::int64_t number) {
    for (const UsageField& field : kUsageFields) {
      if (field.name != name) continue;
      usage.*field.field = number;
      return true;
    }
    return false;
  });
}

std::optional<EventKind> FindEventKind(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(EventKind::kStoreRecovered); ++i) {
    if (NameOf(static_cast<EventKind>(i)) == name) return static_cast<EventKind>(i);
  }
  return std::nullopt;
}

void ReadTarget(RowReader& row, TargetName& target) {
  if (const auto scope = FindScope(row.Text())) {
    target.scope = *scope;
  } else {
    row.Refuse();
  }
  target.id = row.Text();
}

void ReadAmounts(RowReader& row, Amounts& amounts) {
  if (const auto found = FindAmounts(row.Text())) {
    amounts = *found;
  } else {
    row.Refuse();
  }
}

AccountSlot ReadSlot(RowReader& row) {
  const std::int64_t slot = row.Int();
  if (slot < 0 || slot > std::numeric_limits<AccountSlot>::max()) row.Refuse();
  return static_cast<AccountSlot>(slot);
}

bool ReadBool(RowReader& row) { return row.Int() != 0; }
Time ReadTime(RowReader& row) { return Time(Duration(row.Int())); }
WallTime ReadWallTime(RowReader& row) { return WallTime(Duration(row.Int())); }

void WriteLimit(RowWriter& row, const std::optional<Limit>& limit) {
  if (!limit) {
    row.Null();
  } else if (!limit->text.empty()) {
    row.Text(limit->text);
  } else if (limit->amount == kUnlimited) {
    row.Text(kUnlimitedText);
  } else {
    row.Int(limit->amount);
  }
}

void ReadLimit(RowReader& row, LimitKind kind, TextCache& texts, std::optional<Limit>& limit) {
  if (row.IsNull()) {
    row.Null();
    limit.reset();
    return;
  }
  if (!limit) limit.emplace();
  limit->amount = kUnlimited;
  limit->text.clear();
  if (row.IsInt()) {
    limit->amount = row.Int();
    return;
  }
  const std::string_view text = row.Text();
  if (text == kUnlimitedText) return;
  if (const std::int64_t* amount = texts.AmountOf(kind, text)) {
    limit->amount = *amount;
    limit->text = text;
  } else {
    row.Refuse();
  }
}

}  // namespace

std::size_t TextCache::Hash::operator()(std::string_view text) const noexcept {
  RowHash hash(0);
  hash.Text(text);
  return hash.value();
}

const std::int64_t* TextCache::AmountOf(LimitKind kind, std::string_view text) {
  Map<std::int64_t>& known = amounts_[static_cast<std::size_t>(kind)];
  if (const auto found = known.find(text); found != known.end()) return &found->second;
  const Result<Limit> limit = ParseLimit(kind, text);
  return limit ? &known.emplace(text, limit->amount).first->second : nullptr;
}

const PolicySet* TextCache::PoliciesOf(std::string_view text) {
  if (const auto found = policies_.find(text); found != policies_.end()) return &found->second;
  const auto policies = FindPolicies(text);
  return policies ? &policies_.emplace(text, *policies).first->second : nullptr;
}

std::uint64_t WriteQuota(RowWriter& row, const StoredQuota& quota) {
  row.Int(quota.slot);
  if (quota.parent)
    row.Int(*quota.parent);
  else
    row.Null();
  row.Text(NameOf(quota.target.scope));
  row.Text(quota.target.id);
  for (const auto& limit : quota.limits.entries) WriteLimit(row, limit);
  const auto policies = TextOfPolicies(quota.policies);
  row.Text({policies.data(), policies.size()});
  row.Int(quota.window.count());
  return row.Write();
}

bool ReadQuota(RowReader& row, TextCache& texts, StoredQuota& quota) {
  quota.slot = ReadSlot(row);
  quota.parent.reset();
  if (row.IsNull())
    row.Null();
  else
    quota.parent = ReadSlot(row);
  ReadTarget(row, quota.target);
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    ReadLimit(row, static_cast<LimitKind>(i), texts, quota.limits.entries[i]);
  }
  if (const PolicySet* policies = texts.PoliciesOf(row.Text()))
    quota.policies = *policies;
  else
    row.Refuse();
  quota.window = Duration(row.Int());
  return row.IsAsWritten();
}

std::uint64_t WriteHold(RowWriter& row, const StoredHold& hold) {
  const std::string reserved = TextOfAmounts(hold.reserved), used = TextOfAmounts(hold.used),
                    above = TextOfAmounts(hold.above_hold);
  row.Number(hold.id);
  row.Int(hold.account);
  row.Text(reserved);
  if (hold.ends)
    row.Int(hold.ends->time_since_epoch().count());
  else
    row.Null();
  row.Int(hold.is_detached ? 1 : 0);
  row.Int(hold.is_settled ? 1 : 0);
  row.Text(used);
  row.Text(above);
  return row.Write();
}

bool ReadHold(RowReader& row, StoredHold& hold) {
  hold.id = row.Number();
  hold.account = ReadSlot(row);
  ReadAmounts(row, hold.reserved);
  hold.ends.reset();
  if (row.IsNull())
    row.Null();
  else
    hold.ends = ReadTime(row);
  hold.is_detached = ReadBool(row);
  hold.is_settled = ReadBool(row);
  ReadAmounts(row, hold.used);
  ReadAmounts(row, hold.above_hold);
  return row.IsAsWritten();
}

std::uint64_t WriteKey(RowWriter& row, const StoredKey& key) {
  row.Int(key.account);
  row.Text(key.key);
  row.Number(key.content);
  row.Number(key.hold);
  row.Int(key.time.time_since_epoch().count());
  return row.Write();
}

bool ReadKey(RowReader& row, StoredKey& key) {
  key.account = ReadSlot(row);
  key.key = row.Text();
  key.content = row.Number();
  key.hold = row.Number();
  key.time = ReadTime(row);
  return row.IsAsWritten();
}

std::uint64_t WriteEvent(RowWriter& row, const Event& event) {
  const std::string usage = TextOfUsage(event.usage);
  row.Number(event.sequence);
  row.Text(NameOf(event.kind));
  row.Int(event.time.time_since_epoch().count());
  row.Int(event.wall_time.time_since_epoch().count());
  row.Text(NameOf(event.target.scope));
  row.Text(event.target.id);
  row.Text(NameOf(event.account.scope));
  row.Text(event.account.id);
  if (event.limit)
    row.Text(InfoOf(*event.limit).name);
  else
    row.Null();
  row.Int(event.percent);
  row.Int(event.used);
  row.Int(event.amount);
  row.Int(event.windows);
  row.Text(event.detail);
  row.Text(usage);
  return row.Write();
}

bool ReadEvent(RowReader& row, Event& event) {
  event.sequence = row.Number();
  if (const auto kind = FindEventKind(row.Text()))
    event.kind = *kind;
  else
    row.Refuse();
  event.time = ReadTime(row);
  event.wall_time = ReadWallTime(row);
  ReadTarget(row, event.target);
  ReadTarget(row, event.account);
  event.limit.reset();
  if (row.IsNull())
    row.Null();
  else if (event.limit = FindLimit(row.Text()); !event.limit)
    row.Refuse();
  event.percent = static_cast<int>(row.Int());
  event.used = row.Int();
  event.amount = row.Int();
  event.windows = row.Int();
  event.detail = row.Text();
  if (!FindUsage(row.Text(), event.usage)) row.Refuse();
  return row.IsAsWritten();
}

std::uint64_t WriteMark(RowWriter& row, const MarkRow& mark) {
  row.Int(1);
  row.Number(mark.mark.batch);
  row.Int(mark.mark.time.time_since_epoch().count());
  row.Int(mark.mark.wall_time.time_since_epoch().count());
  row.Text(mark.mark.boot_id);
  row.Number(mark.mark.last_event);
  row.Number(mark.mark.last_hold);
  for (const TableTotal& total : {mark.quotas, mark.usage, mark.holds, mark.keys}) {
    row.Int(total.rows);
    row.Number(total.sum);
  }
  row.Int(mark.events.rows);
  row.Number(mark.events.before);
  row.Number(mark.events.last);
  row.Int(mark.is_copy ? 1 : 0);
  return row.Write();
}

bool ReadMark(RowReader& row, MarkRow& mark) {
  if (row.Int() != 1) row.Refuse();
  mark.mark.batch = row.Number();
  mark.mark.time = ReadTime(row);
  mark.mark.wall_time = ReadWallTime(row);
  mark.mark.boot_id = row.Text();
  mark.mark.last_event = row.Number();
  mark.mark.last_hold = row.Number();
  for (TableTotal* total : {&mark.quotas, &mark.usage, &mark.holds, &mark.keys}) {
    total->rows = row.Int();
    total->sum = row.Number();
  }
  mark.events.rows = row.Int();
  mark.events.before = row.Number();
  mark.events.last = row.Number();
  mark.is_copy = ReadBool(row);
  mark.sum = row.sum();
  return row.IsAsWritten();
}

}  // namespace mete::store
