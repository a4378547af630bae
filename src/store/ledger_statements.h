// The statements that a batch is written with, each prepared once.
#pragma once

#include "store/connection.h"

namespace mete::store {

// A table whose rows are found by a key, and of which the sum of a row is known before it goes.
struct TableStatements {
  Statement sum;   // of the row with the key
  Statement put;   // all columns
  Statement drop;  // the row with the key; answers its sum
};

struct LedgerStatements {
  explicit LedgerStatements(Connection& connection)
      : quotas{{connection, "SELECT sum FROM quotas WHERE slot = ?"},
               {connection,
                "REPLACE INTO quotas VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
               {connection, "DELETE FROM quotas WHERE slot = ? RETURNING sum"}},
        usage{{connection, "SELECT first_slot, states, sum FROM usage WHERE first_slot = ?"},
              {connection, "REPLACE INTO usage VALUES (?, ?, ?)"},
              {connection, "DELETE FROM usage WHERE first_slot = ? RETURNING sum"}},
        holds{{connection, "SELECT sum FROM holds WHERE id = ?"},
              {connection, "REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"},
              {connection, "DELETE FROM holds WHERE id = ? RETURNING sum"}},
        keys{{connection, "SELECT sum FROM keys WHERE account = ? AND key = ?"},
             {connection, "REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?)"},
             {connection, "DELETE FROM keys WHERE account = ? AND key = ? RETURNING sum"}},
        begin(connection, "BEGIN IMMEDIATE"),
        commit(connection, "COMMIT"),
        last_event(connection, "SELECT max(number) FROM events"),
        put_event(connection,
                  "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
        nth_event(connection, "SELECT number, sum FROM events ORDER BY number LIMIT 1 OFFSET ?"),
        drop_events(connection, "DELETE FROM events WHERE number <= ?"),
        put_mark(connection, kPutMark) {}

  static constexpr const char* kPutMark =
      "REPLACE INTO mark VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

  TableStatements quotas, usage, holds, keys;
  Statement begin, commit;
  Statement last_event, put_event, nth_event, drop_events;
  Statement put_mark;
};

}  // namespace mete::store
