#include "store/connection.h"

#include <sys/stat.h>

#include <cstring>

namespace mete::store {
namespace {

// How long the first access waits for somebody who reads with another program.
constexpr int kBusyMilliseconds = 500;

bool IsDamage(int code) {
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT:  // no row of ours breaks one
    case SQLITE_MISMATCH:
    case SQLITE_FORMAT: return true;
    default: return false;
  }
}

}  // namespace

Connection::Connection(const std::string& path, const std::string& vfs, bool must_exist) {
  sqlite3* opened = nullptr;
  // No mutex: one thread at a time, as the store's contract has it.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (must_exist ? 0 : SQLITE_OPEN_CREATE);
  const int code =
      sqlite3_open_v2(path.c_str(), &opened, flags, vfs.empty() ? nullptr : vfs.c_str());
  connection_.reset(opened);
  if (!Take(code, "opened")) return;
  // SQLite makes it readable for all, and its log with the mode that it has; the folder may be one
  // that lets others in.
  (void)!chmod(path.c_str(), 0600);
  sqlite3_busy_timeout(opened, kBusyMilliseconds);
  // What a damaged file says is neither obeyed nor tidied away: the log is there to be looked at.
  sqlite3_db_config(opened, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
}

void Connection::Damaged(std::string what) {
  if (!failure_) failure_ = Failure{std::move(what), true};
}

void Connection::Unavailable(std::string what) {
  if (!failure_) failure_ = Failure{std::move(what), false};
}

bool Connection::Take(int code, std::string_view doing) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return ok();
  if (failure_) return false;
  std::string text = "cannot be " + std::string(doing) + ": ";
  text += connection_ ? sqlite3_errmsg(connection_.get()) : sqlite3_errstr(code);
  const int system = connection_ ? sqlite3_system_errno(connection_.get()) : 0;
  const int primary = code & 0xff;
  if ((primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN) && system != 0) {
    text += std::string(": ") + std::strerror(system);
  }
  text += " (SQLite " + std::to_string(code) + ")";
  failure_ = Failure{std::move(text), IsDamage(code)};
  return false;
}

void Connection::Run(const char* sql) {
  if (ok()) Take(sqlite3_exec(get(), sql, nullptr, nullptr, nullptr), "used");
}

// To the end: what a pragma has to write is written after its row was handed out.
std::int64_t Connection::RunForInt(const char* sql) {
  Statement statement(*this, sql);
  if (!statement.Step()) return 0;
  const std::int64_t answer = statement.Int(0);
  statement.Run();
  return answer;
}

std::string Connection::RunForText(const char* sql) {
  Statement statement(*this, sql);
  if (!statement.Step()) return {};
  const unsigned char* text = sqlite3_column_text(statement.get(), 0);
  const std::string answer = text == nullptr ? "" : reinterpret_cast<const char*>(text);
  statement.Run();
  return answer;
}

Statement::Statement(Connection& connection, const char* sql) : connection_(connection) {
  if (!connection.ok()) return;
  sqlite3_stmt* prepared = nullptr;
  const int code =
      sqlite3_prepare_v3(connection.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &prepared, nullptr);
  statement_.reset(prepared);
  connection.Take(code, "asked");
}

Statement& Statement::Bind(int column, std::int64_t value) {
  if (connection_.ok()) sqlite3_bind_int64(get(), column, value);
  return *this;
}

bool Statement::Step() {
  if (!connection_.ok()) return false;
  const int code = sqlite3_step(get());
  if (code == SQLITE_ROW) return true;
  connection_.Take(code, sqlite3_stmt_readonly(get()) != 0 ? "read" : "written");
  return false;
}

void Statement::Run() {
  while (Step()) {
  }
  Reset();
}

void RowWriter::Null() {
  hash_.Null();
  sqlite3_bind_null(statement_.get(), ++column_);
}

void RowWriter::Int(std::int64_t value) {
  hash_.Int(value);
  sqlite3_bind_int64(statement_.get(), ++column_, value);
}

void RowWriter::Text(std::string_view text) {
  hash_.Text(text);
  // Without an address it would be NULL.
  const char* bytes = text.data() == nullptr ? "" : text.data();
  sqlite3_bind_text(statement_.get(), ++column_, bytes, static_cast<int>(text.size()),
                    SQLITE_STATIC);
}

void RowWriter::Blob(std::string_view blob) {
  hash_.Blob(blob);
  sqlite3_bind_blob64(statement_.get(), ++column_, blob.data(), blob.size(), SQLITE_STATIC);
}

std::uint64_t RowWriter::Write() {
  sqlite3_bind_int64(statement_.get(), ++column_, static_cast<std::int64_t>(hash_.value()));
  statement_.Run();
  return hash_.value();
}

void RowReader::Null() {
  hash_.Null();
  ++column_;
}

std::int64_t RowReader::Int() {
  if (!IsInt()) is_good_ = false;
  const std::int64_t value = sqlite3_column_int64(statement_, column_++);
  hash_.Int(value);
  return value;
}

std::string_view RowReader::Text() {
  if (sqlite3_column_type(statement_, column_) != SQLITE_TEXT) {
    is_good_ = false;
    ++column_;
    return {};
  }
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column_));
  const std::string_view view(text,
                              static_cast<std::size_t>(sqlite3_column_bytes(statement_, column_)));
  ++column_;
  hash_.Text(view);
  return view;
}

std::string_view RowReader::Blob() {
  if (sqlite3_column_type(statement_, column_) != SQLITE_BLOB) {
    is_good_ = false;
    ++column_;
    return {};
  }
  const auto* blob = static_cast<const char*>(sqlite3_column_blob(statement_, column_));
  const std::string_view view(blob,
                              static_cast<std::size_t>(sqlite3_column_bytes(statement_, column_)));
  ++column_;
  hash_.Blob(view);
  return view;
}

bool RowReader::IsAsWritten() {
  return is_good_ && IsInt() &&
         static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column_)) == hash_.value();
}

}  // namespace mete::store
