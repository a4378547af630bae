#include "store/ledger_database.h"

#include <algorithm>

#include "base/check.h"
#include "base/quote.h"
#include "store/schema.h"

namespace mete::store {
namespace {

int CountLogPages(void* pages, sqlite3*, const char*, int count) {
  *static_cast<std::int64_t*>(pages) = count;
  return SQLITE_OK;
}

void Replace(TableStatements& table, TableTotal& total, auto&& bind_key, auto&& write) {
  bind_key(table.sum);
  if (table.sum.Step()) total.Drop(static_cast<std::uint64_t>(table.sum.Int(0)));
  table.sum.Reset();
  total.Add(write(table.put));
}

void Remove(TableStatements& table, TableTotal& total, auto&& bind_key) {
  bind_key(table.drop);
  if (table.drop.Step()) total.Drop(static_cast<std::uint64_t>(table.drop.Int(0)));
  table.drop.Run();
}

}  // namespace

LedgerDatabase::LedgerDatabase(const std::string& path, const std::string& vfs)
    : LedgerDatabase(Unsettled::kIt, path, vfs) {
  if (!ok()) return;
  CheckTables(connection_);
  Settle();
}

LedgerDatabase::LedgerDatabase(Unsettled, const std::string& path, const std::string& vfs)
    : connection_(path, vfs, /*must_exist=*/false) {
  // Before the first access, so that there is no memory shared with others: the log's index is
  // ours.
  connection_.Run("PRAGMA locking_mode = EXCLUSIVE");
  connection_.Run("PRAGMA page_size = 8192");
  if (const std::string mode = connection_.RunForText("PRAGMA journal_mode = WAL");
      ok() && mode != "wal") {
    connection_.Unavailable("cannot be used with a log: its mode is " + mode);
  }
  connection_.Run("PRAGMA synchronous = FULL");
  connection_.Run("PRAGMA wal_autocheckpoint = 0");
  connection_.Run("PRAGMA cell_size_check = ON");
  // Debian builds it so that what is replaced is overwritten with zeros first.
  connection_.Run("PRAGMA secure_delete = OFF");
  connection_.Run("PRAGMA temp_store = MEMORY");
  connection_.Run("PRAGMA mmap_size = 0");
  // KiB. A flush of 100,000 accounts changes about 12 MB of pages.
  connection_.Run("PRAGMA cache_size = -32768");
  // After a large batch the log's file shrinks to this again.
  connection_.Run("PRAGMA journal_size_limit = 33554432");
}

void LedgerDatabase::Settle() {
  if (!ok()) return;
  statements_.emplace(connection_);
  sqlite3_wal_hook(connection_.get(), CountLogPages, &log_pages_);
  Statement read(connection_, "SELECT * FROM mark");
  if (!read.Step()) {
    if (ok()) connection_.Damaged("table mark: its row is missing");
    return;
  }
  RowReader row(read, kMarkSeed);
  if (!ReadMark(row, mark_)) connection_.Damaged("table mark: its row is not as it was written");
}

void LedgerDatabase::Compare(const char* table, const TableTotal& found,
                             const TableTotal& expected) {
  if (!ok() || found == expected) return;
  connection_.Damaged(std::string("table ") + table + ": its rows are not those of batch " +
                      std::to_string(mark_.mark.batch) + ": there are " +
                      std::to_string(found.rows) + ", and should be " +
                      std::to_string(expected.rows));
}

Result<void> LedgerDatabase::Load(const StoreVisitor& visitor, std::size_t events) {
  Result<void> visited;
  LoadQuotas(visitor, visited);
  if (visited) LoadStates(visitor, visited);
  if (visited) LoadHolds(visitor, visited);
  if (visited) LoadKeys(visitor, visited);
  if (visited) LoadEvents(visitor, events, visited);
  return visited;
}

void LedgerDatabase::LoadQuotas(const StoreVisitor& visitor, Result<void>& visited) {
  Statement read(connection_, "SELECT * FROM quotas ORDER BY slot");
  TextCache texts;
  TableTotal found;
  StoredQuota quota;
  while (read.Step()) {
    RowReader row(read, kQuotaSeed);
    if (!ReadQuota(row, texts, quota)) {
      return connection_.Damaged("table quotas: the row of slot " + std::to_string(read.Int(0)) +
                                 " is not as it was written");
    }
    found.Add(row.sum());
    if (!visitor.quota) continue;
    if (visited = visitor.quota(quota); !visited) return;
  }
  Compare("quotas", found, mark_.quotas);
}

void LedgerDatabase::LoadStates(const StoreVisitor& visitor, Result<void>& visited) {
  Statement read(connection_, "SELECT * FROM usage");
  TableTotal found;
  StatePage page;
  while (read.Step()) {
    RowReader row(read, kUsageSeed);
    const std::int64_t first = row.Int();
    const bool is_page = page.Parse(row.Blob());
    if (!row.IsAsWritten() || !is_page) {
      return connection_.Damaged("table usage: the row from slot " + std::to_string(first) +
                                 " is not as it was written");
    }
    found.Add(row.sum());
    for (std::uint32_t i = 0; visitor.state && i < StatePage::kSlots; ++i) {
      if (!page[i]) continue;
      if (visited = visitor.state(static_cast<AccountSlot>(first) + i, *page[i]); !visited) return;
    }
  }
  Compare("usage", found, mark_.usage);
}

void LedgerDatabase::LoadHolds(const StoreVisitor& visitor, Result<void>& visited) {
  Statement read(connection_, "SELECT * FROM holds ORDER BY id");
  TableTotal found;
  StoredHold hold;
  while (read.Step()) {
    RowReader row(read, kHoldSeed);
    if (!ReadHold(row, hold)) {
      return connection_.Damaged("table holds: the row of hold " + std::to_string(read.Int(0)) +
                                 " is not as it was written");
    }
    found.Add(row.sum());
    if (!visitor.hold) continue;
    if (visited = visitor.hold(hold); !visited) return;
  }
  Compare("holds", found, mark_.holds);
}

void LedgerDatabase::LoadKeys(const StoreVisitor& visitor, Result<void>& visited) {
  Statement read(connection_, "SELECT * FROM keys ORDER BY time_ns");
  TableTotal found;
  StoredKey key;
  while (read.Step()) {
    RowReader row(read, kKeySeed);
    if (!ReadKey(row, key)) {
      return connection_.Damaged("table keys: the row of key " + Quoted(key.key) +
                                 " is not as it was written");
    }
    found.Add(row.sum());
    if (!visitor.key) continue;
    if (visited = visitor.key(key); !visited) return;
  }
  Compare("keys", found, mark_.keys);
}

void LedgerDatabase::LoadEvents(const StoreVisitor& visitor, std::size_t events,
                                Result<void>& visited) {
  const auto wanted = static_cast<std::int64_t>(
      std::min<std::uint64_t>(events, static_cast<std::uint64_t>(mark_.events.rows)));
  if (wanted == 0) return;
  std::int64_t before = std::numeric_limits<std::int64_t>::min();
  std::uint64_t chain = mark_.events.before;
  if (wanted < mark_.events.rows) {
    Statement seek(connection_,
                   "SELECT number, sum FROM events ORDER BY number DESC LIMIT 1 OFFSET ?");
    if (seek.Bind(1, wanted).Step()) {
      before = seek.Int(0);
      chain = static_cast<std::uint64_t>(seek.Int(1));
    }
  }
  Statement read(connection_, "SELECT * FROM events WHERE number > ? ORDER BY number");
  read.Bind(1, before);
  std::int64_t found = 0;
  Event event;
  for (; read.Step(); ++found) {
    RowReader row(read, chain);
    if (!ReadEvent(row, event)) {
      return connection_.Damaged("table events: the row of event " + std::to_string(read.Int(0)) +
                                 " is not as it was written, or one before it is missing");
    }
    chain = row.sum();
    if (!visitor.event) continue;
    if (visited = visitor.event(event); !visited) return;
  }
  if (ok() && (found != wanted || chain != mark_.events.last)) {
    connection_.Damaged("table events: the last event is not that of batch " +
                        std::to_string(mark_.mark.batch));
  }
}

void LedgerDatabase::Write(const StoreBatch& batch, std::uint64_t events_kept) {
  if (!ok()) return;
  MarkRow mark = mark_;
  statements_->begin.Run();
  WriteQuotas(batch, mark.quotas);
  WriteStates(batch, mark.usage);
  WriteHolds(batch, mark.holds);
  WriteKeys(batch, mark.keys);
  WriteEvents(batch, events_kept, mark.events);
  mark.mark = batch.mark;
  mark.is_copy = false;
  RowWriter row(statements_->put_mark, kMarkSeed);
  if (ok()) mark.sum = WriteMark(row, mark);
  statements_->commit.Run();
  if (ok()) mark_ = mark;
}

void LedgerDatabase::WriteMarkRow(MarkRow mark) {
  if (!ok()) return;
  RowWriter row(statements_->put_mark, kMarkSeed);
  mark.sum = WriteMark(row, mark);
  if (ok()) mark_ = mark;
}

void LedgerDatabase::WriteQuotas(const StoreBatch& batch, TableTotal& total) {
  TableStatements& table = statements_->quotas;
  for (const AccountSlot slot : batch.removed) {
    Remove(table, total, [&](Statement& statement) { statement.Bind(1, slot); });
  }
  for (const StoredQuota& quota : batch.quotas) {
    if (!ok()) return;
    Replace(
        table, total, [&](Statement& statement) { statement.Bind(1, quota.slot); },
        [&](Statement& put) {
          RowWriter row(put, kQuotaSeed);
          return WriteQuota(row, quota);
        });
  }
}

void LedgerDatabase::WriteStates(const StoreBatch& batch, TableTotal& total) {
  edits_.clear();
  for (const AccountSlot slot : batch.removed) edits_.push_back({slot, false, {}});
  std::string_view bytes = batch.states.bytes;
  for (const StoredStates::Size& size : batch.states.sizes) {
    METE_CHECK(size.bytes <= bytes.size());
    edits_.push_back({size.slot, true, bytes.substr(0, size.bytes)});
    bytes.remove_prefix(size.bytes);
  }
  const auto before = [](const StateEdit& a, const StateEdit& b) {
    return a.slot != b.slot ? a.slot < b.slot : a.is_set < b.is_set;
  };
  if (!std::ranges::is_sorted(edits_, before)) std::ranges::sort(edits_, before);
  for (std::size_t begin = 0; begin < edits_.size() && ok();) {
    const std::int64_t first = edits_[begin].slot / StatePage::kSlots * StatePage::kSlots;
    std::size_t end = begin;
    while (end < edits_.size() && edits_[end].slot < first + StatePage::kSlots) ++end;
    WritePage(first, edits_, begin, end, total);
    begin = end;
  }
}

void LedgerDatabase::WritePage(std::int64_t first_slot, const std::vector<StateEdit>& edits,
                               std::size_t begin, std::size_t end, TableTotal& total) {
  TableStatements& table = statements_->usage;
  StatePage page;
  const bool was_there = table.sum.Bind(1, first_slot).Step();
  if (was_there) {
    RowReader row(table.sum, kUsageSeed);
    row.Int();
    const bool is_page = page.Parse(row.Blob());
    if (!row.IsAsWritten() || !is_page) {
      connection_.Damaged("table usage: the row from slot " + std::to_string(first_slot) +
                          " is not as it was written");
    }
    total.Drop(row.sum());
  }
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t index = edits[i].slot % StatePage::kSlots;
    if (edits[i].is_set)
      page.Set(index, edits[i].state);
    else
      page.Erase(index);
  }
  page_value_.clear();
  page.AppendTo(page_value_);
  table.sum.Reset();
  if (!ok()) return;
  if (page.empty()) {
    if (was_there) table.drop.Bind(1, first_slot).Run();
    return;
  }
  RowWriter row(table.put, kUsageSeed);
  row.Int(first_slot);
  row.Blob(page_value_);
  total.Add(row.Write());
}

