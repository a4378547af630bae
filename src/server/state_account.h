// The account of an agent in a state folder, whoever owns that: this process, or another one, and
// the next one when that is gone.
//
// A call that an owner did not answer is made again to the next one. So that nothing counts twice,
// a report has a key, its own or one that is made up here; and what is measured is made up for by
// what the account has by then: nobody else counts the CPU time of an agent that is attached.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "agent/account.h"
#include "base/unique_fd.h"

namespace mete::server {

class StateAccount final : public agent::Account {
 public:
  // Attaches the agent at whoever owns the folder now.
  using Open = std::function<Result<std::unique_ptr<agent::Account>>()>;

  static Result<std::unique_ptr<StateAccount>> Create(Open open, const Clock& clock);

  const TargetName& target() const override { return current_->target(); }
  Result<Receipt> Report(const Amounts& amounts, const ReportOptions& options) override;
  Result<HoldId> Reserve(const Amounts& amounts, const ReserveOptions& options) override;
  Result<Settlement> Settle(HoldId hold, const Amounts& actual) override;
  Result<void> Release(HoldId hold) override;
  void Abandon(HoldId hold) override;
  Result<void> SetLimits(const ResourceLimits& limits) override;
  Result<void> Reset() override;
  Result<void> Suspend() override;
  Result<void> Resume(bool override_causes) override;
  Result<void> ClearThrottle() override;
  // While nobody owns the folder: as it was last.
  ResourceQuota Quota() override;
  ResourceUsage Totals() override;
  Result<std::vector<ResourceQuota>> Above() override;
  std::vector<Event> TakeEvents() override;
  std::optional<Time> NextDeadline() const override;
  void Advance() override;
  bool is_gone() const override { return current_->is_gone(); }
  int Fd() const override { return watched_.get(); }
  Result<void> Close() override;
  const std::string& ledger() const override { return current_->ledger(); }

 private:
  StateAccount(Open open, const Clock& clock);
  Result<void> Renew();
  template <class Function>
  std::invoke_result_t<Function, agent::Account&> Try(Function&& call);
  std::string NewKey();
  // The CPU time of `amounts`, and whatever else the account has not got.
  Amounts Owed(Amounts amounts);

  Open open_;
  const Clock& clock_;
  UniqueFd watched_;  // an epoll: who is watched changes with the owner
  std::unique_ptr<agent::Account> current_;
  Time renew_at_{};             // not before, when nobody could be found
  bool owes_ = false;           // what was measured may not have been counted
  std::int64_t cpu_total_ = 0;  // what the account has to have, with all that was measured here
  std::string key_prefix_;
  std::uint64_t keys_ = 0;
};

}  // namespace mete::server
