// A memory budget for a process, and one for a part of it: the parent refuses what the part allows.

#include <cstdint>
#include <cstdio>

#include "mete/budget.h"
#include "mete/quota.h"

int main() {
  const auto limit = mete::ParseLimit(mete::LimitKind::kMemory, "64Mi");
  if (!limit) {
    std::printf("%s\n", limit.error().ToString().c_str());
    return 1;
  }
  constexpr std::int64_t kMiB = 1 << 20;
  mete::SharedBudget process(mete::BudgetKind::kLevel, limit->amount);
  mete::Budget cache(mete::BudgetKind::kLevel, 100 * kMiB, &process);

  if (!cache.TryCharge(48 * kMiB)) return 1;
  const auto refused = cache.TryCharge(17 * kMiB);
  if (refused || refused.error().budget != &process) return 1;

  auto hold = cache.Reserve(16 * kMiB);
  if (!hold || !hold->Settle(10 * kMiB)) return 1;
  std::printf("process uses %lld of %lld MiB\n", static_cast<long long>(process.used() / kMiB),
              static_cast<long long>(process.limit() / kMiB));
  cache.Uncharge(58 * kMiB);
  return process.used() == 0 ? 0 : 1;
}
