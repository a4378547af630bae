#include "store/schema.h"

#include <string>

namespace mete::store {

// A column of `quotas` for each limit has no type, so that a text stays a text and a number one.
const std::array<TableText, 6> kTables = {{
    {"events",
     "CREATE TABLE events (number INTEGER PRIMARY KEY, kind TEXT, time_ns INTEGER, "
     "wall_time_ns INTEGER, scope TEXT, target TEXT, account_scope TEXT, account TEXT, "
     "\"limit\" TEXT, percent INTEGER, used INTEGER, amount INTEGER, windows INTEGER, "
     "detail TEXT, usage TEXT, sum INTEGER)"},
    {"holds",
     "CREATE TABLE holds (id INTEGER PRIMARY KEY, account INTEGER, reserved TEXT, "
     "ends_ns INTEGER, detached INTEGER, settled INTEGER, used TEXT, above_hold TEXT, "
     "sum INTEGER)"},
    {"keys",
     "CREATE TABLE keys (account INTEGER, key TEXT, content INTEGER, hold INTEGER, "
     "time_ns INTEGER, sum INTEGER, PRIMARY KEY (account, key)) WITHOUT ROWID"},
    {"mark",
     "CREATE TABLE mark (id INTEGER PRIMARY KEY, batch INTEGER, time_ns INTEGER, "
     "wall_time_ns INTEGER, boot_id TEXT, last_event INTEGER, last_hold INTEGER, "
     "quotas_rows INTEGER, quotas_sum INTEGER, usage_rows INTEGER, usage_sum INTEGER, "
     "holds_rows INTEGER, holds_sum INTEGER, keys_rows INTEGER, keys_sum INTEGER, "
     "events_rows INTEGER, events_before INTEGER, events_last INTEGER, is_copy INTEGER, "
     "sum INTEGER)"},
    {"quotas",
     "CREATE TABLE quotas (slot INTEGER PRIMARY KEY, parent INTEGER, scope TEXT, target TEXT, "
     "cpu, cpu_seconds_per_hour, memory, gpu_memory, tokens_per_hour, tokens_per_day, "
     "requests_per_minute, cost_per_day, policies TEXT, window_ns INTEGER, sum INTEGER)"},
    {"usage", "CREATE TABLE usage (first_slot INTEGER PRIMARY KEY, states BLOB, sum INTEGER)"},
}};

bool IsNewDatabase(Connection& connection) {
  return connection.RunForInt("SELECT count(*) FROM sqlite_master") == 0 &&
         connection.RunForInt("PRAGMA user_version") == 0 &&
         connection.RunForInt("PRAGMA application_id") == 0;
}

void CreateTables(Connection& connection) {
  connection.Run("BEGIN IMMEDIATE");
  for (const TableText& table : kTables) connection.Run(table.create);
  connection.Run(("PRAGMA application_id = " + std::to_string(kApplicationId)).c_str());
  connection.Run(("PRAGMA user_version = " + std::to_string(kSchemaVersion)).c_str());
}

int VersionOf(Connection& connection, int newest) {
  const std::int64_t application = connection.RunForInt("PRAGMA application_id");
  const std::int64_t version = connection.RunForInt("PRAGMA user_version");
  if (!connection.ok()) return 0;
  if (application != kApplicationId) {
    connection.Damaged("the file is not a database of mete: its application id is " +
                       std::to_string(application));
  } else if (version > newest) {
    connection.Unavailable("cannot be used: it is of a newer mete: its version is " +
                           std::to_string(version) + ", this program knows up to " +
                           std::to_string(newest));
  }
  return static_cast<int>(version);
}

void BringForward(Connection& connection, int version, int newest,
                  std::span<const Upgrade> upgrades) {
  connection.Run("BEGIN IMMEDIATE");
  for (; connection.ok() && version < newest; ++version) {
    const Upgrade* way = nullptr;
    for (const Upgrade& upgrade : upgrades) {
      if (upgrade.from == version) way = &upgrade;
    }
    if (way == nullptr) {
      connection.Unavailable("cannot be brought forward to version " + std::to_string(newest) +
                             ": this program has no way from version " + std::to_string(version));
      return;
    }
    way->run(connection);
  }
  connection.Run(("PRAGMA user_version = " + std::to_string(newest)).c_str());
  connection.Run("COMMIT");
}

void CheckTables(Connection& connection) {
  Statement found(connection, "SELECT name, sql FROM sqlite_master ORDER BY name");
  std::size_t i = 0;
  while (found.Step()) {
    const auto text = [&](int column) {
      const unsigned char* bytes = sqlite3_column_text(found.get(), column);
      return std::string_view(bytes == nullptr ? "" : reinterpret_cast<const char*>(bytes));
    };
    if (i == kTables.size() || text(0) != kTables[i].name || text(1) != kTables[i].create) {
      connection.Damaged("the tables are not those of version " + std::to_string(kSchemaVersion));
    }
    i += connection.ok() ? 1 : 0;
  }
  if (connection.ok() && i != kTables.size()) connection.Damaged("tables are missing");
}

}  // namespace mete::store
