// The store in a folder: a database, its log, and a witness of what both must hold.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "mete/store.h"
#include "store/ledger_database.h"
#include "store/schema.h"
#include "store/state_folder.h"
#include "store/witness.h"

namespace mete::store {

// What this program is, as far as its databases go; a test is another one.
struct Program {
  int newest = kSchemaVersion;
  std::span<const Upgrade> upgrades{};
  // When the log is brought into the database file. Larger, and a start after a crash reads more,
  // and the checkpoint holds the next batch up for longer; smaller, and pages that change with each
  // flush are written twice each time.
  std::int64_t checkpoint_bytes = 16 << 20;
};

class SqliteStore final : public Store {
 public:
  static Result<std::unique_ptr<SqliteStore>> Open(const std::string& path,
                                                   const StoreOptions& options,
                                                   const Program& program);
  ~SqliteStore() override;

  Result<StoredMark> Load(const StoreVisitor& visitor, std::size_t events) override;
  Result<void> Write(const StoreBatch& batch) override;
  void CatchUp() override;
  const std::string& name() const override { return folder_.path(); }

  // What verify asks beside Load. REQUIRES: Load succeeded.
  LedgerDatabase& database() noexcept { return *database_; }

 private:
  SqliteStore(StateFolder folder, const StoreOptions& options, const Program& program);

  std::optional<Failure> Begin();
  std::optional<Failure> Establish(LedgerDatabase& database);
  std::optional<Failure> CompareWithWitness(const LedgerDatabase& database);
  std::optional<Failure> Reopen();
  std::optional<Failure> BringUp();
  void Close();
  Error ErrorOf(const Failure& failure) const;

  const StateFolder folder_;
  const StoreOptions options_;
  const Program program_;
  Witness witness_;
  std::unique_ptr<LedgerDatabase> database_;  // null after a failure
  Testimony acknowledged_;
  bool is_loaded_ = false;
};

}  // namespace mete::store
