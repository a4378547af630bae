// `mete state verify|dump`: what a state folder holds, and whether it is whole.
#include <string>

#include "cli/command.h"
#include "cli/ledger.h"
#include "mete/store.h"
#include "server/ledger_json.h"
#include "store/verify.h"
#include "wire/json.h"

namespace mete::cli {
namespace {

constexpr Flag kVerifyFlags[] = {kStateDirFlag, {"json", "", "print a JSON object"}};
constexpr Flag kDumpFlags[] = {kStateDirFlag, {"json", "", "as without it: it is JSON"}};

void PrintWhole(const std::string& folder, const VerifyReport& report) {
  const auto number = [](std::uint64_t count) { return std::to_string(count); };
  Print(folder + ": whole: " + number(report.quotas) + " accounts, " + number(report.holds) +
        " holds, " + number(report.keys) + " keys, " + number(report.events) + " events; " +
        (report.mark.batch == 0 ? "nothing was ever written"
                                : "last written " + server::WallText(report.mark.wall_time)) +
        "\n");
}

void PrintJson(const std::string& folder, const VerifyReport& report) {
  const auto number = [](std::uint64_t count) { return static_cast<std::int64_t>(count); };
  wire::JsonWriter json;
  json.BeginObject().FieldBool("whole", report.problems.empty()).Field("ledger", folder);
  json.Key("problems").BeginArray();
  for (const std::string& problem : report.problems) json.String(problem);
  json.EndArray().Field("accounts", number(report.quotas)).Field("holds", number(report.holds));
  json.Field("keys", number(report.keys)).Field("events", number(report.events));
  json.Field("batch", number(report.mark.batch)).Key("written_at");
  report.mark.batch == 0 ? json.Null() : json.String(server::WallText(report.mark.wall_time));
  Print(json.EndObject().Take() + "\n");
}

int VerifyCommand(const Flags& flags) {
  const Result<std::string> folder = NeedStateDir(flags);
  if (!folder) return PrintRefusal(folder.error());
  if (Result<void> there = CheckStateDir(*folder); !there) return PrintError(there.error());
  const Result<VerifyReport> report = VerifyStore(*folder);
  if (!report) return PrintError(report.error());
  const bool is_whole = report->problems.empty();
  if (flags.Has("json")) {
    PrintJson(*folder, *report);
  } else if (is_whole) {
    PrintWhole(*folder, *report);
  }
  int status = kExitOk;
  for (const std::string& problem : report->problems) {
    status = PrintError({ErrorCode::kStoreUnavailable, problem, Duration(0)});
  }
  return status;
}

// The elements of all pages, printed as they come.
Result<void> DumpQuotas(Ledger& ledger) {
  const char* separator = "";
  for (std::string offset = "0"; !offset.empty();) {
    Result<Reply> page = ledger.Call(
        {.method = "GET", .path = "/v1/quotas?offset=" + offset, .is_repeatable = true});
    if (!page) return std::unexpected(page.error());
    offset = TextOf(page->json, "next");
    const std::size_t first = page->text.find('[') + 1;
    const std::string elements = page->text.substr(first, page->text.rfind(']') - first);
    if (elements.empty()) continue;
    Print(separator + elements);
    separator = ",";
  }
  return {};
}

Result<void> DumpEvents(Ledger& ledger) {
  const char* separator = "";
  for (std::string after = "0";;) {
    Result<Reply> page =
        ledger.Call({.method = "GET", .path = "/v1/events?after=" + after, .is_repeatable = true});
    if (!page) return std::unexpected(page.error());
    const std::size_t first = page->text.find('[') + 1;
    const std::string elements = page->text.substr(first, page->text.rfind(']') - first);
    if (!elements.empty()) Print(separator + elements), separator = ",";
    const std::string last = TextOf(page->json, "last");
    if (last == after || last.empty()) return {};
    after = last;
  }
}

int DumpCommand(const Flags& flags) {
  const Result<std::string> folder = NeedStateDir(flags);
  if (!folder) return PrintRefusal(folder.error());
  Result<Ledger> ledger = Ledger::Open(*folder);
  if (!ledger) return PrintError(ledger.error());
  Result<Reply> status =
      ledger->Call({.method = "GET", .path = "/v1/status", .is_repeatable = true});
  if (!status) return PrintError(status.error());
  Print("{\"status\":" + status->text + ",\"quotas\":[");
  if (Result<void> done = DumpQuotas(*ledger); !done) return PrintError(done.error());
  Print("],\"events\":[");
  if (Result<void> done = DumpEvents(*ledger); !done) return PrintError(done.error());
  Print("]}\n");
  return kExitOk;
}

}  // namespace

extern constinit const Command kStateVerifyCommand = {
    .name = "state verify",
    .operands = {},
    .summary = "Read a whole state folder, and tell whether anything is damaged",
    .details =
        "Says what is wrong and where the latest backup is (E2079). A folder that a\n"
        "process has open is refused (E2080): end that process first.\n",
    .flags = kVerifyFlags,
    .main = VerifyCommand,
};

extern constinit const Command kStateDumpCommand = {
    .name = "state dump",
    .operands = {},
    .summary = "Print the accounts and events of a state folder as one JSON object",
    .details = "From whoever has it open, or from the folder.\n",
    .flags = kDumpFlags,
    .main = DumpCommand,
};

}  // namespace mete::cli
