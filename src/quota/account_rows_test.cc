#include "quota/account_rows_test.h"

#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>
#include <utility>

namespace mete {
namespace {

// A table that cannot be read is a mistake in the test: it ends there.
template <class T>
T Must(Result<T> result) {
  if (!result) throw std::invalid_argument(result.error().ToString());
  return *std::move(result);
}

std::vector<std::pair<std::string, std::string>> PairsOf(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) throw std::invalid_argument(word + ": no '='");
    pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return pairs;
}

Resource ResourceOf(const std::string& name) {
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    if (NameOf(static_cast<Resource>(i)) == name) return static_cast<Resource>(i);
  }
  throw std::invalid_argument(name + ": no such resource");
}

bool InNano(Resource resource) { return resource == Resource::kCpu || resource == Resource::kCost; }

std::string Show(Unit unit, std::int64_t amount) {
  if (amount == kUnlimited) return "none";
  return unit == Unit::kNano ? FormatNanoDecimal(amount) : std::to_string(amount);
}

ResourceLimits LimitsOf(const std::string& text) {
  ResourceLimits limits;
  for (const auto& [name, value] : PairsOf(text)) {
    const auto kind = FindLimit(name);
    if (!kind) throw std::invalid_argument(name + ": no such limit");
    limits[*kind] = value == "none" ? Limit{} : Must(ParseLimit(*kind, value));
  }
  return limits;
}

void Append(std::string& text, const std::string& more, const char* separator) {
  if (more.empty()) return;
  text += (text.empty() ? "" : separator) + more;
}

std::string Answer(const Error& error) {
  return std::string(ErrorCodeName(error.code)) + " " +
         error.message.substr(0, error.message.find_first_of(" :;")) +
         (error.retry_after > Duration(0) ? " retry " + FormatDuration(error.retry_after) : "");
}

std::string Answer(const Receipt& receipt) {
  std::string text;
  for (const LimitUsage& usage : receipt.limits) {
    const LimitInfo& info = InfoOf(usage.kind);
    if (info.counting == Counting::kCores) continue;
    std::string one = std::string(info.name) + " " + Show(info.unit, usage.used) + "/" +
                      Show(info.unit, usage.limit.amount);
    if (usage.held > 0) one += " +" + Show(info.unit, usage.held);
    Append(text, one, ", ");
  }
  if (receipt.action_pending) Append(text, "pending", " ");
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (!receipt.above_hold[resource]) continue;
    Append(text,
           "above " + std::string(NameOf(resource)) + "=" +
               Show(InNano(resource) ? Unit::kNano : Unit::kWhole, *receipt.above_hold[resource]),
           " ");
  }
  if (receipt.retry_after > Duration(0)) {
    Append(text, "retry " + FormatDuration(receipt.retry_after), " ");
  }
  return text.empty() ? "ok" : text;
}

std::string Answer(const Result<Receipt>& result) {
  return result ? Answer(*result) : Answer(result.error());
}

std::string Answer(const Result<void>& result) { return result ? "ok" : Answer(result.error()); }

std::string CausesOf(const Account& account) {
  const Wants wants = account.wants();
  std::string causes;
  for (const Cause& cause : account.causes()) {
    Append(causes, cause ? std::string(InfoOf(*cause).name) : "operator", ", ");
  }
  EXPECT_EQ(wants.suspend || wants.throttle, !causes.empty());
  std::string text = (wants.throttle && !wants.suspend ? "throttle: " : "") + causes;
  if (wants.terminate) Append(text, "end: " + std::string(InfoOf(*wants.terminate).name), "; ");
  return text;
}

std::string Operate(Account& account, const std::string& operation, Time now) {
  std::istringstream words(operation);
  std::string verb, rest;
  words >> verb;
  Account::HoldId hold = 0;
  if (verb == "settle" || verb == "release") words >> hold;
  std::getline(words, rest);
  if (verb == "report") return Answer(account.Report(AmountsOf(rest), Source::kReported, now));
  if (verb == "sample") return Answer(account.Report(AmountsOf(rest), Source::kSampled, now));
  if (verb == "settle") return Answer(account.Settle(hold, AmountsOf(rest), now));
  if (verb == "release") return Answer(account.Release(hold, now));
  if (verb == "set") return Answer(account.SetLimits(LimitsOf(rest), now));
  if (verb == "resume") return Answer(account.Resume(false, now));
  if (verb == "override") return Answer(account.Resume(true, now));
  if (verb == "reserve") {
    const auto made = account.Reserve(AmountsOf(rest), now);
    return made ? "hold " + std::to_string(*made) : Answer(made.error());
  }
  if (verb == "reset") return account.Reset(now), "ok";
  if (verb == "suspend") return account.Suspend(now), "ok";
  if (verb == "advance") return account.Advance(now), "ok";
  throw std::invalid_argument(verb + ": no such operation");
}

}  // namespace

Amounts AmountsOf(const std::string& text) {
  Amounts amounts;
  for (const auto& [name, value] : PairsOf(text)) {
    const Resource resource = ResourceOf(name);
    const Quantity quantity = Must(Quantity::Parse(value));
    amounts[resource] = InNano(resource) ? Must(quantity.Nano()) : quantity.Value();
  }
  return amounts;
}

std::string TextOf(const Event& event) {
  std::string text(NameOf(event.kind));
  if (event.kind == EventKind::kThreshold) text += " " + std::to_string(event.percent) + "%";
  if (event.limit) text += " " + std::string(InfoOf(*event.limit).name);
  const Unit unit = event.limit ? InfoOf(*event.limit).unit : Unit::kWhole;
  switch (event.kind) {
    case EventKind::kUpdated:
    case EventKind::kSettledAboveHold: return text + " " + Show(unit, event.amount);
    case EventKind::kWindowRolled:
      return text + " " + Show(unit, event.amount) + " x" + std::to_string(event.windows);
    default: return text;
  }
}

std::string TextOf(const std::vector<Event>& events) {
  std::string text;
  for (const Event& event : events) Append(text, TextOf(event), "; ");
  return text;
}

PolicySet AllPolicies(EnforcementMode mode, QuotaAction action) {
  PolicySet policies;
  policies.fill({mode, action});
  return policies;
}

AccountConfig ConfigOf(const char* limits) {
  AccountConfig config;
  config.id = "a";
  config.limits = LimitsOf(limits);
  return config;
}

std::unique_ptr<Account> Play(AccountConfig config, const std::vector<Row>& rows) {
  // Not zero, so that a time is never mistaken for a span.
  const Time created{std::chrono::hours(1000)};
  auto account = std::make_unique<Account>(std::move(config), created);
  int number = 0;
  for (const Row& row : rows) {
    SCOPED_TRACE("row " + std::to_string(++number) + ": " + row.at + " " + row.operation);
    const Time now = created + Must(ParseDuration(row.at));
    EXPECT_EQ(Operate(*account, row.operation, now), row.answer);
    const std::vector<Event> events = account->TakeEvents();
    EXPECT_EQ(TextOf(events), row.events);
    for (const Event& event : events) EXPECT_EQ(event.time, now);
    EXPECT_EQ(CausesOf(*account), row.causes);
  }
  return account;
}

}  // namespace mete
