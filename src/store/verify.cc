#include "store/verify.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "base/quote.h"
#include "store/backup.h"
#include "store/sqlite_store.h"

namespace mete {
namespace {

// A folder that is not there would be made, and a database in it.
Result<void> CheckThatItIsThere(const std::string& folder) {
  const std::string path = folder + "/" + store::kDatabaseName;
  struct stat found{};
  if (stat(path.c_str(), &found) == 0) return {};
  return Fail(ErrorCode::kStoreUnavailable,
              std::string("there is no state: ") + std::strerror(errno) + ": " + Quoted(path));
}

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

Result<VerifyReport> VerifyStore(const std::string& folder, const StoreOptions& options) {
  if (Result<void> there = CheckThatItIsThere(folder); !there) {
    return std::unexpected(there.error());
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
