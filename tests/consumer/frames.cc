// An engine's host memory: a frame that lives in its arena, under one limit.

#include <cstdint>
#include <cstdio>
#include <memory_resource>
#include <vector>

#include "mete/host_budget_manager.h"

int main() {
  mete::HostOptions options;
  options.limit = std::int64_t{32} << 20;
  auto host = mete::HostBudgetManager::Open(options);
  if (!host) {
    std::printf("%s\n", host.error().ToString().c_str());
    return 1;
  }
  for (int frame = 0; frame < 10; ++frame) {
    auto squares = (*host)->RequestStackResource<std::int64_t>(1000);
    if (!squares) return 1;
    mete::FrameResource resource((*host)->frames());
    std::pmr::vector<std::int64_t> copy(squares->begin(), squares->end(), &resource);
    (*host)->BeginFrame();
  }
  const auto shot = (*host)->snapshot();
  std::printf("%llu frames, %llu by the heap\n",
              static_cast<unsigned long long>(shot.frame.frame - 1),
              static_cast<unsigned long long>(shot.frame.total_fallbacks));
}
