// `mete quota create|rm`: accounts come into a state folder, and go.
#include <string>

#include "base/quote.h"
#include "cli/command.h"
#include "cli/ledger.h"
#include "cli/limit_flags.h"
#include "cli/quota_text.h"
#include "cli/values.h"
#include "server/ledger_requests.h"

namespace mete::cli {
namespace {

constexpr std::array<Flag, 5> kPlaceFlags = {{
    {"session", "ID", "the session that it belongs to", CheckId},
    {"tenant", "ID", "the tenant that it belongs to", CheckId},
    {"exist-ok", "", "one that is there is shown unchanged, and no error"},
    kStateDirFlag,
    {"json", "", "print JSON"},
}};
constexpr auto kCreateFlags = Joined(kLimitFlags, kPolicyFlags, kPlaceFlags);

constexpr Flag kRemoveFlags[] = {
    {"cascade", "", "also what is below it"},
    kStateDirFlag,
    {"json", "", "print JSON"},
};

// What is created, as a request.
Result<std::string> CreateBody(const Flags& flags) {
  const std::string_view scope_name = flags.operands()[0];
  const std::optional<QuotaScope> scope = FindScope(scope_name);
  if (!scope) {
    return Fail(ErrorCode::kInvalidArgument,
                "the scope must be one of agent, session, tenant, given " + Quoted(scope_name));
  }
  // What `mete run` takes: an agent's id is a file name, and stands in commands to be typed.
  if (Result<void> ok = CheckId({}, flags.operands()[1]); !ok) {
    return Fail(ErrorCode::kInvalidArgument, "the id " + ok.error().message);
  }
  if (flags.Has("session") && flags.Has("tenant")) {
    return Fail(ErrorCode::kInvalidArgument,
                "--session and --tenant are given, allowed: one of them; a session has its tenant "
                "from its own creation");
  }
  wire::JsonWriter json;
  json.BeginObject().Field("scope", scope_name).Field("target_id", flags.operands()[1]);
  for (const char* above : {"session", "tenant"}) {
    if (const auto id = flags.Get(above)) {
      json.Field("parent", std::string(above) + "/" + std::string(*id));
    }
  }
  WriteLimits(json, flags);
  WritePolicies(json, flags, *scope);
  if (flags.Has("exist-ok")) json.FieldBool("exist_ok", true);
  return json.EndObject().Take();
}

// A refusal, which for want of what it is to be below says how that comes into being.
Error RefusalOf(Ledger& ledger, const Flags& flags, Error error) {
  for (const std::string scope : {"session", "tenant"}) {
    const auto id = flags.Get(scope);
    if (!id || error.code != ErrorCode::kInvalidArgument) continue;
    const Result<Reply> above =
        ledger.Call({.method = "GET",
                     .path = "/v1/quotas/" + scope + "/" + server::PercentEncoded(*id),
                     .is_repeatable = true});
    if (above || above.error().code != ErrorCode::kNotFound) continue;
    error.message = "--" + scope + ": no such " + scope + ", `mete quota create " + scope +
                    " ID` makes one, given " + Quoted(*id);
  }
  return error;
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
  if (!reply) return PrintError(RefusalOf(*ledger, flags, reply.error()));
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
        "are 2, 2Gi and 100000 unless given; `unlimited` lifts one. What a breach does is\n"
        "as under `mete run`; of a session or tenant it suspends all below, unless given.\n"
        "The folder is made if it is not there. `mete run --agent ID` and\n"
        "`mete report --agent ID` use the account.\n",
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
