#include "mete/budget_bridge.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "memory/test_bridge_world.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;
using std::chrono::milliseconds;
constexpr std::int64_t kKiB = BridgeWorld::kKiB;

const StagingWait kNot = StagingWait::For({});  // not at all

TEST(BudgetBridgeTest, ChargesBothSidesTheSameOrNeither) {
  BridgeWorld w;
  EXPECT_EQ(w.host.used(), 0) << "nothing before it is wanted";
  {
    auto slice = w.bridge->Acquire(1000);
    ASSERT_TRUE(slice);
    std::memset(slice->data(), 1, 1000);
    EXPECT_TRUE(slice->Flush());
    EXPECT_EQ(w.host.used(), 16 * kKiB);
    EXPECT_EQ(w.Staged(), 16 * kKiB);
  }
  EXPECT_EQ(w.host.used(), 16 * kKiB) << "kept, to be used again";
  EXPECT_EQ(w.bridge->usage().slices, 0);
  w.bridge->Trim();
  EXPECT_EQ(w.host.used(), 0);
  EXPECT_EQ(w.Staged(), 0);
  w.host.SetLimit(1000);  // the host refuses
  EXPECT_EQ(w.bridge->Acquire(2000).error().budget.budget, &w.host);
  w.host.SetLimit(kNoLimit);
  w.device->kind_budget(DeviceKind::kStaging).SetLimit(1000);  // the device does
  const auto refused = w.bridge->Acquire(2000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::kBudget);
  EXPECT_EQ(w.host.charged(), 0) << "undone together";
  EXPECT_TRUE(w.bridge->Acquire(500)) << "a smaller block serves";
  EXPECT_LE(w.Staged(), 1000);
}

TEST(BudgetBridgeTest, TheQuotaIsReachedAndNeverPassed) {
  for (const std::int64_t quota : {16 * kKiB, 64 * kKiB, 64 * kKiB + 300, 70 * kKiB}) {
    BridgeWorld w({.quota = quota, .block_bytes = 16 * kKiB});
    std::vector<StagingSlice> held;
    for (;;) {
      auto slice = w.bridge->Acquire(1024, kNot);
      if (!slice) {
        EXPECT_EQ(slice.error().reason, Reason::kTimeout);
        break;
      }
      held.push_back(std::move(*slice));
    }
    EXPECT_EQ(held.size(), static_cast<std::size_t>(quota / 1024));
    EXPECT_LE(w.bridge->usage().peak, quota);
    EXPECT_LE(w.host.used(), quota);
    EXPECT_EQ(w.host.used(), w.Staged());
  }
}

// The pool of the first implementation refused after 4,096 rounds with nothing in use.
TEST(BudgetBridgeTest, ManyRoundsLeaveNothingBehind) {
  BridgeWorld w;
  FakeQueue& queue = w.Queue();
  for (int round = 0; round < 20000; ++round) {
    auto slice = w.bridge->Acquire(1 + round * 37 % (16 * kKiB), kNot);
    ASSERT_TRUE(slice) << round;
    if (round % 2 == 0) {
      ASSERT_TRUE(slice->Submitted(queue, 0));
    }
  }
  EXPECT_LE(w.bridge->usage().peak, 64 * kKiB);
  ASSERT_TRUE(w.bridge->Collect());
  EXPECT_EQ(w.bridge->usage().slices, 0);
}

TEST(BudgetBridgeTest, WhatMakesNoSenseIsRefused) {
  BridgeWorld w;
  for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{-1}, 16 * kKiB + 1, kNoLimit}) {
    EXPECT_EQ(w.bridge->Acquire(bytes).error().reason, Reason::kArgument) << bytes;
  }
  EXPECT_TRUE(w.bridge->Acquire(16 * kKiB));
  const auto code = [&](const StagingOptions& options) {
    return BudgetBridge::Open(options, w.host, *w.device).error().code;
  };
  EXPECT_EQ(code({.quota = 0}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.quota = -1}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.block_bytes = 255}), ErrorCode::kInvalidArgument);
}

// An upload behind another one of a slower queue waited for that in the first implementation, and
// was taken for done after four frames.
TEST(BudgetBridgeTest, QueuesCompleteInAnyOrder) {
  BridgeWorld w;
  FakeQueue& slow = w.Queue(FakeQueue::kNever);
  FakeQueue& fast = w.Queue(FakeQueue::kNever);
  const BufferHandle target = w.Target(64);
  const BufferCopy copy{.source = target, .target = target, .target_offset = 32, .bytes = 8};
  auto first = w.bridge->Acquire(16 * kKiB);
  auto second = w.bridge->Acquire(16 * kKiB);
  ASSERT_TRUE(first->Submitted(slow, *slow.Submit({&copy, 1})));
  ASSERT_TRUE(second->Submitted(fast, *fast.Submit({&copy, 1})));
  EXPECT_EQ(w.bridge->usage().in_flight, 2);
  fast.Complete();
  ASSERT_TRUE(w.bridge->Collect());
  EXPECT_EQ(w.bridge->usage().in_flight, 1);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(w.bridge->Collect());
  EXPECT_EQ(w.bridge->usage().in_flight, 1) << "not done, however long it takes";
  slow.Complete();
  EXPECT_TRUE(w.bridge->Drain(StagingWait::For(milliseconds(1000))));
  EXPECT_EQ(w.bridge->usage().slices, 0);
}

