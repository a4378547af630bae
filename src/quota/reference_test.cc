#include "quota/reference_test.h"

#include <algorithm>

namespace mete::reference {

// Reaching accounts

Account* Model::Find(const TargetName& name) {
  const auto found = accounts_.find(Key(name));
  return found == accounts_.end() ? nullptr : found->second.get();
}

std::vector<Account*> Model::Path(Account& account) {
  std::vector<Account*> path;
  for (Account* at = &account; at != nullptr; at = at->parent) path.push_back(at);
  return path;
}

std::vector<Account*> Model::AgentsBelow(Account& account) {
  std::vector<Account*> agents;
  for (Account* child : account.children) {
    if (child->name.scope == QuotaScope::kAgent) agents.push_back(child);
    for (Account* agent : AgentsBelow(*child)) agents.push_back(agent);
  }
  return agents;
}

void Model::Tell(EventKind kind, Account& target, Account& account, const Line* line, Wide amount) {
  Happened event;
  event.kind = kind;
  event.target = &target.name;
  event.account = &account.name;
  if (line != nullptr) event.limit = line->kind, event.used = Used(account, line->kind);
  event.amount = amount;
  events_.push_back(event);
}

// What is used

Wide Model::Total(const Account& account, Resource resource) const {
  Wide total = Get(account.own, resource);
  for (const Account* child : account.children) total += Total(*child, resource);
  return total;
}

Wide Model::Used(const Account& account, LimitKind kind) {
  const Resource resource = ResourceOf(kind);
  if (kind == LimitKind::kRequestsPerMinute) {
    return account.rate ? (account.rate->content + kMinute - 1) / kMinute : 0;
  }
  if (IsMain(kind)) return Total(account, resource) - Get(account.main_base, resource);
  if (IsDaily(kind)) return Total(account, resource) - Get(account.day_base, resource);
  return Total(account, resource);
}

Wide Model::Held(const Account& account, Resource resource) const {
  if (resource == Resource::kRequests) return 0;
  Wide held = 0;
  for (const auto& [id, hold] : holds_) {
    for (const Account* at = hold.account; at != nullptr; at = at->parent) {
      if (at == &account) held += Get(hold.reserved, resource);
    }
  }
  return held;
}

Wide Model::Effective(const Account& account, const Line& line) const {
  if (line.kind != LimitKind::kCpu) return line.limit;
  return line.limit * account.window.count() / 1'000'000'000;
}

Time Model::EndOf(const Account& account, LimitKind kind) const {
  return IsDaily(kind) ? account.day_start + kDay : account.main_start + account.window;
}

ResourceUsage Model::Window(const Account& account) const {
  const auto used = [&](Resource r) {
    return static_cast<std::int64_t>(Total(account, r) - Get(account.main_base, r));
  };
  ResourceUsage usage = Lifetime(account);
  usage.cpu_ns = used(Resource::kCpu);
  usage.tokens_consumed = used(Resource::kTokens);
  usage.requests = used(Resource::kRequests);
  usage.cost_nano = used(Resource::kCost);
  usage.memory_peak_bytes = static_cast<std::int64_t>(Get(account.peak, Resource::kMemory));
  usage.gpu_memory_peak_bytes = static_cast<std::int64_t>(Get(account.peak, Resource::kGpuMemory));
  return usage;
}

ResourceUsage Model::Lifetime(const Account& account) const {
  const auto total = [&](Resource r) { return static_cast<std::int64_t>(Total(account, r)); };
  const auto peak = [&](Resource r) {
    return static_cast<std::int64_t>(std::max(Get(account.peak, r), Get(account.peak_before, r)));
  };
  ResourceUsage usage;
  usage.cpu_ns = total(Resource::kCpu);
  usage.memory_bytes = total(Resource::kMemory);
  usage.memory_peak_bytes = peak(Resource::kMemory);
  usage.gpu_memory_bytes = total(Resource::kGpuMemory);
  usage.gpu_memory_peak_bytes = peak(Resource::kGpuMemory);
  usage.tokens_consumed = total(Resource::kTokens);
  usage.requests = total(Resource::kRequests);
  usage.cost_nano = total(Resource::kCost);
  return usage;
}

// Time

void Model::Begin(Account& account) {
  for (Account* at : Path(account)) EndWindows(*at);
}

void Model::EndWindows(Account& account) {
  if (account.rate) {
    Bucket& rate = *account.rate;
    const Wide drained = std::min(rate.content, Wide((now_ - rate.looked).count()) * rate.limit);
    if (mistake_ != Mistake::kReportsDrainNothing) rate.content -= drained, rate.passed += drained;
    rate.looked = now_;
    Look(account, account.lines.at(LimitKind::kRequestsPerMinute), false, Duration(0));
  }
  std::int64_t mains = 0, days = 0;
  for (; now_ >= account.main_start + account.window; account.main_start += account.window) ++mains;
  for (; now_ >= account.day_start + kDay; account.day_start += kDay) ++days;
  if (mains > 0 && mistake_ == Mistake::kWindowLosesItsPhase) account.main_start = now_;
  std::map<LimitKind, Wide> ended;
  for (const auto& [kind, line] : account.lines) ended[kind] = Used(account, kind);
  for (const Resource r :
       {Resource::kCpu, Resource::kTokens, Resource::kRequests, Resource::kCost}) {
    if (mains > 0) account.main_base[r] = Total(account, r);
    if (days > 0) account.day_base[r] = Total(account, r);
  }
  for (const Resource r : kLevels) {
    if (mains == 0) break;
    account.peak_before[r] = std::max(account.peak_before[r], account.peak[r]);
    account.peak[r] = Total(account, r);
  }
  for (auto& [id, hold] : holds_) {
    if (mains == 0 || mistake_ != Mistake::kHoldsEndWithWindows) break;
    if (hold.account == &account) hold.reserved.erase(Resource::kTokens);
  }
  for (auto& [kind, line] : account.lines) {
    const std::int64_t windows = IsMain(kind) ? mains : IsDaily(kind) ? days : 0;
    if (windows == 0) continue;
    line.above.clear();
    line.warned = line.acted = line.lifted = false;
    if (IsCompared(account, line)) {
      Tell(EventKind::kWindowRolled, account, account, &line, ended[kind]);
      events_.back().windows = windows;
    }
    if (line.cause) EndCause(account, line);
  }
}

Duration Model::UntilContent(Account& account, Wide level) {
  const Bucket& rate = *account.rate;
  if (rate.content <= level * kMinute) return Duration(0);
  if (rate.limit == 0) return Duration::max();
  const Wide wait = (rate.content - level * kMinute + rate.limit - 1) / rate.limit;
  return Duration(static_cast<std::int64_t>(std::min(wait, kMax)));
}

std::optional<Time> Model::RateEnd(Account& account) {
  if (!account.rate || account.rate->limit == 0) return std::nullopt;
  if (account.rate->content <= account.rate->limit * kMinute) return std::nullopt;
  const Duration wait = UntilContent(account, account.rate->limit);
  const Time looked = account.rate->looked;
  if (wait >= (looked > Time{} ? Time::max() - looked : Duration::max())) return std::nullopt;
  return account.rate->looked + wait;
}

void Model::Restart(Duration longest_hold, const std::vector<TargetName>& order) {
  for (const auto& [name, account] : accounts_) account->children.clear();
  for (const TargetName& name : order) {
    Account* const account = Find(name);
    if (account->parent != nullptr) account->parent->children.push_back(account);
  }
  for (const auto& [name, account] : accounts_) {
    account->running = account->cpu_held = account->changed = false;
    account->in_flight = account->restarted = false;
    account->measured = {};
    account->is.clear();
    account->failures = 0;
    account->failed.reset();
  }
  for (auto& [id, hold] : holds_) {
    if (!hold.ends) hold.ends = now_ + longest_hold;
  }
  std::erase_if(settled_, [this](const auto& one) {
    return std::ranges::none_of(
        accounts_, [&](const auto& account) { return account.second.get() == one.second.account; });
  });
  for (auto& [id, answer] : settled_) answer.is_restored = true;
}

int Model::Due() {
  std::vector<Account*> due;
  for (const auto& [name, account] : accounts_) {
    const bool rolls =
        account->main_start + account->window <= now_ || account->day_start + kDay <= now_;
    const std::optional<Time> drained = RateEnd(*account);
    if (rolls || (drained && *drained <= now_)) due.push_back(account.get());
  }
  std::vector<HoldId> over;
  for (const auto& [id, hold] : holds_) {
    if (hold.ends && *hold.ends <= now_) over.push_back(id);
  }
  for (Account* account : due) Begin(*account);
  for (const HoldId id : over) Abandon(id);
  return static_cast<int>(due.size() + over.size());
}

std::optional<Time> Model::NextDue() {
  std::optional<Time> next;
  const auto consider = [&](Time at) {
    if (at > now_) next = std::min(next.value_or(at), at);
  };
  for (const auto& [name, account] : accounts_) {
    consider(account->main_start + account->window);
    consider(account->day_start + kDay);
    if (const auto end = RateEnd(*account)) consider(*end);
    if (account->failures > 0 && !account->in_flight) consider(account->retry_at);
  }
  for (const auto& [id, hold] : holds_) {
    if (hold.ends) consider(*hold.ends);
  }
  return next;
}

void Model::ReportUsage() {
  for (const auto& [name, account] : accounts_) {
    if (!std::exchange(account->changed, false)) continue;
    Tell(EventKind::kUsage, *account, *account, nullptr);
    events_.back().usage = Window(*account);
  }
}

// Recording

bool Model::Fits(Account& account, const Amount& rise, Wide admitted) {
  for (Account* at : Path(account)) {
    for (std::size_t i = 0; i < kResourceCount; ++i) {
      const auto r = static_cast<Resource>(i);
      Wide after = Total(*at, r) + Held(*at, r) + Get(rise, r);
      if (r == Resource::kRequests) {
        after += admitted;
        if (at->rate && at->rate->content + Get(rise, r) * kMinute > kMax * kMinute) return false;
      }
      if (after > kMax) return false;
    }
  }
  return true;
}

void Model::Count(Account& account, Resource resource, Wide amount, Wide admitted) {
  account.own[resource] += amount;
  for (Account* at : Path(account)) {
    at->changed |= amount != 0;
    at->peak[resource] = std::max(at->peak[resource], Total(*at, resource));
    if (resource == Resource::kRequests && at->rate && amount > admitted) {
      at->rate->content += (amount - admitted) * kMinute;
    }
  }
}

Answer Model::Report(Account& account, const Amount& amounts, Source source) {
  Answer answer;
  for (const auto& [r, amount] : amounts) {
    if (amount < 0) return answer.refusal = "E2071", answer;
  }
  Begin(account);
  Amount counted, rise;
  for (const auto& [r, amount] : amounts) {
    const bool measured = source == Source::kReported && account.measured.Has(r);
    if (measured && mistake_ != Mistake::kMeasuredCounts) {
      answer.measured.Insert(r);
      continue;
    }
    counted[r] = amount;
    const bool sets = IsLevel(r) && mistake_ != Mistake::kLevelsAdd;
    rise[r] = amount - (sets ? Get(account.own, r) : 0);
  }
  if (!Fits(account, rise, 0)) return answer.refusal = "E2071", answer;
  const std::set<QuotaAction> before = StateOf(account);
  for (const auto& [r, amount] : rise) Count(account, r, amount);
  for (const auto& [r, amount] : counted) {
    LookUpwards(
        account, r, amount > 0,
        source == Source::kReported ? config_.soft_grace_reported : config_.soft_grace_sampled);
  }
  answer.recorded = NamesOf(counted);
  FillIn(account, before, answer);
  return answer;
}

void Model::FillIn(Account& account, const std::set<QuotaAction>& before, Answer& answer) {
  answer.state = StateOf(account);
  for (const QuotaAction action : answer.state) answer.pending |= !before.contains(action);
  const ResourceUsage usage = Window(account);
  const std::int64_t used[] = {usage.cpu_ns,          usage.memory_bytes, usage.gpu_memory_bytes,
                               usage.tokens_consumed, usage.requests,     usage.cost_nano};
  ForEachResource(answer.recorded, [&](Resource r) {
    answer.used[r] = used[static_cast<std::size_t>(r)];
    answer.limit[r] = answer.remaining[r] = kMax;
    for (Account* at : Path(account)) {
      for (auto& [kind, line] : at->lines) {
        if (ResourceOf(kind) != r || !IsCompared(*at, line)) continue;
        if (at->rate && kind == LimitKind::kRequestsPerMinute && at->rate->limit > 0) {
          answer.retry_after = std::max(answer.retry_after, UntilContent(*at, at->rate->limit - 1));
        }
        const Wide left = Effective(*at, line) - Used(*at, kind) - Held(*at, r);
        if (left >= answer.remaining[r]) continue;
        answer.remaining[r] = left;
        answer.limit[r] = Effective(*at, line);
      }
    }
    answer.remaining[r] = std::max<Wide>(answer.remaining[r], 0);
  });
}

// Holds

Answer Model::Reserve(Account& account, const Amount& amounts, HoldId id,
                      std::optional<Duration> ttl) {
  Answer answer;
  for (const auto& [r, amount] : amounts) {
    if (amount < 0) return answer.refusal = "E2071", answer;
  }
  Begin(account);
  const std::set<QuotaAction> state = StateOf(account);
  if (state.contains(QuotaAction::kSuspend) || state.contains(QuotaAction::kTerminate)) {
    return answer.refusal = "E2072", answer;
  }
  for (const auto& [r, amount] : amounts) {
    for (Account* at : Path(account)) {
      for (auto& [kind, line] : at->lines) {
        if (ResourceOf(kind) != r || !IsCompared(*at, line) || amount == 0) continue;
        if (kind == LimitKind::kRequestsPerMinute) {
          if (amount > line.limit) return answer.refusal = "E2072", answer;
          answer.retry = UntilContent(*at, line.limit - amount);
          if (answer.retry > Duration(0)) return answer.refusal = "E2077", answer;
        } else if (Used(*at, kind) + Held(*at, r) + amount > Effective(*at, line)) {
          const bool waits = line.cause == QuotaAction::kThrottle && !Falls(kind);
          if (waits) answer.retry = EndOf(*at, kind) - now_;
          return answer.refusal = waits ? "E2077" : "E2072", answer;
        }
      }
    }
  }
  if (!Fits(account, amounts, 0)) return answer.refusal = "E2071", answer;
  Hold hold;
  hold.account = &account;
  hold.reserved = amounts;
  if (ttl) hold.ends = now_ + *ttl;
  if (amounts.contains(Resource::kRequests)) {
    for (Account* at : Path(account)) {
      if (!at->rate) continue;
      at->rate->content += Get(amounts, Resource::kRequests) * kMinute;
      hold.slots[at] = {at->rate->number, at->rate->passed + at->rate->content};
    }
  }
  holds_[id] = hold;
  if (amounts.contains(Resource::kRequests)) {
    LookUpwards(account, Resource::kRequests, false, Duration(0));
  }
  return answer;
}

void Model::GiveBack(const Hold& hold, Wide requests_used) {
  const Wide count = Get(hold.reserved, Resource::kRequests) - requests_used;
  for (const auto& [at, slot] : hold.slots) {
    Bucket* rate = nullptr;
    for (Account* one : Path(*hold.account)) {
      if (one == at && one->rate && one->rate->number == slot.first) rate = &*one->rate;
    }
    if (rate == nullptr || count <= 0) continue;
    const Wide back = std::min(std::max<Wide>(slot.second - rate->passed, 0), count * kMinute);
    rate->content -= back;
    rate->passed += back;
  }
}

Answer Model::Settle(HoldId id, const Amount& actual) {
  Answer answer;
  for (const auto& [r, amount] : actual) {
    if (amount < 0) return answer.refusal = "E2071", answer;
  }
  if (!holds_.contains(id)) {
    if (settled_.contains(id)) {
      Account* const of = settled_[id].account;
      if (settled_[id].is_restored && Find(of->name) == of) Begin(*of);
      return settled_[id];
    }
    return answer.refusal = "E2070", answer;
  }
  const Hold hold = holds_[id];
  Account& account = *hold.account;
  Begin(account);
  const Amount reserved = holds_[id].reserved;  // of a mistaken model, less by now
  Amount used = actual;
  used.insert(reserved.begin(), reserved.end());
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto r = static_cast<Resource>(i);
    if (account.measured.Has(r)) used.erase(r);
    if (account.measured.Has(r) && actual.contains(r)) answer.measured.Insert(r);
  }
  for (const auto& [r, amount] : used) {
    if (amount > Get(reserved, r)) answer.above[r] = amount - Get(reserved, r);
  }
  const Wide admitted =
      std::min(Get(used, Resource::kRequests), Get(reserved, Resource::kRequests));
  if (!Fits(account, answer.above, admitted)) return answer.refusal = "E2071", answer;
  const std::set<QuotaAction> before = StateOf(account);
  holds_.erase(id);
  GiveBack(hold, Get(used, Resource::kRequests));
  for (const auto& [r, amount] : used) {
    Count(account, r, amount, r == Resource::kRequests ? admitted : 0);
  }
  for (const auto& [r, amount] : used) {
    if (answer.above.contains(r)) {
      const Line* first = nullptr;
      for (const auto& [kind, line] : account.lines) {
        if (first == nullptr && ResourceOf(kind) == r) first = &line;
      }
      Tell(EventKind::kSettledAboveHold, account, account, first, answer.above[r]);
    }
    LookUpwards(account, r, amount > 0, config_.soft_grace_reported);
  }
  answer.recorded = NamesOf(used);
  FillIn(account, before, answer);
  answer.account = &account;
  return settled_[id] = answer;
}

