#include "memory/warning_list.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace mete {
namespace {

BudgetWarning Warning(int percent) { return {.budget = "test", .percent = percent, .usage = {}}; }
const BudgetWarning kWarning = Warning(80);

TEST(WarningListTest, TellsWhoHasSubscribedUntilTheyEnd) {
  WarningList list;
  int first = 0, second = 0;
  WarningSubscription one = list.Subscribe([&](const BudgetWarning&) { ++first; });
  {
    WarningSubscription two = list.Subscribe([&](const BudgetWarning&) { ++second; });
    list.Tell(kWarning);
  }
  list.Tell(kWarning);
  WarningSubscription moved = std::move(one);
  one.End();
  list.Tell(kWarning);
  auto& self = moved;
  moved = std::move(self);
  list.Tell(kWarning);
  moved.End();
  moved.End();
  list.Tell(kWarning);
  EXPECT_EQ(first, 4);
  EXPECT_EQ(second, 1);
}

TEST(WarningListTest, AnEndDropsWhatTheCallbackHolds) {
  WarningList list;
  auto held = std::make_shared<int>(1);
  WarningSubscription outside = list.Subscribe([held](const BudgetWarning&) {});
  EXPECT_EQ(held.use_count(), 2);
  outside.End();
  EXPECT_EQ(held.use_count(), 1);
  WarningSubscription inside;
  inside = list.Subscribe([held, &inside](const BudgetWarning&) {
    const long during = held.use_count();
    inside.End();
    EXPECT_EQ(held.use_count(), during) << "it still runs";
  });
  const WarningList::Turn turn(list);
  list.Tell(kWarning);
  EXPECT_EQ(held.use_count(), 1);
  auto late = std::make_unique<WarningList>();
  WarningSubscription outlives = late->Subscribe([held](const BudgetWarning&) {});
  late.reset();
  outlives.End();
  EXPECT_EQ(held.use_count(), 1);
}

// What a callback refers to may go once End has returned, whichever thread the call runs on.
TEST(WarningListTest, AnEndWaitsForCallsOfOtherThreads) {
  for (int round = 0; round < 50; ++round) {
    WarningList list;
    std::atomic<bool> entered{false};
    std::atomic<int> calls{0};
    auto target = std::make_unique<std::atomic<int>>(0);
    WarningSubscription subscription = list.Subscribe([&, raw = target.get()](const auto&) {
      entered.store(true);
      std::this_thread::yield();
      raw->fetch_add(1);
      ++calls;
    });
    std::atomic<bool> stop{false};
    std::array<std::thread, 3> threads;
    for (std::thread& thread : threads) {
      thread = std::thread([&] {
        while (!stop.load()) {
          const WarningList::Turn turn(list);
          list.Tell(kWarning);
        }
      });
    }
    while (!entered.load()) std::this_thread::yield();
    subscription.End();
    const int after = calls.load();
    EXPECT_EQ(target->load(), after);
    target.reset();
    for (int i = 0; i < 10; ++i) std::this_thread::yield();
    EXPECT_EQ(calls.load(), after);
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
  }
}

// Two callbacks that end each other's subscription would wait for ever, if an end within a
// callback waited.
TEST(WarningListTest, CallbacksMayEndOneAnother) {
  WarningList list;
  WarningSubscription one, two;
  std::atomic<int> inside{0};
  const auto meet = [&inside] {
    ++inside;
    while (inside.load() < 2) std::this_thread::yield();
  };
  std::atomic<bool> ended{false};
  one = list.Subscribe([&](const BudgetWarning& warning) {
    if (warning.percent != 1 || ended.load()) return;
    meet();
    two.End();
  });
  WarningList other;
  two = other.Subscribe([&](const BudgetWarning&) {
    meet();
    one.End();
  });
  std::thread thread([&] { other.Deliver([&] { return other.Tell(kWarning), false; }); });
  list.Deliver([&] { return list.Tell(Warning(1)), false; });
  thread.join();
  list.Tell(kWarning);
  other.Tell(kWarning);
  EXPECT_EQ(inside.load(), 2);
}

TEST(WarningListTest, WhatACallbackRaisesIsDeliveredAfterIt) {
  WarningList list;
  std::vector<int> seen;
  int depth = 0, left = 3;
  const auto take = [&] {
    if (left == 0) return false;
    const int now = left--;
    list.Tell(Warning(now));
    return true;
  };
  const WarningSubscription subscription = list.Subscribe([&](const BudgetWarning& warning) {
    EXPECT_EQ(depth++, 0);
    list.Deliver(take);  // notes so, and returns
    seen.push_back(warning.percent);
    --depth;
  });
  list.Deliver(take);
  EXPECT_EQ(seen, (std::vector<int>{3, 2, 1}));
}

TEST(WarningListTest, RaisingWithoutEndIsCutOff) {
  WarningList list;
  int calls = 0;
  const auto take = [&] { return list.Tell(kWarning), true; };
  const WarningSubscription subscription =
      list.Subscribe([&](const BudgetWarning&) { ++calls, list.Deliver(take); });
  list.Deliver(take);
  EXPECT_EQ(calls, 16);
}

// Two lists, as of a host and a device: the turn in one does not silence the other.
TEST(WarningListTest, TurnsInSeveralListsNest) {
  WarningList host, device;
  int of_device = 0, of_host = 0;
  int host_pending = 1, device_pending = 0;
  const auto take_device = [&] {
    if (device_pending == 0) return false;
    --device_pending;
    device.Tell(kWarning);
    return true;
  };
  const auto take_host = [&] {
    if (host_pending == 0) return false;
    --host_pending;
    host.Tell(kWarning);
    return true;
  };
  const auto one = host.Subscribe([&](const BudgetWarning&) {
    if (++of_host > 1) return;
    ++device_pending;
    device.Deliver(take_device);
    EXPECT_EQ(of_device, 1) << "delivered at once";
  });
  const auto two = device.Subscribe([&](const BudgetWarning&) {
    ++of_device;
    ++host_pending;
    host.Deliver(take_host);
    EXPECT_EQ(of_host, 1) << "left to the turn further out";
  });
  host.Deliver(take_host);
  EXPECT_EQ(of_host, 2);
  EXPECT_FALSE(WarningList::Turn::Any());
}

}  // namespace
}  // namespace mete
