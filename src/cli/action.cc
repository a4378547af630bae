// `mete suspend`, `resume`, `terminate`, `clear-throttle`: an operator acts on a running agent.
#include "cli/command.h"
#include "cli/ledger.h"
#include "cli/quota_text.h"
#include "cli/remote.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {
    kStateDirFlag,
    {"json", "", "print the agent's quota as JSON"},
};
constexpr Flag kResumeFlags[] = {
    {"override", "", "also lift the limits that hold it back, until the next window"},
    kStateDirFlag,
    {"json", "", "print the agent's quota as JSON"},
};

int Act(const Flags& flags, std::string_view verb, std::string body = {}) {
  Result<Account> account = Account::OfOperands(flags);
  if (!account) return PrintRefusal(account.error());
  Result<Reply> reply = account->Call("POST", verb, std::move(body));
  if (!reply) return PrintError(reply.error());
  Print(flags.Has("json") ? reply->text + "\n"
                          : account->name() + ": " + TextOf(reply->json, "state") + "\n");
  return kExitOk;
}

int SuspendCommand(const Flags& flags) { return Act(flags, "/suspend"); }
int TerminateCommand(const Flags& flags) { return Act(flags, "/terminate"); }
int ClearThrottleCommand(const Flags& flags) { return Act(flags, "/clear-throttle"); }
int ResumeCommand(const Flags& flags) {
  return Act(flags, "/resume", flags.Has("override") ? "{\"override\":true}" : "");
}

}  // namespace

extern constinit const Command kSuspendCommand = {
    .name = "suspend",
    .operands = "[SCOPE] ID",
    .summary = "Stop a running agent where it stands",
    .details = {},
    .flags = kFlags,
    .min_operands = 1,
    .max_operands = 2,
    .main = SuspendCommand,
};

extern constinit const Command kResumeCommand = {
    .name = "resume",
    .operands = "[SCOPE] ID",
    .summary = "Let a suspended agent go on",
    .details =
        "While a limit holds it back it stays suspended (E2072): raise that limit\n"
        "with `mete quota set`, or use --override.\n",
    .flags = kResumeFlags,
    .min_operands = 1,
    .max_operands = 2,
    .main = ResumeCommand,
};

extern constinit const Command kTerminateCommand = {
    .name = "terminate",
    .operands = "[SCOPE] ID",
    .summary = "End a running agent: SIGTERM, a grace period, then the kill",
    .details = {},
    .flags = kFlags,
    .min_operands = 1,
    .max_operands = 2,
    .main = TerminateCommand,
};

extern constinit const Command kClearThrottleCommand = {
    .name = "clear-throttle",
    .operands = "[SCOPE] ID",
    .summary = "Let a throttled agent go on as fast as it may",
    .details =
        "Until the next window of the limit that throttled it, or until that limit is raised.\n",
    .flags = kFlags,
    .min_operands = 1,
    .max_operands = 2,
    .main = ClearThrottleCommand,
};

}  // namespace mete::cli