std::string Model::Release(HoldId id) {
  if (!holds_.contains(id)) return "E2070";
  const Hold hold = holds_[id];
  Begin(*hold.account);
  holds_.erase(id);
  GiveBack(hold, 0);
  LookUpwards(*hold.account, Resource::kRequests, false, Duration(0));
  return "";
}

void Model::Abandon(HoldId id) {
  if (!holds_.contains(id)) return;
  if (Get(holds_[id].reserved, Resource::kCost) == 0) return void(Release(id));
  Amount spent;
  for (const auto& [r, amount] : holds_[id].reserved) spent[r] = r == Resource::kCost ? amount : 0;
  Settle(id, spent);
}

// Policy

void Model::Edge(Account& account, Line& line, int key, Wide at, Wide rearm, bool falls) {
  const Wide used = Used(account, line.kind);
  if (falls && used <= rearm && mistake_ != Mistake::kNeverRearms) line.above.erase(key);
  if (used < at || !line.above.insert(key).second) return;
  Tell(key == kLimitEdge ? EventKind::kViolation : EventKind::kThreshold, account, account, &line,
       Effective(account, line));
  if (key != kLimitEdge) events_.back().percent = key;
}

void Model::Look(Account& account, Line& line, bool charge, Duration grace) {
  if (!IsCompared(account, line)) return;
  const Wide used = Used(account, line.kind);
  const Wide limit = Effective(account, line);
  for (const int percent : config_.thresholds) {
    if (limit == 0) continue;
    Edge(account, line, percent, (limit * percent + 99) / 100,
         limit * std::max(0, percent - 5) / 100, Falls(line.kind));
  }
  Edge(account, line, kLimitEdge, mistake_ == Mistake::kEqualIsOver ? limit : limit + 1,
       limit * 95 / 100, Falls(line.kind));
  if (!IsOver(used, limit)) {
    if (!Falls(line.kind)) return;
    line.acted = false;
    if (used <= limit * 95 / 100) line.warned = line.lifted = false;
    if (line.cause) EndCause(account, line);
    return;
  }
  if (!charge) return;
  const Policy policy = account.policies[static_cast<std::size_t>(ResourceOf(line.kind))];
  const auto warn = [&] {
    Tell(EventKind::kWarned, account, account, &line, limit);
    for (Account* agent : AgentsBelow(account)) {
      Tell(EventKind::kWarned, *agent, account, &line, limit);
    }
  };
  if (policy.mode != EnforcementMode::kHard && !line.warned) {
    line.warned = true;
    line.warned_at = now_;
    return warn();
  }
  if (policy.mode == EnforcementMode::kWarnOnly || line.acted || line.lifted) return;
  const bool waits = policy.mode == EnforcementMode::kSoftThenHard &&
                     now_ < line.warned_at + grace && mistake_ != Mistake::kGraceIsIgnored;
  if (waits) return;
  line.acted = true;
  if (policy.action == QuotaAction::kWarn) return warn();
  Act(account, line, policy.action);
}

