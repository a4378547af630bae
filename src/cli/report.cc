// `mete report`: an agent tells what it used.
#include <sys/random.h>

#include <variant>

#include "cli/command.h"
#include "cli/ledger.h"
#include "cli/quota_text.h"
#include "cli/remote.h"
#include "cli/values.h"
#include "mete/units.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {
    {"tokens", "N", "tokens used", CheckCount},
    {"requests", "N", "requests made", CheckCount},
    {"cost", "MONEY", "money spent, like 0.25", CheckNano},
    {"cpu-seconds", "S", "CPU time used, like 1.5", CheckNano},
    {"memory", "QUANTITY", "memory in use now, like 512Mi", CheckBytes},
    {"gpu-memory", "QUANTITY", "GPU memory in use now, like 4Gi", CheckBytes},
    {"agent", "ID", "an account in a state folder, not the agent around", CheckId, false, "id"},
    kStateDirFlag,
    {"key", "KEY", "a name for this report: the same key counts once", CheckId},
    {"json", "", "print the receipt as a JSON object"},
};

void AddNumber(wire::JsonWriter* json, const Flags& flags, const char* flag, const char* field) {
  if (std::optional<std::string_view> text = flags.Get(flag)) {
    json->FieldNano(field, *ParseNanoDecimal(*text));
  }
}

void AddCount(wire::JsonWriter* json, const Flags& flags, const char* name) {
  if (std::optional<std::string_view> text = flags.Get(name)) json->Field(name, *ParseCount(*text));
}

// In MiB. Rounded down at a billionth, less than a byte: who reads it rounds up to bytes.
void AddBytes(wire::JsonWriter* json, const Flags& flags, const char* flag, const char* field) {
  if (std::optional<std::string_view> text = flags.Get(flag)) {
    constexpr std::int64_t kNano = 1'000'000'000;
    constexpr std::int64_t kMebi = 1 << 20;
    const std::int64_t bytes = *ParseLimitAmount(*text, AmountScale::kWhole);
    json->FieldNano(field, bytes / kMebi * kNano + bytes % kMebi * kNano / kMebi);
  }
}

// 128 random bits, so that two reports never share a key by chance.
Result<std::string> RandomKey() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
    return Fail(ErrorCode::kSystem, "no random numbers from the system");
  }
  std::string key;
  for (unsigned char byte : bytes) {
    constexpr char kHex[] = "0123456789abcdef";
    key += {kHex[byte >> 4], kHex[byte & 15]};
  }
  return key;
}

// To the agent around, or to an account of a state folder.
Result<Reply> Send(const std::variant<Target, Account>& to, const std::string& body,
                   const wire::Headers& headers) {
  if (const Target* around = std::get_if<Target>(&to)) {
    return Call(*around, "POST", "/usage", body, headers);
  }
  return std::get<Account>(to).Call("POST", "/usage", body, headers);
}

Result<std::variant<Target, Account>> Addressee(const Flags& flags) {
  const std::optional<std::string_view> id = flags.Get("agent");
  if (id) return Account::Of(flags, *id, /*only_stored=*/true);
  if (flags.Get("state-dir")) {
    return Fail(ErrorCode::kInvalidArgument, "--state-dir needs --agent: which account?");
  }
  return SelfTarget();
}

int ReportCommand(const Flags& flags) {
  wire::JsonWriter json;
  json.BeginObject();
  AddCount(&json, flags, "tokens");
  AddCount(&json, flags, "requests");
  if (std::optional<std::string_view> cost = flags.Get("cost")) {
    json.Field("cost", FormatNanoDecimal(*ParseNanoDecimal(*cost)));
  }
  AddNumber(&json, flags, "cpu-seconds", "cpu_seconds");
  AddBytes(&json, flags, "memory", "memory_mb");
  AddBytes(&json, flags, "gpu-memory", "gpu_memory_mb");
  const std::string body = json.EndObject().Take();
  if (body == "{}") {
    return PrintError({ErrorCode::kInvalidArgument,
                       "report names no amount, allowed: at least one, like --tokens 1500"},
                      kExitUsage);
  }
  Result<std::variant<Target, Account>> to = Addressee(flags);
  if (!to) return PrintRefusal(to.error());
  std::string key(flags.Get("key").value_or(""));
  if (key.empty()) {
    Result<std::string> random = RandomKey();
    if (!random) return PrintError(random.error());
    key = *std::move(random);
  }
  const wire::Headers headers = {{"idempotency-key", '"' + key + '"'}};
  Result<Reply> reply = Send(*to, body, headers);
  // Whether a lost answer means a lost report nobody knows; with the key it is safe to ask again.
  if (!reply && reply.error().code == ErrorCode::kSystem) reply = Send(*to, body, headers);
  if (!reply) return PrintError(reply.error());
  Print(flags.Has("json") ? reply->text + "\n" : ReceiptText(reply->json));
  return kExitOk;
}

}  // namespace

extern constinit const Command kReportCommand = {
    .name = "report",
    .operands = {},
    .summary = "Tell what this agent used (from inside `mete run`), or a stored one",
    .details =
        "Counts at once, is never refused for a limit, and prints what remains.\n"
        "METE_SOCKET names the socket; `mete run` sets it. With --agent it counts for an\n"
        "account of a state folder (`mete quota create`).\n",
    .flags = kFlags,
    .main = ReportCommand,
};

}  // namespace mete::cli