TEST(BudgetBridgeTest, WaitsUntilADeadlineOrUntilCancelled) {
  BridgeWorld w({.quota = 16 * kKiB, .block_bytes = 16 * kKiB});
  FakeQueue& queue = w.Queue(FakeQueue::kNever);
  const BufferHandle target = w.Target(64);
  const BufferCopy copy{.source = target, .target = target, .target_offset = 32, .bytes = 8};
  auto slice = w.bridge->Acquire(16 * kKiB);
  ASSERT_TRUE(slice->Submitted(queue, *queue.Submit({&copy, 1})));
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(w.bridge->Acquire(1, StagingWait::For(milliseconds(30))).error().reason,
            Reason::kTimeout);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(30));
  std::stop_source stop;
  std::thread waits([&] {
    EXPECT_EQ(w.bridge->Acquire(1, {.cancelled = stop.get_token()}).error().reason,
              Reason::kCancelled);
  });
  std::thread behind([&] {  // not first in line
    std::this_thread::sleep_for(milliseconds(5));
    EXPECT_EQ(w.bridge->Acquire(1, {.cancelled = stop.get_token()}).error().reason,
              Reason::kCancelled);
  });
  std::this_thread::sleep_for(milliseconds(20));
  stop.request_stop();
  waits.join();
  behind.join();
  EXPECT_EQ(w.bridge->usage().given_up, 3);
  EXPECT_EQ(w.bridge->Drain(StagingWait::For(milliseconds(5))).error().reason, Reason::kTimeout);
  std::thread completes([&] {
    std::this_thread::sleep_for(milliseconds(20));
    queue.Complete();
  });
  EXPECT_TRUE(w.bridge->Acquire(16 * kKiB)) << "without a deadline, as long as it takes";
  completes.join();
  EXPECT_GE(w.bridge->usage().waits, 4);
  EXPECT_GE(w.bridge->usage().waited, milliseconds(30));
}

TEST(BudgetBridgeTest, FirstComeFirstServed) {
  BridgeWorld w({.quota = 16 * kKiB, .block_bytes = 16 * kKiB});
  auto all = w.bridge->Acquire(16 * kKiB);
  ASSERT_TRUE(all);
  std::mutex lock;
  std::vector<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {  // the first one wants everything, those behind it little
      auto slice = w.bridge->Acquire(i == 0 ? 16 * kKiB : 256);
      ASSERT_TRUE(slice);
      const std::lock_guard held(lock);
      order.push_back(i);
    });
    const std::int64_t before = w.bridge->usage().waits;
    static_cast<void>(before);
    std::this_thread::sleep_for(milliseconds(30));
  }
  all->Release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(order[0], 0) << "small ones do not overtake a large one";
  EXPECT_EQ(w.bridge->usage().slices, 0);
}

TEST(BudgetBridgeTest, SmallIdleBlocksMakeWayForALargeOne) {
  BridgeWorld w({.quota = 16 * kKiB, .block_bytes = 16 * kKiB});
  w.device->kind_budget(DeviceKind::kStaging).SetLimit(8 * kKiB);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(w.bridge->Acquire(2 * kKiB));
  EXPECT_GT(w.bridge->usage().blocks, 0);
  w.device->kind_budget(DeviceKind::kStaging).SetLimit(kNoLimit);
  EXPECT_TRUE(w.bridge->Acquire(16 * kKiB, kNot));
  EXPECT_EQ(w.bridge->usage().peak, 16 * kKiB);
}

TEST(BudgetBridgeTest, ALostDeviceIsToldToAllAndAllComesBack) {
  BridgeWorld w({.quota = 16 * kKiB, .block_bytes = 16 * kKiB});
  FakeQueue& queue = w.Queue(FakeQueue::kNever);
  const BufferHandle target = w.Target(64);
  const BufferCopy copy{.source = target, .target = target, .target_offset = 32, .bytes = 8};
  auto slice = w.bridge->Acquire(8 * kKiB);
  ASSERT_TRUE(slice->Submitted(queue, *queue.Submit({&copy, 1})));
  auto held = w.bridge->Acquire(8 * kKiB);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back(
        [&] { EXPECT_EQ(w.bridge->Acquire(256).error().reason, Reason::kDeviceLost); });
  }
  std::this_thread::sleep_for(milliseconds(20));
  queue.Lose();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(w.bridge->usage().in_flight, 0);
  ASSERT_TRUE(held->Submitted(queue, 7)) << "comes back at once";
  EXPECT_EQ(w.bridge->usage().slices, 0);
  EXPECT_EQ(w.bridge->Acquire(256).error().reason, Reason::kDeviceLost);
  EXPECT_EQ(w.bridge->Drain().error().reason, Reason::kDeviceLost);
}