void Model::LookUpwards(Account& account, Resource resource, bool charge, Duration grace) {
  for (Account* at : Path(account)) {
    for (auto& [kind, line] : at->lines) {
      if (ResourceOf(kind) == resource) Look(*at, line, charge, grace);
    }
  }
}

// Causes

void Model::Act(Account& account, Line& line, QuotaAction action) {
  line.cause = action;
  Tell(EventOf(action), account, account, &line, Effective(account, line));
  for (Account* agent : AgentsBelow(account)) {
    Tell(EventOf(action), *agent, account, &line, Effective(account, line));
  }
}

std::vector<Cause> Model::CausesOf(const Account& account) const {
  std::vector<Cause> causes;
  for (const Account* at = &account; at != nullptr; at = at->parent) {
    if (at->operator_suspend) causes.push_back({at->name, {}, QuotaAction::kSuspend});
    if (at->operator_terminate) causes.push_back({at->name, {}, QuotaAction::kTerminate});
    for (const auto& [kind, line] : at->lines) {
      if (!line.cause || account.lifted.contains({at, kind})) continue;
      causes.push_back({at->name, kind, *line.cause});
    }
  }
  return causes;
}

std::set<QuotaAction> Model::StateOf(const Account& account) const {
  std::set<QuotaAction> state;
  for (const Cause& cause : CausesOf(account)) state.insert(cause.action);
  return state;
}

