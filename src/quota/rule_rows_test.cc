#include "quota/rule_rows_test.h"

#include <gtest/gtest.h>

#include <algorithm>
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

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs PairsOf(const std::string& text) {
  Pairs pairs;
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

Unit UnitOf(Resource resource) {
  return resource == Resource::kCpu || resource == Resource::kCost ? Unit::kNano : Unit::kWhole;
}

std::string Show(Unit unit, std::int64_t amount) {
  if (amount == kUnlimited) return "none";
  return unit == Unit::kNano ? FormatNanoDecimal(amount) : std::to_string(amount);
}

void Append(std::string& text, const std::string& more, const char* separator) {
  if (more.empty()) return;
  text += (text.empty() ? "" : separator) + more;
}

std::string Short(const TargetName& target) {
  return target.scope == QuotaScope::kAgent ? target.id : target.ToString();
}

std::string NameOf(const std::optional<LimitKind>& limit) {
  return limit ? std::string(InfoOf(*limit).name) : "operator";
}

// Takes "word" or "word=value" out of the text; the value, or nothing.
std::optional<std::string> TakeWord(std::string& text, const std::string& word) {
  std::istringstream words(text);
  std::string rest;
  std::optional<std::string> found;
  for (std::string one; words >> one;) {
    if (one == word) {
      found = "";
    } else if (one.starts_with(word + "=")) {
      found = one.substr(word.size() + 1);
    } else {
      Append(rest, one, " ");
    }
  }
  text = rest;
  return found;
}

ResourceManager::Running RunningOf(std::string text) {
  ResourceManager::Running running;
  running.cpu_held = TakeWord(text, "cpu_held").has_value();
  std::istringstream names(TakeWord(text, "measured").value_or(""));
  for (std::string name; std::getline(names, name, ',');) running.measured.Insert(ResourceOf(name));
  return running;
}

// The message up to its first colon or semicolon.
std::string Opening(const Error& error) {
  return std::string(ErrorCodeName(error.code)) + " " +
         error.message.substr(0, error.message.find_first_of(":;"));
}

}  // namespace

World::World(ManagerConfig config)
    : clock_(Time(std::chrono::hours(1000))),  // not zero: a time is no span
      began_(clock_.Now()),
      manager_(Must(ResourceManager::Create(std::move(config), clock_))),
      events_(manager_->Events()) {}

void World::Play(const std::vector<Row>& rows) {
  int number = 0;
  for (const Row& row : rows) {
    SCOPED_TRACE("row " + std::to_string(++number) + ": " + row.at + " " + row.operation);
    MoveTo(Must(ParseDuration(row.at)));
    TargetName target;
    EXPECT_EQ(Operate(row.operation, target), row.answer);
    EXPECT_EQ(TakeEvents(), row.events);
    EXPECT_EQ(CausesOf(target), row.causes);
  }
}

ResourceQuota World::Quota(Target target) const { return Must(manager_->GetQuota(target)); }

ResourceUsage World::Usage(Target target) const { return Must(manager_->GetUsage(target)); }

LimitUsage World::Line(Target target, LimitKind kind) const {
  for (const LimitUsage& line : Quota(target).windows) {
    if (line.kind == kind) return line;
  }
  throw std::invalid_argument(std::string(InfoOf(kind).name) + ": not set");
}

