#include "store/sqlite_store.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/quote.h"
#include "store/backup.h"

namespace mete::store {
namespace {

// A log that is so many times as long, because it could not be brought in, grows no further.
constexpr std::int64_t kLogRatio = 4;

Failure EmptyThough(const std::string& path) {
  return {"the database is empty, or missing, though " + path + " is there", true};
}

Failure SystemFailure(const std::string& what, const std::string& path) {
  return {what + ": " + path + ": " + std::strerror(errno), false};
}

}  // namespace

Result<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& path,
                                                       const StoreOptions& options,
                                                       const Program& program) {
  Result<StateFolder> folder = StateFolder::Open(path);
  if (!folder) return std::unexpected(folder.error());
  std::unique_ptr<SqliteStore> store(new SqliteStore(std::move(*folder), options, program));
  if (const auto failed = store->Begin()) {
    store->database_.reset();
    return std::unexpected(store->ErrorOf(*failed));
  }
  return store;
}

SqliteStore::SqliteStore(StateFolder folder, const StoreOptions& options, const Program& program)
    : folder_(std::move(folder)),
      options_(options),
      program_(program),
      witness_(folder_.PathOf(kWitnessName)) {}

SqliteStore::~SqliteStore() { Close(); }

// An orderly end: all in one file, and now and then a copy of it.
void SqliteStore::Close() {
  if (!database_ || !database_->ok() || !is_loaded_) return;
  database_->Checkpoint(/*empty=*/true);
  witness_.Sync();
  if (!database_->ok() || acknowledged_.batch == 0 || !IsBackupDue(folder_)) return;
  // One that cannot be made is no reason to fail: the next close tries again.
  (void)MakeBackup(database_->connection(), folder_, kBackupName);
}

std::optional<Failure> SqliteStore::Begin() {
  // Before SQLite makes a new one, and removes the log of the old.
  if (const std::string left = LeftWithoutDatabase(folder_); !left.empty()) {
    return EmptyThough(left);
  }
  database_ = std::make_unique<LedgerDatabase>(LedgerDatabase::Unsettled::kIt,
                                               folder_.PathOf(kDatabaseName), options_.vfs);
  LedgerDatabase& database = *database_;
  if (auto failed = Establish(database)) return failed;
  database.RewriteLog();
  if (!database.ok()) return database.connection().failure();
  if (auto failed = CompareWithWitness(database)) return failed;
  acknowledged_ = {database.mark().mark.batch, database.mark().sum};
  if (!witness_.Found(acknowledged_, folder_.fd())) {
    return SystemFailure("cannot be used: its witness", witness_.path());
  }
  return std::nullopt;
}

// Makes the tables, or brings them forward, or finds that they are ours.
std::optional<Failure> SqliteStore::Establish(LedgerDatabase& database) {
  Connection& connection = database.connection();
  if (connection.ok() && IsNewDatabase(connection)) {
    // One that names batch 0 outlived a loss of power before anything could be written.
    const bool was_used =
        witness_.finding() == Witness::Finding::kDamaged ||
        (witness_.finding() == Witness::Finding::kGood && witness_.testimony().batch != 0);
    if (was_used) return EmptyThough(witness_.path());
    CreateTables(connection);
    if (connection.ok()) {
      Statement put(connection, LedgerStatements::kPutMark);
      RowWriter row(put, kMarkSeed);
      MarkRow mark;
      WriteMark(row, mark);
    }
    connection.Run("COMMIT");
    database.Checkpoint(/*empty=*/true);
  }
  const int version = connection.ok() ? VersionOf(connection, program_.newest) : 0;
  if (connection.ok() && version < program_.newest) {
    const std::string name = "ledger.v" + std::to_string(version) + ".backup";
    if (auto failed = CopyAsItIs(connection, folder_, name.c_str())) return failed;
    BringForward(connection, version, program_.newest, program_.upgrades);
  }
  if (connection.ok()) CheckTables(connection);
  database.Settle();
  return database.ok() ? std::nullopt : std::optional(connection.failure());
}