void LedgerDatabase::WriteHolds(const StoreBatch& batch, TableTotal& total) {
  TableStatements& table = statements_->holds;
  for (const StoredHold& hold : batch.holds) {
    if (!ok()) return;
    const auto id = static_cast<std::int64_t>(hold.id);
    Replace(
        table, total, [&](Statement& statement) { statement.Bind(1, id); },
        [&](Statement& put) {
          RowWriter row(put, kHoldSeed);
          return WriteHold(row, hold);
        });
  }
  for (const std::uint64_t id : batch.ended_holds) {
    Remove(table, total,
           [&](Statement& statement) { statement.Bind(1, static_cast<std::int64_t>(id)); });
  }
}

void LedgerDatabase::WriteKeys(const StoreBatch& batch, TableTotal& total) {
  TableStatements& table = statements_->keys;
  const auto bind = [](const StoredKey& key) {
    return [&key](Statement& statement) {
      statement.Bind(1, key.account);
      const char* bytes = key.key.c_str();
      sqlite3_bind_text(statement.get(), 2, bytes, static_cast<int>(key.key.size()), SQLITE_STATIC);
    };
  };
  for (const StoredKey& key : batch.keys) {
    if (!ok()) return;
    Replace(table, total, bind(key), [&](Statement& put) {
      RowWriter row(put, kKeySeed);
      return WriteKey(row, key);
    });
  }
  for (const StoredKey& key : batch.ended_keys) Remove(table, total, bind(key));
}

