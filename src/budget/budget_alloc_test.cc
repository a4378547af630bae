// Counts allocations: the operations of the core make none once their objects exist.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "mete/budget.h"
#include "mete/credit.h"

namespace {

// Of this thread, while it counts.
thread_local bool t_counting = false;
thread_local int t_allocations = 0;

void Note() noexcept {
  if (t_counting) ++t_allocations;
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

// Sanitizers bring a malloc of their own, which tells; GCC ships no header for that.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*,
                                                                           std::size_t),
                                                         void (*freed)(const volatile void*));
const int g_hooks = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { Note(); }, [](const volatile void*) {});

#elif defined(__GLIBC__)

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  Note();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  Note();
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  Note();
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  Note();
  return __libc_memalign(alignment, size);
}
}

#endif

namespace mete {
namespace {

template <class Body>
int Allocations(Body&& body) {
  t_allocations = 0;
  t_counting = true;
  body();
  t_counting = false;
  return t_allocations;
}

TEST(AllocationTest, AreCounted) {
  int* volatile made = nullptr;
  EXPECT_EQ(Allocations([&] { made = new int(1); }), 1);
  delete made;
  EXPECT_EQ(Allocations([] {}), 0);
}

struct Tree {
  SharedBudget tenant, session;
  Budget leaf;
  explicit Tree(BudgetKind kind)
      : tenant(kind, 1'000'000), session(kind, 1'000'000, &tenant), leaf(kind, 100, &session) {}
};

TEST(AllocationTest, OperationsOnBudgetsMakeNone) {
  for (const BudgetKind kind : {BudgetKind::kLevel, BudgetKind::kFlow}) {
    Tree tree(kind);
    int refused = 0, edges = 0;
    EXPECT_EQ(Allocations([&] {
                for (int i = 0; i < 1000; ++i) {
                  if (!tree.leaf.TryCharge(30)) ++refused;
                  (void)tree.leaf.Charge(60);
                  if (auto hold = tree.leaf.Reserve(5)) (void)hold->Settle(9);
                  if (auto hold = tree.leaf.Reserve(5)) hold->Release();
                  if (!tree.leaf.Reserve(1000)) ++refused;
                  tree.leaf.DrainEdges([&](Budget&, Edges) { ++edges; });
                  tree.leaf.SetLimit(100 + i % 2);
                  (void)tree.leaf.snapshot();
                  if (kind == BudgetKind::kFlow) {
                    tree.leaf.Roll();
                  } else {
                    tree.leaf.Uncharge(tree.leaf.used());
                    tree.leaf.ResetPeak();
                  }
                }
              }),
              0);
    EXPECT_GE(refused, 1000);
    EXPECT_GE(edges, 1000);
  }
}

TEST(AllocationTest, CreditMakesNone) {
  Tree tree(BudgetKind::kLevel);
  tree.leaf.SetLimit(kNoLimit);
  Credit idle(tree.session, 4096), credit(tree.leaf, 4096);
  int refused = 0;
  EXPECT_EQ(Allocations([&] {
              for (int i = 0; i < 1000; ++i) {
                (void)idle.TryCharge(0);
                (void)idle.TryCharge(1);
                for (int j = 0; j < 20; ++j) (void)credit.TryCharge(700);
                if (!credit.TryCharge(1'000'000)) ++refused;  // takes the idle one's stock back
                for (int j = 0; j < 20; ++j) credit.Uncharge(700);
                credit.Flush();
                Credit moved(std::move(credit));
                credit.~Credit();
                new (&credit) Credit(std::move(moved));
              }
            }),
            0);
  EXPECT_EQ(refused, 1000);
  EXPECT_EQ(tree.tenant.snapshot().used, 1000);
  idle.Uncharge(1000);
}

}  // namespace
}  // namespace mete
