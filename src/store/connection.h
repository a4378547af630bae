// One connection to SQLite, and rows that are checked as they are read.
//
// The first failure sticks to the connection: everything after it does nothing and finds nothing,
// so that who works through a batch asks once, at the end.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "store/row_hash.h"

namespace mete::store {

// Why something could not be done. Damage is what trying again does not mend.
struct Failure {
  std::string text;
  bool is_damage = false;
};

class Connection {
 public:
  // `must_exist`: otherwise it is made. Both are looked at by ok().
  Connection(const std::string& path, const std::string& vfs, bool must_exist);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool ok() const noexcept { return !failure_; }
  const Failure& failure() const { return *failure_; }  // REQUIRES: !ok()
  sqlite3* get() const noexcept { return connection_.get(); }

  void Damaged(std::string what);      // REQUIRES: ok(), or it is left as it is
  void Unavailable(std::string what);  // the same
  // Takes what SQLite answered; true if that is no failure.
  bool Take(int code, std::string_view doing);

  void Run(const char* sql);
  // Of the first column of the first row; 0 or "" if it has none.
  std::int64_t RunForInt(const char* sql);
  std::string RunForText(const char* sql);

 private:
  struct Close {
    void operator()(sqlite3* connection) const noexcept { sqlite3_close_v2(connection); }
  };
  std::unique_ptr<sqlite3, Close> connection_;
  std::optional<Failure> failure_;
};

// A prepared statement that is used again and again. It ends before its connection.
class Statement {
 public:
  Statement(Connection& connection, const char* sql);

  sqlite3_stmt* get() const noexcept { return statement_.get(); }
  Connection& connection() const noexcept { return connection_; }

  Statement& Bind(int column, std::int64_t value);  // from 1
  bool Step();                                      // whether there is a row
  void Run();                                       // to its end, and ready for the next time
  void Reset() noexcept { sqlite3_reset(statement_.get()); }
  std::int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
  };
  Connection& connection_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Binds the columns of a row from the first to the last, which is its sum. What is bound by a view
// outlives the step.
class RowWriter {
 public:
  RowWriter(Statement& statement, std::uint64_t seed) noexcept
      : statement_(statement), hash_(seed) {}

  void Null();
  void Int(std::int64_t value);
  void Number(std::uint64_t value) { Int(static_cast<std::int64_t>(value)); }
  void Text(std::string_view text);
  void Blob(std::string_view blob);
  // The row is written; its sum.
  std::uint64_t Write();

 private:
  Statement& statement_;
  RowHash hash_;
  int column_ = 0;
};

// Reads the columns in that same order. A column of another type than is asked for makes the row
// damaged, as a sum that is not right does.
class RowReader {
 public:
  RowReader(const Statement& statement, std::uint64_t seed) noexcept
      : statement_(statement.get()), hash_(seed) {}

  bool IsNull() const { return sqlite3_column_type(statement_, column_) == SQLITE_NULL; }
  bool IsInt() const { return sqlite3_column_type(statement_, column_) == SQLITE_INTEGER; }
  void Null();  // REQUIRES: IsNull()
  std::int64_t Int();
  std::uint64_t Number() { return static_cast<std::uint64_t>(Int()); }
  std::string_view Text();  // valid until the next step
  std::string_view Blob();
  void Refuse() noexcept { is_good_ = false; }  // its values make no sense
  // Reads the last column, and says whether the row is as it was written.
  bool IsAsWritten();
  std::uint64_t sum() const noexcept { return hash_.value(); }

 private:
  sqlite3_stmt* const statement_;
  RowHash hash_;
  int column_ = 0;
  bool is_good_ = true;
};

}  // namespace mete::store
