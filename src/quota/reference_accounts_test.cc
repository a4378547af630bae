// Of the model: accounts that come and go, and their limits.
#include <algorithm>

#include "quota/reference_test.h"

namespace mete::reference {

std::string Model::Create(const TargetName& name, const ResourceLimits& limits,
                          const QuotaOptions& options) {
  if (options.parent && options.parent->scope <= name.scope) return "E2071";
  if (Account* there = Find(name)) {
    if (!options.exist_ok) return "E2076";
    return Begin(*there), "";
  }
  Account* parent = options.parent ? Find(*options.parent) : nullptr;
  if (options.parent && parent == nullptr) return "E2071";
  if (parent != nullptr) Begin(*parent);
  auto made = std::make_unique<Account>();
  made->name = name;
  made->parent = parent;
  made->window = options.window.value_or(config_.window);
  made->policies = config_.policies;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    if (options.policies[i]) made->policies[i] = *options.policies[i];
  }
  made->main_start = made->day_start = now_;
  if (parent != nullptr) parent->children.push_back(made.get());
  Account& account = *(accounts_[Key(name)] = std::move(made));
  Tell(EventKind::kCreated, account, account, nullptr);
  for (const LimitInfo& info : AllLimits()) {
    std::optional<Limit> limit = limits[info.kind];
    if (!limit && name.scope == QuotaScope::kAgent) limit = config_.default_limits[info.kind];
    if (!limit || limit->amount == kUnlimited) continue;
    Line& line = account.lines[info.kind];
    line.kind = info.kind;
    line.limit = limit->amount;
    if (info.counting != Counting::kRate) continue;
    account.rate.emplace();
    account.rate->limit = limit->amount;
    account.rate->looked = now_;
    account.rate->number = ++account.rates;
  }
  if (name.scope != QuotaScope::kAgent || mistake_ == Mistake::kNewAgentsAreFree) return "";
  for (Account* at = account.parent; at != nullptr; at = at->parent) {
    if (at->operator_suspend) Tell(EventKind::kSuspended, account, *at, nullptr);
    if (at->operator_terminate) Tell(EventKind::kTerminated, account, *at, nullptr);
    for (const auto& [kind, line] : at->lines) {
      if (line.cause) Tell(EventOf(*line.cause), account, *at, &line, Effective(*at, line));
    }
  }
  return "";
}

void Model::ReturnLevels(Account& account) {
  for (const Resource level : kLevels) {
    if (mistake_ == Mistake::kLevelsStay) break;
    const Wide own = Get(account.own, level);
    if (own > 0) Count(account, level, -own);
    LookUpwards(account, level, false, Duration(0));
  }
}

void Model::Forget(Account& account) {
  ReturnLevels(account);
  for (auto it = holds_.begin(); it != holds_.end();) {
    if (it->second.account == &account) {
      const Hold hold = it->second;
      it = holds_.erase(it);
      GiveBack(hold, 0);
    } else {
      ++it;
    }
  }
  Tell(EventKind::kRemoved, account, account, nullptr);
  events_.back().usage = Lifetime(account);
  if (Account* parent = account.parent) {
    for (const auto& [r, amount] : account.own) parent->own[r] += amount;
    auto& siblings = parent->children;
    *std::find(siblings.begin(), siblings.end(), &account) = siblings.back();
    siblings.pop_back();
  }
  auto gone = accounts_.extract(Key(account.name));
  removed_.push_back(std::move(gone.mapped()));
}

std::string Model::Remove(Account& account, bool cascade) {
  Begin(account);
  if (!cascade && (!account.children.empty() || account.running)) return "E2080";
  const auto remove = [&](auto&& self, Account& one) -> void {
    while (!one.children.empty()) self(self, *one.children.back());
    Forget(one);
  };
  remove(remove, account);
  return "";
}

void Model::Update(Account& account, const ResourceLimits& limits) {
  Begin(account);
  for (const LimitInfo& info : AllLimits()) {
    if (!limits[info.kind]) continue;
    const Wide amount = limits[info.kind]->amount;
    const auto found = account.lines.find(info.kind);
    const bool is_new = found == account.lines.end();
    if (amount == kMax) {
      Tell(EventKind::kUpdated, account, account, is_new ? nullptr : &found->second, amount);
      events_.back().limit = info.kind;
      if (is_new) continue;
      if (found->second.cause) EndCause(account, found->second);
      account.lines.erase(info.kind);
      if (info.counting == Counting::kRate) account.rate.reset();
      continue;
    }
    Line& line = account.lines[info.kind];
    line.kind = info.kind;
    const bool raised = !is_new && amount > line.limit;
    line.limit = amount;
    if (info.counting == Counting::kRate) {
      if (is_new) account.rate.emplace().number = ++account.rates;
      account.rate->limit = amount;
      account.rate->looked = now_;
    }
    Tell(EventKind::kUpdated, account, account, &line, amount);
    const Wide used = Used(account, info.kind);
    const Wide limit = Effective(account, line);
    for (const int percent : config_.thresholds) {
      if (used < (limit * percent + 99) / 100) line.above.erase(percent);
    }
    if (!IsOver(used, limit)) line.above.erase(kLimitEdge);
    if (raised && mistake_ != Mistake::kRaiseKeepsTheCause) {
      line.acted = line.lifted = false;
      if (line.cause) EndCause(account, line);
    }
    Look(account, line, true, config_.soft_grace_reported);
  }
}

void Model::Reset(Account& account) {
  Begin(account);
  Tell(EventKind::kReset, account, account, nullptr);
  account.main_start = account.day_start = now_;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto r = static_cast<Resource>(i);
    if (!IsLevel(r)) {
      account.main_base[r] = account.day_base[r] = Total(account, r);
    } else {
      account.peak_before[r] = std::max(account.peak_before[r], account.peak[r]);
      account.peak[r] = Total(account, r);
    }
  }
  if (account.rate) {
    account.rate->passed += account.rate->content;
    account.rate->content = 0;
  }
  for (auto& [kind, line] : account.lines) {
    if (!IsLevel(ResourceOf(kind))) line.above.clear();
    if (mistake_ != Mistake::kResetKeepsTheWarning) line.warned = false;
    line.acted = line.lifted = false;
    if (line.cause) EndCause(account, line);
  }
}

void Model::Attach(Account& account, const ResourceManager::Running& running) {
  Begin(account);
  account.is.clear();
  account.restarted |= account.in_flight;
  account.failures = 0;
  account.failed.reset();
  account.cpu_held = false;
  if (account.operator_terminate) EndOperator(account, QuotaAction::kTerminate);
  const auto cpu = account.lines.find(LimitKind::kCpu);
  if (running.cpu_held && cpu != account.lines.end() && cpu->second.cause) {
    EndCause(account, cpu->second);
  }
  account.running = true;
  account.cpu_held = running.cpu_held;
  account.measured = running.measured;
}

void Model::Detach(Account& account) {
  Begin(account);
  ReturnLevels(account);
  account.running = account.cpu_held = false;
  account.measured = {};
}

}  // namespace mete::reference
