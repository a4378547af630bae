#include "server/state_account.h"

#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace mete::server {
namespace {

// Opening itself waits for an owner that is about to go or to come (state.h).
constexpr Duration kRenewPause = std::chrono::seconds(1);

std::string RandomText() {
  std::array<unsigned char, 16> bytes{};
  [[maybe_unused]] const ssize_t got = getrandom(bytes.data(), bytes.size(), 0);
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

StateAccount::StateAccount(Open open, const Clock& clock)
    : open_(std::move(open)),
      clock_(clock),
      watched_(epoll_create1(EPOLL_CLOEXEC)),
      key_prefix_(RandomText() + "-") {}

Result<std::unique_ptr<StateAccount>> StateAccount::Create(Open open, const Clock& clock) {
  std::unique_ptr<StateAccount> account(new StateAccount(std::move(open), clock));
  if (Result<void> opened = account->Renew(); !opened) return std::unexpected(opened.error());
  account->cpu_total_ = account->current_->Totals().cpu_ns;
  return account;
}

Result<void> StateAccount::Renew() {
  const Time now = clock_.Now();
  if (now < renew_at_) {
    return Fail(ErrorCode::kStoreUnavailable,
                "nobody owns the state: " + current_->ledger() + "; tried again in a second");
  }
  Result<std::unique_ptr<agent::Account>> opened = open_();
  if (!opened) {
    renew_at_ = clock_.Now() + kRenewPause;
    return std::unexpected(opened.error());
  }
  current_ = *std::move(opened);  // closes what was watched
  renew_at_ = {};
  if (current_->Fd() < 0) return {};
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (epoll_ctl(watched_.get(), EPOLL_CTL_ADD, current_->Fd(), &event) == 0) return {};
  return Fail(ErrorCode::kSystem, "cannot watch the account");
}

template <class Function>
std::invoke_result_t<Function, agent::Account&> StateAccount::Try(Function&& call) {
  if (!current_->is_gone()) {
    auto result = call(*current_);
    if (!current_->is_gone()) return result;
  }
  if (Result<void> renewed = Renew(); !renewed) return std::unexpected(renewed.error());
  return call(*current_);
}

std::string StateAccount::NewKey() { return key_prefix_ + std::to_string(++keys_); }

Result<Receipt> StateAccount::Report(const Amounts& amounts, const ReportOptions& options) {
  if (options.source == Source::kReported) {
    const std::string key = options.key.empty() ? NewKey() : std::string(options.key);
    return Try([&](Account& account) {
      return account.Report(amounts, {.source = options.source, .key = key});
    });
  }
  cpu_total_ += amounts.Get(Resource::kCpu);
  if (!current_->is_gone()) {
    Result<Receipt> receipt = current_->Report(owes_ ? Owed(amounts) : amounts, options);
    owes_ = !receipt;
    if (!current_->is_gone()) return receipt;
  }
  if (Result<void> renewed = Renew(); !renewed) return std::unexpected(renewed.error());
  Result<Receipt> receipt = current_->Report(Owed(amounts), options);
  owes_ = !receipt;
  return receipt;
}

Amounts StateAccount::Owed(Amounts amounts) {
  const std::int64_t counted = current_->Totals().cpu_ns;
  return amounts.Set(Resource::kCpu, std::max<std::int64_t>(cpu_total_ - counted, 0));
}

Result<HoldId> StateAccount::Reserve(const Amounts& amounts, const ReserveOptions& options) {
  const std::string key = options.key.empty() ? NewKey() : std::string(options.key);
  return Try(
      [&](Account& account) { return account.Reserve(amounts, {.ttl = options.ttl, .key = key}); });
}

Result<Settlement> StateAccount::Settle(HoldId hold, const Amounts& actual) {
  return Try([&](Account& account) { return account.Settle(hold, actual); });
}
Result<void> StateAccount::Release(HoldId hold) {
  return Try([&](Account& account) { return account.Release(hold); });
}
void StateAccount::Abandon(HoldId hold) {
  static_cast<void>(Try([&](Account& account) -> Result<void> {
    account.Abandon(hold);
    return {};
  }));
}
Result<void> StateAccount::SetLimits(const ResourceLimits& limits) {
  return Try([&](Account& account) { return account.SetLimits(limits); });
}
Result<void> StateAccount::Reset() {
  return Try([](Account& account) { return account.Reset(); });
}
Result<void> StateAccount::Suspend() {
  return Try([](Account& account) { return account.Suspend(); });
}
Result<void> StateAccount::Resume(bool override_causes) {
  return Try([&](Account& account) { return account.Resume(override_causes); });
}
Result<void> StateAccount::ClearThrottle() {
  return Try([](Account& account) { return account.ClearThrottle(); });
}

ResourceQuota StateAccount::Quota() { return current_->Quota(); }
ResourceUsage StateAccount::Totals() { return current_->Totals(); }
Result<std::vector<ResourceQuota>> StateAccount::Above() {
  return Try([](Account& account) { return account.Above(); });
}
std::vector<Event> StateAccount::TakeEvents() { return current_->TakeEvents(); }

std::optional<Time> StateAccount::NextDeadline() const {
  if (current_->is_gone()) return std::max(renew_at_, clock_.Now());
  return current_->NextDeadline();
}

void StateAccount::Advance() {
  current_->Advance();
  if (!current_->is_gone()) return;
  owes_ = true;
  static_cast<void>(Renew());
}

// What this run still owes is with the account, whoever keeps it now.
Result<void> StateAccount::Close() {
  return Try([](Account& account) { return account.Close(); });
}

}  // namespace mete::server