std::string World::TakeEvents() {
  const EventReader::Batch batch = events_.Take(100'000);
  EXPECT_EQ(batch.missed, 0u);
  for (const Event& event : batch.events) {
    EXPECT_EQ(event.sequence, ++last_sequence_);
    EXPECT_EQ(event.time, clock_.Now());
    EXPECT_EQ(event.wall_time, clock_.WallNow());
  }
  return TextOf(batch.events);
}

std::string World::Answer(const Error& error) const {
  EXPECT_EQ(error.message.find('\n'), std::string::npos);
  return Opening(error) +
         (error.retry_after > Duration(0) ? " retry " + FormatDuration(error.retry_after) : "");
}

// Each figure again, from the quotas on the path.
void World::ExpectFigures(const ResourceQuota& quota, const Receipt& receipt) const {
  const ResourceUsage& usage = quota.usage;
  const std::int64_t used[] = {usage.cpu_ns,          usage.memory_bytes, usage.gpu_memory_bytes,
                               usage.tokens_consumed, usage.requests,     usage.cost_nano};
  EXPECT_EQ(receipt.suspended, quota.suspended);
  EXPECT_EQ(receipt.throttled, quota.throttled);
  EXPECT_EQ(receipt.terminated, quota.terminated);
  ForEachResource(receipt.recorded, [&](Resource resource) {
    SCOPED_TRACE(std::string(NameOf(resource)));
    const auto i = static_cast<std::size_t>(resource);
    std::int64_t least = kUnlimited;
    std::vector<std::int64_t> limits;
    std::optional<TargetName> at = quota.target;
    while (at) {
      const ResourceQuota one = Quota(*at);
      for (const LimitUsage& line : one.windows) {
        if (InfoOf(line.kind).resource != resource) continue;
        if (line.kind == LimitKind::kCpu && cpu_held_.contains(at->ToString())) continue;
        if (line.remaining() < least) limits.clear(), least = line.remaining();
        if (line.remaining() == least) limits.push_back(line.effective);
      }
      at = one.parent;
    }
    if (limits.empty()) limits.push_back(kUnlimited);
    EXPECT_EQ(receipt.used[i], used[i]);
    EXPECT_EQ(receipt.remaining[i], least);
    EXPECT_NE(std::find(limits.begin(), limits.end(), receipt.limit[i]), limits.end());
  });
}

std::string World::Answer(Target target, const Receipt& receipt) const {
  std::string text;
  const ResourceQuota quota = Quota(target);
  for (const LimitUsage& line : quota.windows) {
    const LimitInfo& info = InfoOf(line.kind);
    if (!receipt.recorded.Has(info.resource)) continue;
    std::string one = std::string(info.name) + " " + Show(info.unit, line.used) + "/" +
                      Show(info.unit, line.effective);
    if (line.held > 0) one += " +" + Show(info.unit, line.held);
    Append(text, one, ", ");
  }
  ForEachResource(receipt.measured, [&](Resource resource) {
    Append(text, "measured " + std::string(NameOf(resource)), " ");
  });
  if (receipt.action_pending) Append(text, "pending", " ");
  return text;
}

std::string World::Answer(Target target, const Result<Receipt>& result) const {
  if (!result) return Answer(result.error());
  ExpectFigures(Quota(target), *result);
  std::string text = Answer(target, *result);
  if (result->retry_after > Duration(0)) {
    Append(text, "retry " + FormatDuration(result->retry_after), " ");
  }
  return text.empty() ? "ok" : text;
}

std::string World::Reserve(Target target, std::string rest) {
  ReserveOptions options;
  if (const auto ttl = TakeWord(rest, "ttl")) options.ttl = Must(ParseDuration(*ttl));
  Result<Reservation> made = manager_->Reserve(target, AmountsOf(rest), options);
  if (!made) return Answer(made.error());
  const HoldId id = made->Detach();
  EXPECT_EQ(id, holds_.size() + 1);
  holds_.push_back({{target.scope, std::string(target.id)}, std::nullopt});
  return "hold " + std::to_string(id);
}

std::string World::Settle(HoldId id, const std::string& rest) {
  const Result<Settlement> result = manager_->Settle(id, AmountsOf(rest));
  if (!result) return Answer(result.error());
  Hold& hold = holds_.at(id - 1);
  if (hold.answer) {
    EXPECT_EQ(result->used, hold.answer->used);
    EXPECT_EQ(result->above_hold, hold.answer->above_hold);
    EXPECT_EQ(result->receipt.used, hold.answer->receipt.used);
    EXPECT_EQ(result->receipt.remaining, hold.answer->receipt.remaining);
    return "again";
  }
  hold.answer = *result;
  ExpectFigures(Quota(hold.owner), result->receipt);
  EXPECT_EQ(result->receipt.recorded, result->used.named());
  std::string text = Answer(hold.owner, result->receipt);
  ForEachResource(result->above_hold.named(), [&](Resource resource) {
    Append(text,
           "above " + std::string(NameOf(resource)) + "=" +
               Show(UnitOf(resource), result->above_hold.Get(resource)),
           " ");
  });
  if (result->receipt.retry_after > Duration(0)) {
    Append(text, "retry " + FormatDuration(result->receipt.retry_after), " ");
  }
  return text.empty() ? "ok" : text;
}

std::string World::Create(Target target, std::string rest) {
  QuotaOptions options;
  if (const std::size_t under = rest.find("under "); under != std::string::npos) {
    const std::size_t end = rest.find(' ', rest.find(' ', under + 6) + 1);
    options.parent = TargetOf(rest.substr(under + 6, end - under - 6));
    rest = rest.substr(0, under) + (end == std::string::npos ? "" : rest.substr(end));
  }
  options.exist_ok = TakeWord(rest, "exist_ok").has_value();
  if (const auto window = TakeWord(rest, "window")) options.window = Must(ParseDuration(*window));
  return Answer(manager_->CreateQuota(target, LimitsOf(rest), options));
}

std::string World::Operate(const std::string& operation, TargetName& target) {
  const std::size_t colon = operation.find(": ");
  target = TargetOf(colon == std::string::npos ? "a" : operation.substr(0, colon));
  std::istringstream words(colon == std::string::npos ? operation : operation.substr(colon + 2));
  std::string verb, rest;
  words >> verb;
  HoldId hold = 0;
  if (verb == "settle" || verb == "release" || verb == "abandon") words >> hold;
  std::getline(words >> std::ws, rest);
  if (verb == "report") return Answer(target, manager_->ReportUsage(target, AmountsOf(rest)));
  if (verb == "sample") {
    return Answer(target, manager_->ReportUsage(target, AmountsOf(rest), Source::kSampled));
  }
  if (verb == "reserve") return Reserve(target, rest);
  if (verb == "settle") return Settle(hold, rest);
  if (verb == "release") return Answer(manager_->Release(hold));
  if (verb == "abandon") return manager_->Abandon(hold), "ok";
  if (verb == "create") return Create(target, rest);
  if (verb == "cleanup") return Answer(manager_->CleanupQuota(target));
  if (verb == "cascade") return Answer(manager_->CleanupQuota(target, true));
  if (verb == "set") return Answer(manager_->UpdateQuota(target, LimitsOf(rest)));
  if (verb == "reset") return Answer(manager_->ResetQuota(target));
  if (verb == "suspend") return Answer(manager_->Suspend(target));
  if (verb == "resume") return Answer(manager_->Resume(target));
  if (verb == "override") return Answer(manager_->Resume(target, true));
  if (verb == "terminate") return Answer(manager_->Terminate(target));
  if (verb == "clear_throttle") return Answer(manager_->ClearThrottle(target));
  if (verb == "attach") {
    const ResourceManager::Running running = RunningOf(rest);
    if (running.cpu_held) cpu_held_.insert(target.ToString());
    return Answer(manager_->Attach(target, running));
  }
  if (verb == "detach") {
    cpu_held_.erase(target.ToString());
    return Answer(manager_->Detach(target));
  }
  if (verb == "advance") return manager_->Advance(), "ok";
  throw std::invalid_argument(verb + ": no such operation");
}

// The flags of the quota are those of its causes.
std::string World::CausesOf(Target target) const {
  const Result<ResourceQuota> quota = manager_->GetQuota(target);
  if (!quota) return "";
  std::string suspend, throttle, terminate;
  for (const Cause& cause : quota->causes) {
    std::string one = NameOf(cause.limit);
    if (cause.account != quota->target) one += " of " + cause.account.ToString();
    Append(cause.action == QuotaAction::kSuspend    ? suspend
           : cause.action == QuotaAction::kThrottle ? throttle
                                                    : terminate,
           one, ", ");
  }
  EXPECT_EQ(quota->suspended, !suspend.empty());
  EXPECT_EQ(quota->throttled, !throttle.empty());
  EXPECT_EQ(quota->terminated, !terminate.empty());
  EXPECT_EQ(*manager_->IsThrottled(target), !throttle.empty());
  if (!throttle.empty()) Append(suspend, "throttle: " + throttle, "; ");
  if (!terminate.empty()) Append(suspend, "end: " + terminate, "; ");
  return suspend;
}

ManagerConfig Plain() {
  ManagerConfig config;
  config.default_limits = {};
  config.usage_report_interval = Duration(0);
  return config;
}

ManagerConfig With(EnforcementMode mode, QuotaAction action) {
  ManagerConfig config = Plain();
  config.policies.fill({mode, action});
  return config;
}

std::unique_ptr<World> Play(const ManagerConfig& config, const char* limits,
                            const std::vector<Row>& rows) {
  auto world = std::make_unique<World>(config);
  Must((*world)->CreateQuota("a", LimitsOf(limits)));
  world->TakeEvents();
  world->Play(rows);
  return world;
}

std::unique_ptr<World> Play(const ManagerConfig& config, const std::vector<Row>& rows) {
  auto world = std::make_unique<World>(config);
  world->Play(rows);
  return world;
}

Amounts AmountsOf(const std::string& text) {
  Amounts amounts;
  for (const auto& [name, value] : PairsOf(text)) {
    const Resource resource = ResourceOf(name);
    const Quantity quantity = Must(Quantity::Parse(value));
    amounts.Set(resource,
                UnitOf(resource) == Unit::kNano ? Must(quantity.Nano()) : quantity.Value());
  }
  return amounts;
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

TargetName TargetOf(const std::string& text) {
  const std::size_t space = text.find(' ');
  if (space == std::string::npos) return {QuotaScope::kAgent, text};
  const auto scope = FindScope(text.substr(0, space));
  if (!scope) throw std::invalid_argument(text + ": no such scope");
  return {*scope, text.substr(space + 1)};
}

std::string TextOf(const Event& event) {
  std::string text(NameOf(event.kind));
  if (event.kind == EventKind::kThreshold) text += " " + std::to_string(event.percent) + "%";
  if (event.limit) text += " " + NameOf(event.limit);
  const Unit unit = event.limit ? InfoOf(*event.limit).unit : Unit::kWhole;
  switch (event.kind) {
    case EventKind::kUpdated:
    case EventKind::kSettledAboveHold: text += " " + Show(unit, event.amount); break;
    case EventKind::kWindowRolled:
      text += " " + Show(unit, event.amount) + " x" + std::to_string(event.windows);
      break;
    default: break;
  }
  if (event.account != event.target) {
    text += std::string(event.limit ? "" : " operator") + " of " + event.account.ToString();
  }
  const TargetName a{QuotaScope::kAgent, "a"};
  return event.target == a ? text : Short(event.target) + ": " + text;
}

std::string TextOf(const std::vector<Event>& events) {
  std::string text;
  for (const Event& event : events) Append(text, TextOf(event), "; ");
  return text;
}

}  // namespace mete