void LedgerDatabase::WriteEvents(const StoreBatch& batch, std::uint64_t kept, EventTotal& total) {
  if (batch.events.empty()) return;
  std::uint64_t last = 0;
  if (statements_->last_event.Step()) {
    last = static_cast<std::uint64_t>(statements_->last_event.Int(0));
  }
  statements_->last_event.Reset();
  for (const Event& event : batch.events) {
    // Written already by a batch that was taken for failed.
    if (event.sequence <= last) continue;
    if (!ok()) return;
    RowWriter row(statements_->put_event, total.last);
    total.last = WriteEvent(row, event);
    ++total.rows;
  }
  const auto limit = static_cast<std::int64_t>(
      std::min<std::uint64_t>(kept, std::numeric_limits<std::int64_t>::max()));
  if (total.rows <= limit) return;
  // Where fewer are to be kept than before, no single batch pays for all of them.
  constexpr std::int64_t kSpare = 1000;
  const auto added = static_cast<std::int64_t>(batch.events.size());
  DropEvents(std::min(total.rows - limit, 2 * added + kSpare), total);
}

void LedgerDatabase::DropEvents(std::int64_t rows, EventTotal& total) {
  Statement& seek = statements_->nth_event;
  if (!seek.Bind(1, rows - 1).Step()) {
    if (ok()) connection_.Damaged("table events: events are missing");
    return;
  }
  const std::int64_t last = seek.Int(0);
  total.before = static_cast<std::uint64_t>(seek.Int(1));
  total.rows -= rows;
  seek.Reset();
  statements_->drop_events.Bind(1, last).Run();
}