template <class Change>
void Model::Free(Account& account, Line* line, QuotaAction action, Change&& change) {
  std::vector<Account*> held = AgentsBelow(account);
  held.insert(held.begin(), &account);
  std::erase_if(held, [&](Account* one) { return !StateOf(*one).contains(action); });
  change();
  for (Account* one : held) {
    if (StateOf(*one).contains(action)) continue;
    if (action == QuotaAction::kTerminate) {
      one->is.erase(action);
      continue;
    }
    Tell(EventKind::kResumed, *one, account, line, line ? Effective(account, *line) : 0);
  }
}

void Model::EndCause(Account& account, Line& line) {
  Free(account, &line, *line.cause, [&] {
    line.cause.reset();
    for (Account* agent : AgentsBelow(account)) agent->lifted.erase({&account, line.kind});
  });
}

void Model::EndOperator(Account& account, QuotaAction action) {
  const bool ends = action == QuotaAction::kTerminate;
  Free(account, nullptr, action,
       [&] { (ends ? account.operator_terminate : account.operator_suspend) = false; });
}

void Model::Lift(Account& account, QuotaAction action) {
  for (auto& [kind, line] : account.lines) {
    if (line.cause == action) line.lifted = true, EndCause(account, line);
  }
  if (account.name.scope != QuotaScope::kAgent || !StateOf(account).contains(action)) return;
  Account* last = nullptr;
  Line* last_line = nullptr;
  for (Account* at = account.parent; at != nullptr; at = at->parent) {
    for (auto& [kind, line] : at->lines) {
      if (line.cause != action || account.lifted.contains({at, kind})) continue;
      if (mistake_ == Mistake::kOverrideIsForAll) {
        line.lifted = true;
        EndCause(*at, line);
        continue;
      }
      account.lifted.insert({at, kind});
      last = at;
      last_line = &line;
    }
  }
  if (last == nullptr || StateOf(account).contains(action)) return;
  Tell(EventKind::kResumed, account, *last, last_line, Effective(*last, *last_line));
}

