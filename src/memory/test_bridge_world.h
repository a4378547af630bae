// A host budget, a device in memory and a bridge between them, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "memory/fake_allocator.h"
#include "memory/fake_queue.h"
#include "mete/budget_bridge.h"

namespace mete {

struct BridgeWorld {
  static constexpr std::int64_t kKiB = 1 << 10;
  static constexpr std::int64_t kMiB = 1 << 20;

  explicit BridgeWorld(const StagingOptions& staging = {.quota = 64 * kKiB,
                                                        .block_bytes = 16 * kKiB},
                       std::int64_t host_limit = kNoLimit) {
    host.SetLimit(host_limit);
    auto allocator = std::make_unique<FakeAllocator>(FakeOptions{.block_bytes = 256 * kKiB});
    fake = allocator.get();
    DeviceOptions options;
    options.driver_poll = {};
    options.leaked = [](const auto& left) { ADD_FAILURE() << left.size() << " leaks"; };
    device = *DeviceBudgetManager::Open(std::move(allocator), options);
    bridge = *BudgetBridge::Open(staging, host, *device);
  }
  // Whatever a test did: all went back, on both sides.
  ~BridgeWorld() {
    bridge.reset();
    EXPECT_EQ(host.charged(), 0);
    EXPECT_EQ(Staged(), 0);
    targets.clear();
    device.reset();
  }

  std::int64_t Staged() { return device->kind_budget(DeviceKind::kStaging).used(); }

  // Queues end after the bridge, which follows them.
  FakeQueue& Queue(int polls = 0) {
    queues.push_back(std::make_unique<FakeQueue>(*fake, polls));
    return *queues.back();
  }

  BufferHandle Target(std::int64_t bytes) {
    auto made = device->CreateBuffer({.bytes = bytes, .usage = kBufferCopyTarget});
    EXPECT_TRUE(made);
    targets.push_back(std::move(*made));
    return targets.back()->buffer;
  }

  SharedBudget host{BudgetKind::kLevel, kNoLimit};
  FakeAllocator* fake = nullptr;
  std::unique_ptr<DeviceBudgetManager> device;
  std::vector<std::unique_ptr<FakeQueue>> queues;
  std::unique_ptr<BudgetBridge> bridge;
  std::vector<TrackedBuffer> targets;
};

}  // namespace mete
