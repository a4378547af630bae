// `mete quota get|list|set|reset`: limits and usage of running agents, and of stored accounts.
#include <string>

#include "cli/command.h"
#include "cli/ledger.h"
#include "cli/limit_flags.h"
#include "cli/quota_text.h"
#include "cli/remote.h"
#include "cli/values.h"
#include "mete/quota.h"

namespace mete::cli {
namespace {

constexpr Flag kReadFlags[] = {kStateDirFlag, {"json", "", "print JSON"}};

constexpr auto kSetFlags =
    Joined(kLimitFlags, std::array<Flag, 2>{kStateDirFlag, {"json", "", "print JSON"}});

constexpr std::string_view kWhichAgent =
    "Without an ID it means the agent that it is called in. `mete quota list`\n"
    "shows the ids. SCOPE is agent (the default), session or tenant, which only a\n"
    "state folder has.\n";

// Asks for the account that the operands name, and prints the quota that comes back.
int ShowQuota(const Flags& flags, std::string_view method, std::string_view subpath,
              std::string body) {
  Result<Account> account = Account::OfOperands(flags);
  if (!account) return PrintRefusal(account.error());
  Result<Reply> reply = account->Call(method, subpath, std::move(body));
  if (!reply) return PrintError(reply.error());
  Print(flags.Has("json") ? reply->text + "\n" : QuotaText(reply->json));
  // A stored account knows only that nobody runs it.
  const bool left = !flags.Has("json") && TextOf(reply->json, "scope") == "agent" &&
                    !reply->json.Find("pid") && IsLeftBehind(TextOf(reply->json, "target_id"));
  if (left) {
    Print("its `mete run` was killed, and processes of it may still run: `mete gc` ends them\n");
  }
  return kExitOk;
}

int GetCommand(const Flags& flags) { return ShowQuota(flags, "GET", "", ""); }

int ResetCommand(const Flags& flags) { return ShowQuota(flags, "POST", "/reset", ""); }

int SetCommand(const Flags& flags) {
  wire::JsonWriter json;
  json.BeginObject();
  if (!WriteLimits(json, flags)) {
    return PrintRefusal({ErrorCode::kInvalidArgument,
                         "quota set names no limit, allowed: at least one, like --memory 256Mi"});
  }
  return ShowQuota(flags, "PATCH", "", json.EndObject().Take());
}

// Page by page, each less than what an answer may hold.
int ListStored(const Flags& flags, const std::string& folder) {
  Result<Ledger> ledger = Ledger::Open(folder);
  if (!ledger) return PrintError(ledger.error());
  const bool as_json = flags.Has("json");
  std::vector<wire::Json> quotas;
  const char* separator = "{\"quotas\":[";
  for (std::string offset = "0"; !offset.empty();) {
    Result<Reply> reply = ledger->Call(
        {.method = "GET", .path = "/v1/quotas?offset=" + offset, .is_repeatable = true});
    if (!reply) return PrintError(reply.error());
    offset = TextOf(reply->json, "next");
    const wire::Json* page = reply->json.Find("quotas");
    if (page == nullptr || page->AsArray() == nullptr) {
      return PrintError({ErrorCode::kSystem, "an answer without quotas"});
    }
    if (!as_json) {
      quotas.insert(quotas.end(), page->AsArray()->begin(), page->AsArray()->end());
      continue;
    }
    // The elements as they came: between the outermost brackets.
    const std::size_t first = reply->text.find('[') + 1;
    const std::string_view elements(reply->text.data() + first, reply->text.rfind(']') - first);
    if (elements.empty()) continue;
    Print(separator + std::string(elements));
    separator = ",";
  }
  if (as_json) {
    Print(*separator == ',' ? "]}\n" : "{\"quotas\":[]}\n");
  } else {
    Print(quotas.empty() ? "no quotas in " + folder + "\n" : AccountListText(quotas));
  }
  return kExitOk;
}

int ListRunning(const Flags& flags) {
  std::vector<wire::Json> quotas;
  std::string text;
  int status = kExitOk;
  const Result<std::vector<std::string>> ids = RunningIds();
  if (!ids) return PrintError(ids.error());
  for (const std::string& id : *ids) {
    Result<Target> target = AgentTarget(id);
    if (!target) continue;  // another program's socket: none of ours has such a name
    Result<Reply> reply = Call(*target, "GET", "", "");
    if (reply) {
      text.append(text.empty() ? "" : ",").append(reply->text);
      quotas.push_back(std::move(reply->json));
    } else if (reply.error().code != ErrorCode::kNotFound) {
      status = PrintError(reply.error());
    }
  }
  if (flags.Has("json")) {
    Print("{\"quotas\":[" + text + "]}\n");
  } else if (!quotas.empty()) {
    Print(QuotaListText(quotas));
  } else if (status == 0) {  // else there are some, and the errors say so
    Print("no agents are running\n");
  }
  return status;
}

int ListCommand(const Flags& flags) {
  const std::string folder = StateDir(flags);
  return folder.empty() ? ListRunning(flags) : ListStored(flags, folder);
}

}  // namespace

extern constinit const Command kQuotaGetCommand = {
    .name = "quota get",
    .operands = "[[SCOPE] ID]",
    .summary = "Show the limits and usage of a running agent, or a stored account",
    .details = kWhichAgent,
    .flags = kReadFlags,
    .max_operands = 2,
    .main = GetCommand,
};

extern constinit const Command kQuotaListCommand = {
    .name = "quota list",
    .operands = {},
    .summary = "List the running agents of this user, or the accounts of a state folder",
    .details = {},
    .flags = kReadFlags,
    .main = ListCommand,
};

extern constinit const Command kQuotaSetCommand = {
    .name = "quota set",
    .operands = "[[SCOPE] ID]",
    .summary = "Change limits of a running agent, or of a stored account",
    .details =
        "Limits that are not named stay; `unlimited` lifts one. Raising a limit\n"
        "resumes what it suspended. What a breach does stays as it was created.\n"
        "Agents cannot change their own (E2078).\n",
    .flags = kSetFlags,
    .max_operands = 2,
    .main = SetCommand,
};

extern constinit const Command kQuotaResetCommand = {
    .name = "quota reset",
    .operands = "[[SCOPE] ID]",
    .summary = "Begin new windows now, with nothing used",
    .details = "Lifetime totals stay. Agents cannot reset themselves (E2078).\n",
    .flags = kReadFlags,
    .max_operands = 2,
    .main = ResetCommand,
};

}  // namespace mete::cli
