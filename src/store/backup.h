// Copies of the database beside it, for when it is damaged: made whole under another name, checked,
// and only then renamed, so that a file which is named a backup is one.
#pragma once

#include <optional>
#include <string>

#include "mete/clock.h"
#include "store/connection.h"
#include "store/state_folder.h"

namespace mete::store {

inline constexpr const char* kDatabaseName = "ledger.db";
inline constexpr const char* kLogName = "ledger.db-wal";
inline constexpr const char* kWitnessName = "ledger.mark";
inline constexpr const char* kBackupName = "ledger.backup";
inline constexpr Duration kBackupAge = std::chrono::hours(24);

// Copies what `from` holds as it is, of whatever version.
std::optional<Failure> CopyAsItIs(Connection& from, const StateFolder& folder, const char* name);

// The same of a database whose tables are ours; checks every row of the copy, and marks it as one,
// so that it is taken up without a witness.
std::optional<Failure> MakeBackup(Connection& from, const StateFolder& folder, const char* name);

// Whether the daily backup is older than kBackupAge, or missing.
bool IsBackupDue(const StateFolder& folder);

// What outlived a database that is missing, or empty: its log or its backup. Else an empty string.
std::string LeftWithoutDatabase(const StateFolder& folder);

// "; the latest backup is PATH of DATE", "; there is no backup".
std::string LatestBackupText(const StateFolder& folder);

}  // namespace mete::store
