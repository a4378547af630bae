#include "mete/tracked_allocation.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mete/host_budget_manager.h"

namespace mete {
namespace {

constexpr AllocationScope kHeap = AllocationScope::kHeap;
constexpr AllocationScope kPersistent = AllocationScope::kPersistent;

struct Counted {
  static inline int alive = 0;
  static inline std::vector<int> ended;
  int id;
  explicit Counted(int given) : id(given) { ++alive; }
  Counted(const Counted&) = delete;
  ~Counted() { --alive, ended.push_back(id); }
};

struct Throws {
  Throws() { throw 1; }
};

class TrackedAllocationTest : public testing::Test {
 protected:
  void SetUp() override {
    Counted::alive = 0;
    Counted::ended.clear();
    HostOptions options;
    options.limit = 4 << 20;
    options.frames.ready = 64 << 10;
    options.persistent_ready = 64 << 10;
    host_ = *HostBudgetManager::Open(options);
    base_ = host_->budget().used();
  }
  std::int64_t Used() const { return host_->heap_budget().used(); }
  std::unique_ptr<HostBudgetManager> host_;
  std::int64_t base_ = 0;
};

TEST_F(TrackedAllocationTest, ObjectMemoryAndChargeEndTogether) {
  {
    auto made = TrackedAllocation<Counted>::Make(*host_, kHeap, 7);
    ASSERT_TRUE(made);
    EXPECT_EQ((*made)->id, 7);
    EXPECT_EQ(Counted::alive, 1);
    EXPECT_EQ(Used(), static_cast<std::int64_t>(sizeof(Counted)));
    TrackedAllocation<Counted> moved = std::move(*made);
    EXPECT_FALSE(*made);
    made->Reset();
    EXPECT_EQ(Counted::alive, 1);
    auto other = *TrackedAllocation<Counted>::Make(*host_, kPersistent, 8);
    other = std::move(moved);
    EXPECT_EQ(Counted::ended, std::vector<int>{8});
    EXPECT_EQ(other->id, 7);
    auto& self = other;
    other = std::move(self);
    EXPECT_EQ(Counted::alive, 1);
  }
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(Used(), 0);
  EXPECT_TRUE(host_->leaks().empty());
}

TEST_F(TrackedAllocationTest, RefusedOrThrowingMakesNothing) {
  host_->budget().SetLimit(base_);
  EXPECT_FALSE(TrackedAllocation<Counted>::Make(*host_, kHeap, 1));
  EXPECT_EQ(Counted::alive, 0);
  host_->budget().SetLimit(kNoLimit);
  EXPECT_THROW(static_cast<void>(TrackedAllocation<Throws>::Make(*host_, kHeap)), int);
  EXPECT_EQ(Used(), 0);
  auto frame = TrackedAllocation<Counted>::Make(*host_, AllocationScope::kFrame, 1);
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().reason, AllocationRefusal::Reason::kScope);
  EXPECT_EQ(frame.error().ToError().code, ErrorCode::kInvalidArgument);
}

TEST_F(TrackedAllocationTest, ScopesEndNewestFirstChildrenBefore) {
  LifetimeScope outer(*host_);
  ASSERT_TRUE(outer.Make<Counted>(1));
  {
    LifetimeScope inner(*host_, &outer);
    ASSERT_TRUE(inner.Make<Counted>(2));
    ASSERT_TRUE(inner.Make<Counted>(3));
    EXPECT_EQ(inner.count(), 2u);
    EXPECT_GT(inner.bytes(), 0u);
  }
  EXPECT_EQ(Counted::ended, (std::vector<int>{3, 2}));
  LifetimeScope child(*host_, &outer);
  ASSERT_TRUE(child.Make<Counted>(4));
  ASSERT_TRUE(child.Make<std::string>("a text that is too long for the object"));
  outer.End();
  EXPECT_EQ(Counted::ended, (std::vector<int>{3, 2, 4, 1}));
  outer.End();
  EXPECT_EQ(outer.count(), 0u);
  auto again = outer.Make<Counted>(5);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->id, 5);
  EXPECT_THROW(static_cast<void>(outer.Make<Throws>()), int);
  EXPECT_EQ(outer.count(), 1u);
}

}  // namespace
}  // namespace mete