void Model::Suspend(Account& account) {
  Begin(account);
  if (std::exchange(account.operator_suspend, true)) return;
  Tell(EventKind::kSuspended, account, account, nullptr);
  for (Account* agent : AgentsBelow(account)) Tell(EventKind::kSuspended, *agent, account, nullptr);
}

void Model::Terminate(Account& account) {
  Begin(account);
  if (std::exchange(account.operator_terminate, true)) return;
  Tell(EventKind::kTerminated, account, account, nullptr);
  for (Account* agent : AgentsBelow(account)) {
    Tell(EventKind::kTerminated, *agent, account, nullptr);
  }
}

std::string Model::Resume(Account& account, bool override_causes) {
  Begin(account);
  if (override_causes) {
    Lift(account, QuotaAction::kSuspend);
    Lift(account, QuotaAction::kThrottle);
  }
  if (account.operator_suspend) EndOperator(account, QuotaAction::kSuspend);
  const std::set<QuotaAction> state = StateOf(account);
  const bool held =
      state.contains(QuotaAction::kSuspend) || state.contains(QuotaAction::kTerminate);
  return held ? "E2072" : "";
}

void Model::ClearThrottle(Account& account) {
  Begin(account);
  Lift(account, QuotaAction::kThrottle);
}

// Intents