void LedgerDatabase::Checkpoint(bool empty) {
  if (!ok()) return;
  int in_log = 0, done = 0;
  const int code = sqlite3_wal_checkpoint_v2(
      connection_.get(), nullptr, empty ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE,
      &in_log, &done);
  if (!connection_.Take(code, "brought up to its log")) return;
  log_pages_ = in_log - done;
}

void LedgerDatabase::RewriteLog() {
  if (!ok()) return;
  sqlite3_file* log = nullptr;
  sqlite3_int64 bytes = 0;
  if (!connection_.Take(
          sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log),
          "used") ||
      log == nullptr || log->pMethods == nullptr ||
      !connection_.Take(log->pMethods->xFileSize(log, &bytes), "read") || bytes == 0) {
    return;
  }
  // SQLite cuts a write to the 17 bits of its length: one of 128 KiB, or a multiple, is one of
  // none.
  constexpr sqlite3_int64 kChunk = 1 << 16;
  std::string chunk;
  for (sqlite3_int64 at = 0; at < bytes && ok(); at += kChunk) {
    chunk.resize(static_cast<std::size_t>(std::min(kChunk, bytes - at)));
    const int size = static_cast<int>(chunk.size());
    if (connection_.Take(log->pMethods->xRead(log, chunk.data(), size, at), "read")) {
      connection_.Take(log->pMethods->xWrite(log, chunk.data(), size, at), "written");
    }
  }
  if (ok()) connection_.Take(log->pMethods->xSync(log, SQLITE_SYNC_NORMAL), "synced");
  // Until it is checkpointed nobody counts its pages.
  log_pages_ = std::max<std::int64_t>(log_pages_, bytes / kPageBytes);
}

}  // namespace mete::store
