#include "agent/account.h"

#include <sys/eventfd.h>

#include <utility>

#include "base/check.h"
#include "base/unique_fd.h"

namespace mete::agent {
namespace {

// Between two readings of the events: a round of the loop, in which each connection of the agent
// may have made a few.
constexpr std::size_t kEventsKept = 4096;

class LocalAccount final : public Account {
 public:
  LocalAccount(std::shared_ptr<ResourceManager> manager, TargetName target, QuotaHandle handle,
               std::string ledger, UniqueFd news)
      : manager_(std::move(manager)),
        target_(std::move(target)),
        handle_(handle),
        events_(manager_->Events()),
        ledger_(std::move(ledger)),
        news_(std::move(news)) {}
  // Its thread wakes this one.
  ~LocalAccount() override {
    if (news_) manager_->Stop();
  }

  const TargetName& target() const override { return target_; }
  Result<Receipt> Report(const Amounts& amounts, const ReportOptions& options) override {
    if (options.key.empty()) return manager_->ReportUsage(handle_, amounts, options.source);
    return manager_->ReportUsage(target_, amounts, options);
  }
  Result<HoldId> Reserve(const Amounts& amounts, const ReserveOptions& options) override {
    Result<Reservation> reserved = manager_->Reserve(target_, amounts, options);
    if (!reserved) return std::unexpected(reserved.error());
    return reserved->Keep();
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
  Result<std::vector<ResourceQuota>> Above() override {
    std::vector<ResourceQuota> above;
    Result<ResourceQuota> quota = manager_->GetQuota(target_);
    while (quota && quota->parent) {
      quota = manager_->GetQuota(*quota->parent);
      if (quota) above.push_back(*quota);
    }
    if (!quota) return std::unexpected(quota.error());
    return above;
  }
  std::vector<Event> TakeEvents() override {
    std::vector<Event> events = events_.Take(kEventsKept).events;
    std::erase_if(events, [this](const Event& event) {
      return event.target != target_ && !IsOfStore(event.kind);
    });
    return events;
  }
  std::optional<Time> NextDeadline() const override { return manager_->NextDeadline(); }
  void Advance() override {
    eventfd_t count = 0;
    if (news_) eventfd_read(news_.get(), &count);
    manager_->Advance();
  }
  int Fd() const override { return news_.get(); }
  Result<void> Close() override {
    Result<void> detached = manager_->Detach(target_);
    Result<void> written = manager_->Flush();
    return detached ? written : detached;
  }
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
  UniqueFd news_;       // readable when something happened; only where others use the manager too
  ResourceQuota last_;  // of an account that somebody removed meanwhile
};

Result<std::unique_ptr<LocalAccount>> Attach(std::shared_ptr<ResourceManager> manager,
                                             const TargetName& target, bool cpu_held,
                                             std::string ledger, UniqueFd news) {
  Result<QuotaHandle> handle = manager->Resolve(target);
  if (!handle) return std::unexpected(handle.error());
  Result<void> attached = manager->Attach(target, {.measured = kMeasured, .cpu_held = cpu_held});
  if (!attached) return std::unexpected(attached.error());
  return std::make_unique<LocalAccount>(std::move(manager), target, *handle, std::move(ledger),
                                        std::move(news));
}

}  // namespace

Result<std::unique_ptr<Account>> AttachShared(std::shared_ptr<ResourceManager> manager,
                                              const TargetName& target, bool cpu_held,
                                              std::string ledger) {
  UniqueFd news(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!news) return Fail(ErrorCode::kSystem, "cannot make an eventfd");
  const int to_wake = news.get();
  ResourceManager* const shared = manager.get();
  Result<std::unique_ptr<LocalAccount>> account =
      Attach(std::move(manager), target, cpu_held, std::move(ledger), std::move(news));
  if (!account) return std::unexpected(account.error());
  shared->Start(nullptr, [to_wake] { eventfd_write(to_wake, 1); });
  return *std::move(account);
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
  Result<std::unique_ptr<LocalAccount>> account =
      Attach(*std::move(manager), {QuotaScope::kAgent, std::string(id)},
             /*cpu_held=*/true, std::string(kMemoryLedger), UniqueFd());
  METE_CHECK(account.has_value());
  return *std::move(account);
}

}  // namespace mete::agent
