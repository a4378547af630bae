// What a budget manager says of what is left, where the program listens to nothing else.
#pragma once

#include <cstdio>
#include <vector>

#include "mete/resource_consumer.h"

namespace mete {

inline void PrintLeaks(const std::vector<MemoryLeak>& leaks) {
  for (const MemoryLeak& leak : leaks) {
    std::fprintf(stderr, "mete: leaked by %s: %lld allocations, %lld bytes\n", leak.owner.c_str(),
                 static_cast<long long>(leak.count), static_cast<long long>(leak.bytes));
  }
}

}  // namespace mete
