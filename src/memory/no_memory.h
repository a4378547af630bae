// What a call says that found no memory for its own tables: these are not budgeted.
#pragma once

#include "mete/error.h"

namespace mete {

inline Error NoMemoryForTables() {
  return {ErrorCode::kSystem, "memory: the system has none left for tables"};
}

}  // namespace mete