// A callback that asks for room while its own thread waits for some would wait for itself.
TEST(BudgetBridgeTest, CallbacksMayCallAnything) {
  BridgeWorld w;
  FakeQueue& queue = w.Queue(1);
  Uploader uploader(*w.bridge, queue);
  const BufferHandle target = w.Target(64 * kKiB);
  const std::vector<std::byte> data(16 * kKiB);
  w.device->kind_budget(DeviceKind::kStaging).SetLimit(40 * kKiB);
  int calls = 0;
  const WarningSubscription subscription = w.device->Subscribe([&](const BudgetWarning&) {
    ++calls;
    const auto slice = w.bridge->Acquire(16 * kKiB);
    EXPECT_TRUE(slice || slice.error().reason == Reason::kNoRoom);
    static_cast<void>(uploader.Upload(target, 0, data));
    EXPECT_TRUE(uploader.Flush());
    EXPECT_TRUE(w.bridge->Collect());
    EXPECT_TRUE(w.bridge->Drain());
    w.bridge->Trim();
    EXPECT_GT(w.bridge->usage().quota, 0);
  });
  std::vector<StagingSlice> held;
  for (int i = 0; i < 3; ++i) {
    auto slice = w.bridge->Acquire(16 * kKiB, kNot);
    if (slice) held.push_back(std::move(*slice));
  }
  EXPECT_EQ(held.size(), 2u);
  EXPECT_GT(calls, 0);
}

TEST(BudgetBridgeTest, MoreTimelinesThanItFollowsAreRefused) {
  BridgeWorld w;
  for (int i = 0; i < 17; ++i) {
    auto slice = w.bridge->Acquire(256);
    const auto followed = slice->Submitted(w.Queue(FakeQueue::kNever), 1);
    EXPECT_EQ(followed.has_value(), i < 16);
    if (!followed) {
      EXPECT_EQ(followed.error().reason, Reason::kTooMany);
    }
    EXPECT_EQ(static_cast<bool>(*slice), i == 16);
  }
  w.queues[0]->Lose();
  static_cast<void>(w.bridge->Collect());
}

// Eight threads on three queues, with delays: the quota holds at every moment, and what each thread
// wrote into its slice is there until its batch is done.
TEST(BudgetBridgeTest, EightThreadsWithinTheQuota) {
  BridgeWorld w({.quota = 50 * kKiB, .block_bytes = 16 * kKiB});
  const std::array<FakeQueue*, 3> queues = {&w.Queue(0), &w.Queue(2), &w.Queue(5)};
  std::vector<BufferHandle> targets;
  for (int i = 0; i < 8; ++i) targets.push_back(w.Target(16 * kKiB));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      for (int i = 0; i < 150; ++i) {
        const auto bytes = static_cast<std::int64_t>(1 + random() % (16 * kKiB));
        auto slice = w.bridge->Acquire(bytes);
        ASSERT_TRUE(slice);
        ASSERT_LE(w.host.used(), 50 * kKiB);
        ASSERT_LE(w.Staged(), 50 * kKiB);
        std::memset(slice->data(), i, static_cast<std::size_t>(bytes));
        if (random() % 8 == 0) continue;  // given up
        FakeQueue& queue = *queues[random() % 3];
        const BufferCopy copy{.source = slice->buffer(),
                              .target = targets[t],
                              .source_offset = slice->offset(),
                              .bytes = bytes};
        const auto value = queue.Submit({&copy, 1});
        ASSERT_TRUE(value);
        ASSERT_TRUE(slice->Submitted(queue, *value));
        ASSERT_TRUE(queue.Wait(*value, std::chrono::seconds(10)));
        const auto arrived = w.fake->Contents(targets[t]);
        ASSERT_EQ(arrived[0], static_cast<std::byte>(i));
        ASSERT_EQ(arrived[static_cast<std::size_t>(bytes - 1)], static_cast<std::byte>(i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(w.bridge->Drain());
  EXPECT_LE(w.bridge->usage().peak, 50 * kKiB);
  EXPECT_EQ(w.bridge->usage().slices, 0);
}

TEST(BudgetBridgeTest, EveryCallAndEveryBlockFailsInTurn) {
  for (const bool blocks : {false, true}) {
    for (std::int64_t nth = 1; nth <= 12; ++nth) {
      BridgeWorld w;
      FakeQueue& queue = w.Queue(2);
      if (blocks) {
        w.fake->FailBlock(nth);
      } else {
        w.fake->FailCall(nth);
      }
      std::vector<StagingSlice> held;
      for (int i = 0; i < 6; ++i) {
        auto slice = w.bridge->Acquire(9 * kKiB, kNot);
        if (slice && i % 2 == 0) {
          ASSERT_TRUE(slice->Submitted(queue, 0));
        }
        if (slice) held.push_back(std::move(*slice));
        EXPECT_EQ(w.host.charged(), w.Staged());
      }
      w.bridge->Trim();
    }
  }
}

}  // namespace
}  // namespace mete
