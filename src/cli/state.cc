// `mete state verify|dump`: what a state folder holds, and whether it is whole.
#include <string>

#include "cli/command.h"
#include "cli/ledger.h"
#include "mete/store.h"
#include "server/ledger_json.h"
#include "wire/json.h"

namespace mete::cli {
namespace {

constexpr Flag kVerifyFlags[] = {kStateDirFlag, {"json", "", "print a JSON object"}};
constexpr Flag kDumpFlags[] = {kStateDirFlag, {"json", "", "as without it: it is JSON"}};

struct Counts {
  std::int64_t accounts = 0, holds = 0, keys = 0, events = 0;
  StoredMark mark{};
};

// Reads everything, which checks all of it.
Result<Counts> ReadAll(const std::string& folder) {
  Result<std::unique_ptr<Store>> store = OpenStore(folder);
  if (!store) return std::unexpected(store.error());
  Counts counts;
  const auto count = [](std::int64_t* number) {
    return [number](const auto&) -> Result<void> {
      ++*number;
      return {};
    };
  };
  StoreVisitor visitor;
  visitor.quota = count(&counts.accounts);
  visitor.state = [](AccountSlot, std::string_view) -> Result<void> { return {}; };
  visitor.hold = count(&counts.holds);
  visitor.key = count(&counts.keys);
  visitor.event = count(&counts.events);
  Result<StoredMark> mark = (*store)->Load(visitor, static_cast<std::size_t>(-1));
  if (!mark) return std::unexpected(mark.error());
  counts.mark = *std::move(mark);
  return counts;
}

void PrintCounts(const std::string& folder, const Counts& counts, bool as_json) {
  const std::string written = server::WallText(counts.mark.wall_time);
  wire::JsonWriter json;
  json.BeginObject().FieldBool("whole", true).Field("ledger", folder);
  json.Field("accounts", counts.accounts).Field("holds", counts.holds).Field("keys", counts.keys);
  json.Field("events", counts.events);
  json.Field("batch", static_cast<std::int64_t>(counts.mark.batch)).Key("written_at");
  counts.mark.batch == 0 ? json.Null() : json.String(written);
  const std::string text = json.EndObject().Take();
  if (as_json) {
    Print(text + "\n");
    return;
  }
  Print(folder + ": whole: " + std::to_string(counts.accounts) + " accounts, " +
        std::to_string(counts.holds) + " holds, " + std::to_string(counts.keys) + " keys, " +
        std::to_string(counts.events) + " events; " +
        (counts.mark.batch == 0 ? "nothing was ever written" : "last written " + written) + "\n");
}

int VerifyCommand(const Flags& flags) {
  const Result<std::string> folder = NeedStateDir(flags);
  if (!folder) return PrintRefusal(folder.error());
  if (Result<void> there = CheckStateDir(*folder); !there) return PrintError(there.error());
  const Result<Counts> counts = ReadAll(*folder);
  if (!counts) return PrintError(counts.error());
  PrintCounts(*folder, *counts, flags.Has("json"));
  return kExitOk;
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
