// The account of an agent that another process keeps: every call is one exchange with the owner of
// the ledger, over its control socket.
//
// What the owner decides by itself (a window that ends, an operator's word, a report of somebody
// else) comes as an event on a second connection, which Fd() polls; then, and after each exchange
// that changed something, the quota is asked for once more.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/account.h"
#include "base/unique_fd.h"
#include "wire/http.h"
#include "wire/json.h"

namespace mete::server {

class RemoteAccount final : public agent::Account {
 public:
  // Attaches the agent to this process. kNotFound: nobody serves the socket. E2070: no such quota.
  // E2080: another process runs it. `clock` outlives it.
  static Result<std::unique_ptr<RemoteAccount>> Attach(std::string socket, TargetName target,
                                                       bool cpu_held, std::string ledger,
                                                       const Clock& clock);

  const TargetName& target() const override { return target_; }
  Result<Receipt> Report(const Amounts& amounts, const ReportOptions& options) override;
  Result<HoldId> Reserve(const Amounts& amounts, const ReserveOptions& options) override;
  Result<Settlement> Settle(HoldId hold, const Amounts& actual) override;
  Result<void> Release(HoldId hold) override;
  void Abandon(HoldId hold) override;
  Result<void> SetLimits(const ResourceLimits& limits) override;
  Result<void> Reset() override { return Operate("reset"); }
  Result<void> Suspend() override { return Operate("suspend"); }
  Result<void> Resume(bool override_causes) override;
  Result<void> ClearThrottle() override { return Operate("clear-throttle"); }
  ResourceQuota Quota() override;
  ResourceUsage Totals() override;
  Result<std::vector<ResourceQuota>> Above() override;
  std::vector<Event> TakeEvents() override;
  std::optional<Time> NextDeadline() const override { return std::nullopt; }
  void Advance() override;
  bool is_gone() const override { return is_gone_; }
  int Fd() const override { return stream_.get(); }
  Result<void> Close() override { return Operate("detach"); }
  const std::string& ledger() const override { return ledger_; }

 private:
  RemoteAccount(std::string socket, TargetName target, std::string ledger, const Clock& clock);
  Result<wire::Json> Exchange(std::string_view method, std::string path, std::string body = {},
                              std::string_view key = {});
  Result<void> Operate(std::string_view verb, std::string body = {});
  Result<void> Keep(const wire::Json& json);  // a quota that the owner answered
  Result<void> Follow();
  void TakeLines();

  const std::string socket_;
  const TargetName target_;
  const std::string path_;  // "/v1/quotas/agent/a1"
  const std::string ledger_;
  const Clock& clock_;
  UniqueFd stream_;     // of events
  std::string unread_;  // the beginning of a line
  std::vector<Event> events_;
  bool is_gone_ = false;
  bool is_stale_ = true;  // of quota_
  ResourceQuota quota_;
  ResourceUsage totals_;
};

}  // namespace mete::server
