// The database of a state folder through one connection: batches go in, everything comes out, and
// the mark says whether it is everything.
//
// Nothing is remembered beside the mark, so that a connection which failed is closed and forgotten,
// and another one goes on from what is in the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/store.h"
#include "store/connection.h"
#include "store/ledger_statements.h"
#include "store/rows.h"
#include "store/state_page.h"

namespace mete::store {

class LedgerDatabase {
 public:
  // A database whose tables are ours, with its log in use and its mark read. Asked for with ok().
  LedgerDatabase(const std::string& path, const std::string& vfs);

  // Opens the file as it is; the tables are looked at by others, and then Settle goes on.
  enum class Unsettled { kIt };
  LedgerDatabase(Unsettled, const std::string& path, const std::string& vfs);
  void Settle();

  bool ok() const noexcept { return connection_.ok(); }
  Connection& connection() noexcept { return connection_; }
  const MarkRow& mark() const noexcept { return mark_; }

  // Everything to the visitor; an error is the visitor's own. Whether it was all there is ok().
  Result<void> Load(const StoreVisitor& visitor, std::size_t events);

  // One transaction, on disk if ok().
  void Write(const StoreBatch& batch, std::uint64_t events_kept);
  // The row of the mark, in a transaction of its own; its sum is found.
  void WriteMarkRow(MarkRow mark);

  // Bytes of the log that are not in the database file yet.
  std::int64_t log_bytes() const noexcept { return log_pages_ * kPageBytes; }
  // Brings the log into the database file; with `empty`, the log is cut to nothing then.
  void Checkpoint(bool empty);
  // Writes what the log holds once more, and syncs it. After a sync that failed the kernel may take
  // pages for clean which never reached the disk: what is read back is then there only until the
  // power goes, and a later commit behind it with it.
  void RewriteLog();

  static constexpr std::int64_t kPageBytes = 8192;

 private:
  struct StateEdit {
    AccountSlot slot;
    bool is_set;  // otherwise removed; sorts first
    std::string_view state;
  };

  void LoadQuotas(const StoreVisitor& visitor, Result<void>& visited);
  void LoadStates(const StoreVisitor& visitor, Result<void>& visited);
  void LoadHolds(const StoreVisitor& visitor, Result<void>& visited);
  void LoadKeys(const StoreVisitor& visitor, Result<void>& visited);
  void LoadEvents(const StoreVisitor& visitor, std::size_t events, Result<void>& visited);
  void Compare(const char* table, const TableTotal& found, const TableTotal& expected);

  void WriteQuotas(const StoreBatch& batch, TableTotal& total);
  void WriteStates(const StoreBatch& batch, TableTotal& total);
  void WritePage(std::int64_t first_slot, const std::vector<StateEdit>& edits, std::size_t begin,
                 std::size_t end, TableTotal& total);
  void WriteHolds(const StoreBatch& batch, TableTotal& total);
  void WriteKeys(const StoreBatch& batch, TableTotal& total);
  void WriteEvents(const StoreBatch& batch, std::uint64_t kept, EventTotal& total);
  void DropEvents(std::int64_t rows, EventTotal& total);

  Connection connection_;
  std::optional<LedgerStatements> statements_;
  MarkRow mark_;
  std::int64_t log_pages_ = 0;
  std::vector<StateEdit> edits_;  // kept for their capacity
  std::string page_value_;
};

}  // namespace mete::store
