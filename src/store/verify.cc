#include "store/verify.h"

#include <sys/stat.h>

#include <cerrno>
#include <limits>

#include "base/quote.h"
#include "store/backup.h"
#include "store/sqlite_store.h"

namespace mete {
namespace {

// The structure of the file: what no row shows, such as the list of its free pages.
void CheckPages(store::Connection& connection, VerifyReport& report) {
  constexpr const char* kGood = "ok";
  store::Statement check(connection, "PRAGMA integrity_check(10)");
  while (check.Step()) {
    const unsigned char* text = sqlite3_column_text(check.get(), 0);
    const std::string line = text == nullptr ? "" : reinterpret_cast<const char*>(text);
    if (line != kGood) report.problems.push_back("pages of the database: " + line);
  }
  if (!connection.ok()) report.problems.push_back(connection.failure().text);
}

}  // namespace

bool HoldsLedger(const std::string& folder) {
  for (const char* name :
       {store::kDatabaseName, store::kLogName, store::kWitnessName, store::kBackupName}) {
    struct stat found{};
    // What cannot be told is told by opening it.
    if (stat((folder + "/" + name).c_str(), &found) == 0 || errno != ENOENT) return true;
  }
  return false;
}

Result<VerifyReport> VerifyStore(const std::string& folder, const StoreOptions& options) {
  // A folder that is not there would be made, and a database in it.
  if (!HoldsLedger(folder)) {
    return Fail(ErrorCode::kStoreUnavailable, "there is no state in the folder: " + Quoted(folder));
  }
  VerifyReport report;
  auto opened = store::SqliteStore::Open(folder, options, store::Program());
  if (!opened) {
    if (opened.error().code != ErrorCode::kStoreUnavailable) {
      return std::unexpected(opened.error());
    }
    report.problems.push_back(opened.error().message);
    return report;
  }
  store::SqliteStore& store = **opened;
  StoreVisitor visitor;
  const auto count = [](std::uint64_t& number) {
    ++number;
    return Result<void>();
  };
  visitor.quota = [&](StoredQuota&) { return count(report.quotas); };
  visitor.state = [&](AccountSlot, std::string_view) { return count(report.states); };
  visitor.hold = [&](StoredHold&) { return count(report.holds); };
  visitor.key = [&](StoredKey&) { return count(report.keys); };
  visitor.event = [&](Event&) { return count(report.events); };
  const auto mark = store.Load(visitor, std::numeric_limits<std::size_t>::max());
  if (!mark) {
    report.problems.push_back(mark.error().message);
    return report;
  }
  report.mark = *mark;
  CheckPages(store.database().connection(), report);
  return report;
}

}  // namespace mete
