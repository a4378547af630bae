#include "base/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace mete {
namespace {
std::atomic<CheckHandler> g_handler{nullptr};
}  // namespace

CheckHandler SetCheckHandler(CheckHandler handler) noexcept { return g_handler.exchange(handler); }

void CheckFailed(const char* condition, const char* file, int line) {
  if (CheckHandler handler = g_handler.load()) handler(condition, file, line);
  std::fprintf(stderr, "mete: check failed: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace mete
