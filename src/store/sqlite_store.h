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
struct Versions {
  int newest = kSchemaVersion;
  std::span<const Upgrade> upgrades{};
};

class SqliteStore final : public Store {
 public:
  static Result<std::unique_ptr<SqliteStore>> Open(const std::string& path,
                                                   const StoreOptions& options,
                                                   const Versions& versions);
  ~SqliteStore() override;

  Result<StoredMark> Load(const StoreVisitor& visitor, std::size_t events) override;
  Result<void> Write(const StoreBatch& batch) override;
  const std::string& name() const override { return folder_.path(); }

  // What verify asks beside Load. REQUIRES: Load succeeded.
  LedgerDatabase& database() noexcept { return *database_; }

 private:
  SqliteStore(StateFolder folder, const StoreOptions& options);

  std::optional<Failure> Begin(const Versions& versions);
  std::optional<Failure> Establish(LedgerDatabase& database, const Versions& versions);
  std::optional<Failure> CompareWithWitness(const LedgerDatabase& database);
  std::optional<Failure> Reopen();
  std::optional<Failure> BringUp();
  void Close();
  Error ErrorOf(const Failure& failure) const;

  const StateFolder folder_;
  const StoreOptions options_;
  Witness witness_;
  std::unique_ptr<LedgerDatabase> database_;  // null after a failure
  Testimony acknowledged_;
  bool is_loaded_ = false;
};

}  // namespace mete::store
