// The accounts of a state folder, from the command line: over the socket of whoever owns the
// folder, or, where nobody does, by owning it for the length of one exchange. What was answered is
// on disk.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cli/flags.h"
#include "cli/remote.h"
#include "mete/error.h"
#include "server/state.h"
#include "wire/http.h"

namespace mete::cli {

inline constexpr Flag kStateDirFlag = {
    "state-dir", "FOLDER", "accounts that are kept in this folder (default METE_STATE_DIR)"};

// What --state-dir says, else METE_STATE_DIR, else empty. `is_default`, if any: not by the option.
std::string StateDir(const Flags& flags, bool* is_default = nullptr);

// As the commands own a folder. `serves`: for one that stays.
server::StateConfig StateConfigOf(const std::string& folder, bool serves);

// E2071: none is named.
Result<std::string> NeedStateDir(const Flags& flags);
// E2070: there is no such folder, or no ledger in it.
Result<void> CheckStateDir(const std::string& folder);

class Ledger {
 public:
  // E2070: as CheckStateDir, unless `make`. E2079, E2080: as OpenState.
  static Result<Ledger> Open(const std::string& folder, bool make = false);

  struct Exchange {
    std::string_view method;
    std::string path;
    std::string body = {};
    wire::Headers headers = {};
    // Asked again where it is not known whether an owner that died had done it: reading, and what
    // has a key.
    bool is_repeatable = false;
  };
  Result<Reply> Call(const Exchange& exchange);

 private:
  Ledger(std::string folder, server::OpenedState state)
      : folder_(std::move(folder)), state_(std::move(state)) {}

  Result<Reply> Kept(Result<Reply> reply) const;

  std::string folder_;
  server::OpenedState state_;
};

// The account that a command line names: of the state folder "ID" or "SCOPE/ID"; else a running
// agent, as in remote.h.
class Account {
 public:
  // `only_stored`: no running agent will do.
  static Result<Account> Of(const Flags& flags, std::string_view name, bool only_stored = false);
  // The same from the operands [SCOPE] ID; without one it is the agent around us.
  static Result<Account> OfOperands(const Flags& flags, bool only_stored = false);

  // `subpath` continues the account's path.
  Result<Reply> Call(std::string_view method, std::string_view subpath, std::string body = {},
                     wire::Headers headers = {}) const;
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::string folder_;             // of the state; empty: `agent_` is asked
  std::string path_;               // there
  std::optional<Target> agent_{};  // or, behind a folder that was not asked for by an option
};

}  // namespace mete::cli