std::optional<Verb> Model::VerbFor(Account& agent) {
  if (agent.in_flight || agent.is.contains(QuotaAction::kTerminate)) return std::nullopt;
  const std::set<QuotaAction> wanted = StateOf(agent);
  const auto differs = [&](QuotaAction action) {
    return wanted.contains(action) != agent.is.contains(action);
  };
  std::optional<Verb> verb;
  if (wanted.contains(QuotaAction::kTerminate)) {
    verb = Verb::kTerminate;
  } else if (differs(QuotaAction::kSuspend)) {
    verb = wanted.contains(QuotaAction::kSuspend) ? Verb::kSuspend : Verb::kResume;
  } else if (differs(QuotaAction::kThrottle)) {
    verb = wanted.contains(QuotaAction::kThrottle) ? Verb::kThrottle : Verb::kClearThrottle;
  }
  if (agent.failed == verb && now_ < agent.retry_at) return std::nullopt;
  return verb;
}

void Model::Finish(Account& agent, Verb verb, bool done) {
  Begin(agent);
  agent.in_flight = false;
  if (std::exchange(agent.restarted, false)) return;
  if (!done) {
    agent.failures = agent.failed == verb ? agent.failures + 1 : 1;
    agent.failed = verb;
    agent.retry_at =
        now_ + std::chrono::seconds(std::min(1 << std::min(agent.failures - 1, 6), 60));
    return Tell(EventKind::kActionFailed, agent, agent, nullptr);
  }
  agent.failures = 0;
  agent.failed.reset();
  switch (verb) {
    case Verb::kSuspend: agent.is.insert(QuotaAction::kSuspend); break;
    case Verb::kResume: agent.is.erase(QuotaAction::kSuspend); break;
    case Verb::kThrottle: agent.is.insert(QuotaAction::kThrottle); break;
    case Verb::kClearThrottle: agent.is.erase(QuotaAction::kThrottle); break;
    case Verb::kTerminate:
      if (StateOf(agent).contains(QuotaAction::kTerminate))
        agent.is.insert(QuotaAction::kTerminate);
      break;
  }
}

}  // namespace mete::reference
