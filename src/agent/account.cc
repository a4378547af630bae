#include "agent/account.h"

#include <utility>

#include "base/check.h"

namespace mete::agent {
namespace {

// Between two readings of the events: a round of the loop, in which each connection of the agent
// may have made a few.
constexpr std::size_t kEventsKept = 4096;

class LocalAccount final : public Account {
 public:
  LocalAccount(std::shared_ptr<ResourceManager> manager, TargetName target, QuotaHandle handle,
               std::string ledger)
      : manager_(std::move(manager)),
        target_(std::move(target)),
        handle_(handle),
        events_(manager_->Events()),
        ledger_(std::move(ledger)) {}

  const TargetName& target() const override { return target_; }
  Result<Receipt> Report(const Amounts& amounts, const ReportOptions& options) override {
    return manager_->ReportUsage(handle_, amounts, options.source);
  }
  Result<HoldId> Reserve(const Amounts& amounts, const ReserveOptions& options) override {
    Result<Reservation> reserved = manager_->Reserve(target_, amounts, options);
    if (!reserved) return std::unexpected(reserved.error());
    return reserved->Detach();
  }
  Result<Settlement> Settle(HoldId hold, const Amounts& actual) override {
    return manager_->Settle(hold, actual);
  }
  Result<void> Release(HoldId hold) override { return manager_->Release(hold); }
  void Abandon(HoldId hold) override { manager_->Abandon(hold); }
  Result<void> SetLimits(const ResourceLimits& limits) override {
    return DropValue(manager_->UpdateQuota(target_, limits));
  }
  Result<void> Reset() override { return DropValue(manager_->ResetQuota(target_)); }
  Result<void> Suspend() override { return manager_->Suspend(target_); }
  Result<void> Resume(bool override_causes) override {
    return manager_->Resume(target_, override_causes);
  }
  Result<void> ClearThrottle() override { return manager_->ClearThrottle(target_); }

  ResourceQuota Quota() override {
    if (Result<ResourceQuota> quota = manager_->GetQuota(target_)) last_ = *std::move(quota);
    return last_;
  }
  ResourceUsage Totals() override { return manager_->GetUsage(target_).value_or(ResourceUsage{}); }
  std::vector<Event> TakeEvents() override {
    std::vector<Event> events = events_.Take(kEventsKept).events;
    std::erase_if(events, [this](const Event& event) { return event.target != target_; });
    return events;
  }
  std::optional<Time> NextDeadline() const override { return manager_->NextDeadline(); }
  void Advance() override { manager_->Advance(); }
  Result<void> Close() override { return manager_->Detach(target_); }
  const std::string& ledger() const override { return ledger_; }

 private:
  template <class T>
  static Result<void> DropValue(const Result<T>& result) {
    if (!result) return std::unexpected(result.error());
    return {};
  }

  std::shared_ptr<ResourceManager> manager_;
  TargetName target_;
  QuotaHandle handle_;
  EventReader events_;
  std::string ledger_;
  ResourceQuota last_;  // of an account that somebody removed meanwhile
};

}  // namespace

Result<std::unique_ptr<Account>> AttachAccount(std::shared_ptr<ResourceManager> manager,
                                               TargetName target, bool cpu_held,
                                               std::string ledger) {
  Result<QuotaHandle> handle = manager->Resolve(target);
  if (!handle) return std::unexpected(handle.error());
  Result<void> attached = manager->Attach(target, {.measured = kMeasured, .cpu_held = cpu_held});
  if (!attached) return std::unexpected(attached.error());
  return std::make_unique<LocalAccount>(std::move(manager), std::move(target), *handle,
                                        std::move(ledger));
}

std::unique_ptr<Account> NewAccount(std::string_view id, const ResourceLimits& limits,
                                    const PolicySet& policies, const Clock& clock) {
  ManagerConfig settings;
  settings.default_limits = {};
  settings.policies = policies;
  settings.usage_report_interval = Duration::zero();  // nobody reads the regular records
  settings.events_kept = kEventsKept;
  Result<std::unique_ptr<ResourceManager>> manager =
      ResourceManager::Create(std::move(settings), clock);
  METE_CHECK(manager.has_value());
  // The group has the same name, which allows less.
  const bool made = (*manager)->CreateQuota(id, limits).has_value();
  METE_CHECK(made);
  Result<std::unique_ptr<Account>> account =
      AttachAccount(*std::move(manager), {QuotaScope::kAgent, std::string(id)},
                    /*cpu_held=*/true, "memory");
  METE_CHECK(account.has_value());
  return *std::move(account);
}

}  // namespace mete::agent
