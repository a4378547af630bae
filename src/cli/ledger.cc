#include "cli/ledger.h"

#include <sys/stat.h>

#include <cstdlib>
#include <utility>

#include "base/quote.h"
#include "mete/quota.h"
#include "mete/store.h"
#include "server/ledger_requests.h"
#include "store/verify.h"
#include "wire/unix_client.h"

namespace mete::cli {
namespace {

// Each is the time of an owner that goes away in the middle of an exchange.
constexpr int kMostOwners = 5;

// "a1" or "session/s1".
Result<TargetName> ParseAccount(std::string_view text) {
  if (text.find('/') != text.npos) return server::ParseTarget("the account", text);
  if (text.empty()) return Fail(ErrorCode::kInvalidArgument, "the id must not be empty");
  return TargetName{QuotaScope::kAgent, std::string(text)};
}

}  // namespace

std::string StateDir(const Flags& flags, bool* is_default) {
  const std::optional<std::string_view> given = flags.Get("state-dir");
  if (is_default != nullptr) *is_default = !given;
  if (given) return std::string(*given);
  const char* folder = std::getenv("METE_STATE_DIR");
  return folder == nullptr ? "" : folder;
}

server::StateConfig StateConfigOf(const std::string& folder, bool serves) {
  server::StateConfig config;
  config.folder = folder;
  config.manager.durability = Durability::kSync;
  config.open_store = [](const std::string& path) { return OpenStore(path); };
  config.serves = serves;
  return config;
}

Result<std::string> NeedStateDir(const Flags& flags) {
  std::string folder = StateDir(flags);
  if (!folder.empty()) return folder;
  return Fail(ErrorCode::kInvalidArgument, "which state folder? --state-dir or METE_STATE_DIR");
}

Result<void> CheckStateDir(const std::string& folder) {
  struct stat found{};
  const bool is_there = stat(folder.c_str(), &found) == 0;
  if (is_there && HoldsLedger(folder)) return {};
  return Fail(ErrorCode::kNotFound,
              std::string(is_there ? "no ledger in the state folder" : "no such state folder") +
                  ", `mete quota create` makes one, given: " + Quoted(folder));
}

Result<Ledger> Ledger::Open(const std::string& folder, bool make) {
  if (!make) {
    if (Result<void> there = CheckStateDir(folder); !there) return std::unexpected(there.error());
  }
  Result<server::OpenedState> state = server::OpenState(StateConfigOf(folder, /*serves=*/false));
  if (!state) return std::unexpected(state.error());
  return Ledger(folder, *std::move(state));
}

// This process ends, and with it what could not be written.
Result<Reply> Ledger::Kept(Result<Reply> reply) const {
  if (reply || reply.error().code != ErrorCode::kStoreUnavailable) return reply;
  return Fail(ErrorCode::kStoreUnavailable,
              "nothing was recorded: " + state_.owned->manager().store_status().error);
}

Result<Reply> Ledger::Call(const Exchange& exchange) {
  wire::HttpRequest request{std::string(exchange.method), exchange.path, exchange.headers,
                            exchange.body};
  if (!request.body.empty()) request.headers.emplace_back("content-type", "application/json");
  for (int owner = 1;; ++owner) {
    if (state_.owned) return Kept(ReadReply(state_.owned->Answer(request)));
    Result<wire::HttpResponse> response = wire::CallUnix(state_.socket, request);
    if (response) return ReadReply(*std::move(response));
    const bool nothing_done = response.error().code == ErrorCode::kNotFound;
    if (owner == kMostOwners || !(nothing_done || exchange.is_repeatable)) {
      return std::unexpected(response.error());
    }
    Result<server::OpenedState> state = server::OpenState(StateConfigOf(folder_, false));
    if (!state) return std::unexpected(state.error());
    state_ = *std::move(state);
  }
}

Result<Account> Account::Of(const Flags& flags, std::string_view name, bool only_stored) {
  bool is_default = false;
  Account account;
  account.folder_ = StateDir(flags, &is_default);
  if (only_stored) {
    if (Result<std::string> folder = NeedStateDir(flags); !folder) {
      return std::unexpected(folder.error());
    }
  }
  account.name_ = name;
  if (account.folder_.empty()) {
    Result<Target> target = AgentTarget(name);
    if (!target) return std::unexpected(target.error());
    account.agent_ = *std::move(target);
    return account;
  }
  Result<TargetName> target = ParseAccount(name);
  if (!target) return std::unexpected(target.error());
  account.path_ =
      "/v1/quotas/" + std::string(NameOf(target->scope)) + "/" + server::PercentEncoded(target->id);
  // Where the environment names a folder for all, the agents beside it are still reached.
  if (is_default && !only_stored) {
    if (Result<Target> agent = AgentTarget(name)) account.agent_ = *std::move(agent);
  }
  return account;
}

Result<Account> Account::OfOperands(const Flags& flags, bool only_stored) {
  const std::vector<std::string_view>& operands = flags.operands();
  if (operands.size() == 1) return Of(flags, operands[0], only_stored);
  if (operands.size() == 2) {
    const std::optional<QuotaScope> scope = FindScope(operands[0]);
    if (!scope) {
      return Fail(ErrorCode::kInvalidArgument,
                  "the scope must be one of agent, session, tenant, given " + Quoted(operands[0]));
    }
    const std::string id(operands[1]);
    return Of(flags, *scope == QuotaScope::kAgent ? id : std::string(operands[0]) + "/" + id,
              only_stored);
  }
  if (flags.Get("state-dir")) {
    return Fail(ErrorCode::kInvalidArgument, "which account? `mete quota list` shows them");
  }
  Result<Target> target = QuotaTarget({});
  if (!target) return std::unexpected(target.error());
  Account account;
  account.name_ = target->name;
  account.agent_ = *std::move(target);
  return account;
}

Result<Reply> Account::Call(std::string_view method, std::string_view subpath, std::string body,
                            wire::Headers headers) const {
  if (folder_.empty()) return cli::Call(*agent_, method, subpath, std::move(body), headers);
  Result<Ledger> ledger = Ledger::Open(folder_);
  Result<Reply> reply = std::unexpected(Error{});
  if (ledger) {
    const bool has_key = !wire::FindHeader(headers, "idempotency-key").empty();
    // What sets a state may be set twice.
    const bool sets = method == "GET" || method == "PATCH" || method == "DELETE" ||
                      subpath == "/suspend" || subpath == "/terminate";
    reply = ledger->Call({.method = method,
                          .path = path_ + std::string(subpath),
                          .body = body,
                          .headers = headers,
                          .is_repeatable = has_key || sets});
  } else {
    reply = std::unexpected(ledger.error());
  }
  if (reply || reply.error().code != ErrorCode::kNotFound || !agent_) return reply;
  Result<Reply> running = cli::Call(*agent_, method, subpath, std::move(body), headers);
  return running || running.error().code != ErrorCode::kNotFound ? running : reply;
}

}  // namespace mete::cli