std::optional<Failure> SqliteStore::CompareWithWitness(const LedgerDatabase& database) {
  const MarkRow& mark = database.mark();
  const std::string& path = witness_.path();
  switch (witness_.finding()) {
    case Witness::Finding::kDamaged:
      return Failure{"the file is not as it was written: " + path, true};
    case Witness::Finding::kNone:
      if (mark.mark.batch == 0 || mark.is_copy) return std::nullopt;
      return Failure{"the file is missing: " + path, true};
    case Witness::Finding::kGood: break;
  }
  const Testimony& said = witness_.testimony();
  if (said.batch > mark.mark.batch) {
    return Failure{"the last batches are missing: the database ends with batch " +
                       std::to_string(mark.mark.batch) + ", and batch " +
                       std::to_string(said.batch) + " was written",
                   true};
  }
  if (said.batch == mark.mark.batch && said.sum != mark.sum) {
    return Failure{"batch " + std::to_string(said.batch) + " is not the one that was written",
                   true};
  }
  return std::nullopt;
}

std::optional<Failure> SqliteStore::Reopen() {
  if (database_) return std::nullopt;
  auto database = std::make_unique<LedgerDatabase>(folder_.PathOf(kDatabaseName), options_.vfs);
  database->RewriteLog();
  if (!database->ok()) return database->connection().failure();
  const MarkRow& mark = database->mark();
  const bool is_known = mark.mark.batch == acknowledged_.batch && mark.sum == acknowledged_.sum;
  // The batch that failed may be there after all.
  if (!is_known && mark.mark.batch != acknowledged_.batch + 1) {
    return Failure{"the database ends with batch " + std::to_string(mark.mark.batch) +
                       " that is not the one which was written as batch " +
                       std::to_string(acknowledged_.batch),
                   true};
  }
  database_ = std::move(database);
  return std::nullopt;
}

Result<StoredMark> SqliteStore::Load(const StoreVisitor& visitor, std::size_t events) {
  if (const auto failed = Reopen()) return std::unexpected(ErrorOf(*failed));
  const Result<void> visited = database_->Load(visitor, events);
  if (!database_->ok()) {
    const Failure failure = database_->connection().failure();
    database_.reset();
    return std::unexpected(ErrorOf(failure));
  }
  if (!visited) return std::unexpected(visited.error());
  is_loaded_ = true;
  return database_->mark().mark;
}

std::optional<Failure> SqliteStore::BringUp() {
  database_->Checkpoint(/*empty=*/false);
  if (database_->ok()) return std::nullopt;
  const Failure failure = database_->connection().failure();
  database_.reset();
  return failure;
}

Result<void> SqliteStore::Write(const StoreBatch& batch) {
  METE_CHECK(is_loaded_);
  METE_CHECK(batch.mark.batch >= 1);
  METE_CHECK(batch.mark.batch - acknowledged_.batch <= 1);
  std::optional<Failure> failed = Reopen();
  if (!failed && database_->log_bytes() >= kLogRatio * program_.checkpoint_bytes)
    failed = BringUp();
  if (failed) return std::unexpected(ErrorOf(*failed));
  database_->Write(batch, options_.events_kept);
  if (!database_->ok()) {
    const Failure failure = database_->connection().failure();
    // What SQLite thinks is on disk may not be, after a sync that failed: nothing goes on from it.
    database_.reset();
    return std::unexpected(ErrorOf(failure));
  }
  acknowledged_ = {database_->mark().mark.batch, database_->mark().sum};
  witness_.Write(acknowledged_);
  return {};
}

// Keeps the log within its bound; one that cannot be brought in is no harm until it is too long.
void SqliteStore::CatchUp() {
  if (database_ && database_->log_bytes() >= program_.checkpoint_bytes) (void)BringUp();
}

Error SqliteStore::ErrorOf(const Failure& failure) const {
  std::string text = failure.is_damage ? "the state is damaged: " : "the state ";
  text += failure.text + ": in " + Quoted(folder_.path());
  if (failure.is_damage) text += LatestBackupText(folder_);
  return {ErrorCode::kStoreUnavailable, std::move(text)};
}

}  // namespace mete::store

namespace mete {

Result<std::unique_ptr<Store>> OpenStore(const std::string& folder, const StoreOptions& options) {
  return store::SqliteStore::Open(folder, options, store::Program());
}

}  // namespace mete
