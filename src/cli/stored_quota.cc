// `mete quota create|rm`: accounts come into a state folder, and go.
#include <string>

#include "base/quote.h"
#include "cli/command.h"
#include "cli/ledger.h"
#include "cli/limit_flags.h"
#include "cli/quota_text.h"
#include "cli/values.h"

namespace mete::cli {
namespace {

constexpr Flag kCreateFlags[] = {
    {"cpu", "CORES", "CPU time per second, like 500m or 2", CheckLimitOrUnlimited},
    {"memory", "QUANTITY", "bytes, like 256Mi", CheckLimitOrUnlimited},
    {"gpu-memory", "QUANTITY", "bytes of GPU memory", CheckLimitOrUnlimited},
    {"tokens-per-hour", "N", "tokens in an hour", CheckLimitOrUnlimited},
    {"tokens-per-day", "N", "tokens in a day", CheckLimitOrUnlimited},
    {"requests-per-minute", "N", "requests in a minute", CheckLimitOrUnlimited},
    {"cost-per-day", "MONEY", "money in a day, like 2.50", CheckLimitOrUnlimited},
    {"cpu-seconds-per-hour", "S", "seconds of CPU time in an hour", CheckLimitOrUnlimited},
    {"session", "ID", "the session that it belongs to", CheckId},
    {"tenant", "ID", "the tenant that it belongs to", CheckId},
    {"exist-ok", "", "one that is there is shown unchanged, and no error"},
    kStateDirFlag,
    {"json", "", "print JSON"},
};

constexpr Flag kRemoveFlags[] = {
    {"cascade", "", "also what is below it"},
    kStateDirFlag,
    {"json", "", "print JSON"},
};

// Whether JSON carries the text as it is.
bool IsUtf8(std::string_view text) {
  wire::JsonWriter json;
  const Result<wire::Json> read = wire::ParseJson(json.String(text).Take());
  return read && read->AsString() != nullptr && *read->AsString() == text;
}

// What is created, as a request.
Result<std::string> CreateBody(const Flags& flags) {
  const std::string_view scope = flags.operands()[0];
  if (!FindScope(scope)) {
    return Fail(ErrorCode::kInvalidArgument,
                "the scope must be one of agent, session, tenant, given " + Quoted(scope));
  }
  if (!IsUtf8(flags.operands()[1])) {
    return Fail(ErrorCode::kInvalidArgument,
                "the id must be UTF-8, given " + Quoted(flags.operands()[1]));
  }
  if (flags.Has("session") && flags.Has("tenant")) {
    return Fail(ErrorCode::kInvalidArgument,
                "--session and --tenant are given, allowed: one of them; a session has its tenant "
                "from its own creation");
  }
  wire::JsonWriter json;
  json.BeginObject().Field("scope", scope).Field("target_id", flags.operands()[1]);
  for (const char* above : {"session", "tenant"}) {
    if (const auto id = flags.Get(above)) {
      json.Field("parent", std::string(above) + "/" + std::string(*id));
    }
  }
  WriteLimits(json, flags);
  if (flags.Has("exist-ok")) json.FieldBool("exist_ok", true);
  return json.EndObject().Take();
}

int CreateCommand(const Flags& flags) {
  Result<std::string> folder = NeedStateDir(flags);
  if (!folder) return PrintRefusal(folder.error());
  Result<std::string> body = CreateBody(flags);
  if (!body) return PrintRefusal(body.error());
  Result<Ledger> ledger = Ledger::Open(*folder, /*make=*/true);
  if (!ledger) return PrintError(ledger.error());
  Result<Reply> reply = ledger->Call({.method = "POST",
                                      .path = "/v1/quotas",
                                      .body = *std::move(body),
                                      .is_repeatable = flags.Has("exist-ok")});
  if (!reply) return PrintError(reply.error());
  Print(flags.Has("json") ? reply->text + "\n" : QuotaText(reply->json));
  return kExitOk;
}

int RemoveCommand(const Flags& flags) {
  Result<Account> account = Account::OfOperands(flags, /*only_stored=*/true);
  if (!account) return PrintRefusal(account.error());
  // Removing what is not there is done already (rule 11); who types a name wants to know.
  Result<Reply> there = account->Call("GET", "");
  if (!there) return PrintError(there.error());
  Result<Reply> reply = account->Call("DELETE", flags.Has("cascade") ? "?cascade=true" : "");
  if (!reply) return PrintError(reply.error());
  Print(flags.Has("json") ? there->text + "\n" : account->name() + ": removed\n");
  return kExitOk;
}

}  // namespace

extern constinit const Command kQuotaCreateCommand = {
    .name = "quota create",
    .operands = "SCOPE ID",
    .summary = "Create an account in a state folder",
    .details =
        "SCOPE is agent, session or tenant. An agent's cpu, memory and tokens-per-hour\n"
        "are 2, 2Gi and 100000 unless given; `unlimited` lifts one. The folder is made\n"
        "if it is not there. `mete run --agent ID` and `mete report --agent ID` use it.\n",
    .flags = kCreateFlags,
    .min_operands = 2,
    .max_operands = 2,
    .main = CreateCommand,
};

extern constinit const Command kQuotaRmCommand = {
    .name = "quota rm",
    .operands = "[SCOPE] ID",
    .summary = "Remove an account from a state folder",
    .details =
        "SCOPE is agent (the default), session or tenant. One that has others below it,\n"
        "or that runs, stays (E2080). What it used stays counted in what is above it.\n",
    .flags = kRemoveFlags,
    .min_operands = 1,
    .max_operands = 2,
    .main = RemoveCommand,
};

}  // namespace mete::cli
