// The tables of the database, and the versions of them.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "store/connection.h"

namespace mete::store {

// Stands in the header of the file, for file(1) and for us: "mete".
inline constexpr int kApplicationId = 0x6d657465;
inline constexpr int kSchemaVersion = 1;

struct TableText {
  const char* name;
  const char* create;  // as SQLite keeps it
};
extern const std::array<TableText, 6> kTables;

// Makes a database of `from` one of `from + 1`, in a transaction that is not its own. It looks at
// the sums of what it reads, writes those of what it makes, and gives the mark a batch number that
// is one higher, so that the witness knows the new content from the old.
struct Upgrade {
  int from;
  void (*run)(Connection& connection);
};

// Whether nothing was ever made in it.
bool IsNewDatabase(Connection& connection);
// The tables, without any row, in one transaction.
void CreateTables(Connection& connection);
// The version of a database that is not new. Damaged: it is none of ours. Unavailable: newer.
int VersionOf(Connection& connection, int newest);
// From `version` up to `newest`, all or nothing. Unavailable: there is no way from that version.
void BringForward(Connection& connection, int version, int newest,
                  std::span<const Upgrade> upgrades);
// Damaged: other tables than ours, or something beside them.
void CheckTables(Connection& connection);

}  // namespace mete::store
