// BufferHelpers, and the staging that it stands on, on a device of two heaps with validation on.
#include "mete/device_buffers.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mete/host_budget_manager.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/test_stand.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;
constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kMiB = 1024 * 1024;

class DeviceBuffersTest : public testing::Test {
 protected:
  static constexpr std::int64_t kQuota = kMiB;

  DeviceBuffersTest() : stand_(TestStand::kTwoHeaps) {
    HostOptions host_options;
    host_options.limit = 16 * kMiB;
    host_ = *HostBudgetManager::Open(host_options);
    DeviceOptions options;
    options.limit = 64 * kMiB;
    options.driver_poll = std::chrono::milliseconds(0);
    options.leaked = [](const std::vector<MemoryLeak>& leaks) {
      for (const MemoryLeak& leak : leaks) ADD_FAILURE() << leak.owner << " leaks";
    };
    device_ = *DeviceBudgetManager::Open(*VMAAllocator::Open(stand_.device()), options);
    queue_ = *VulkanTransferQueue::Open(stand_.device(), stand_.queue(), stand_.family());
    bridge_ = *BudgetBridge::Open({.quota = kQuota, .block_bytes = kQuota / 4}, host_->budget(),
                                  *device_);
    uploader_ =
        std::make_unique<Uploader>(*bridge_, *queue_, UploadOptions{.batch_bytes = kQuota / 4});
    owner_ = *device_->Owner("scene", 32 * kMiB);
    buffers_.emplace(*device_, *bridge_, *uploader_, *queue_, owner_);
  }
  // In the order of what stands on what; nothing is left on either side.
  ~DeviceBuffersTest() override {
    buffers_.reset();
    uploader_.reset();
    bridge_.reset();
    EXPECT_EQ(host_->budget().used(),
              host_->frames_budget().used() + host_->persistent_budget().used());
    EXPECT_EQ(device_->kind_budget(DeviceKind::kStaging).used(), 0);
    queue_.reset();
    device_.reset();
    EXPECT_EQ(stand_.LayerBlocks(), 0);
  }

  static std::vector<std::byte> RandomBytes(std::int64_t bytes) {
    std::vector<std::byte> data(static_cast<std::size_t>(bytes));
    std::minstd_rand random(static_cast<unsigned>(bytes));
    for (std::byte& byte : data) byte = static_cast<std::byte>(random());
    return data;
  }

  TestStand stand_;
  std::unique_ptr<HostBudgetManager> host_;
  std::unique_ptr<DeviceBudgetManager> device_;
  std::unique_ptr<ITransferQueue> queue_;
  std::unique_ptr<BudgetBridge> bridge_;
  std::unique_ptr<Uploader> uploader_;
  DeviceOwner* owner_ = nullptr;
  std::optional<BufferHelpers> buffers_;
};

TEST_F(DeviceBuffersTest, EveryKindOfUploadArrives) {
  const std::vector<std::byte> data = RandomBytes(100 * kKiB + 7);
  auto vertex = buffers_->Vertex(data);
  auto index = buffers_->Index(data);
  auto storage = buffers_->Storage(data);
  const auto readback = buffers_->Readback(std::ssize(data));
  ASSERT_TRUE(vertex && index && storage && readback);
  ASSERT_TRUE(uploader_->Wait(storage->ready));
  for (const UploadedBuffer* uploaded : {&*vertex, &*index, &*storage}) {
    EXPECT_EQ(*uploader_->IsDone(uploaded->ready), true);
    EXPECT_EQ(uploaded->buffer->info.heap, 0U);  // of the device
    const auto read = buffers_->Read(uploaded->buffer, *readback, std::ssize(data));
    ASSERT_TRUE(read);
    EXPECT_EQ(std::memcmp(read->data(), data.data(), data.size()), 0);
  }
  EXPECT_EQ(owner_->budget().used(), vertex->buffer.charged() + index->buffer.charged() +
                                         storage->buffer.charged() + readback->charged());
}

TEST_F(DeviceBuffersTest, ManyTimesTheQuotaGoesThroughIt) {
  const std::vector<std::byte> data = RandomBytes(16 * kMiB);
  const auto storage = buffers_->Storage(data);
  const auto readback = buffers_->Readback(kMiB);
  ASSERT_TRUE(storage && readback);
  ASSERT_TRUE(uploader_->Wait(storage->ready));
  for (std::int64_t offset = 0; offset < std::ssize(data); offset += kMiB) {
    const auto read = buffers_->Read(storage->buffer, *readback, kMiB, offset);
    ASSERT_TRUE(read);
    ASSERT_EQ(std::memcmp(read->data(), data.data() + offset, kMiB), 0) << offset;
  }
  const StagingUsage usage = bridge_->usage();
  EXPECT_EQ(usage.peak, kQuota);
  EXPECT_EQ(usage.charged, bridge_->host_budget().used());
  // The readback is staging too, beside the quota's blocks.
  EXPECT_EQ(device_->kind_budget(DeviceKind::kStaging).used(), usage.charged + readback->charged());
}

TEST_F(DeviceBuffersTest, ThreadsUploadAtOnce) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      const std::vector<std::byte> data = RandomBytes(700 * kKiB + thread);
      for (int i = 0; i < 4; ++i) {
        const auto storage = buffers_->Storage(data);
        const auto readback = buffers_->Readback(std::ssize(data));
        ASSERT_TRUE(storage && readback);
        ASSERT_TRUE(uploader_->Wait(storage->ready));
        const auto read = buffers_->Read(storage->buffer, *readback, std::ssize(data));
        ASSERT_TRUE(read);
        ASSERT_EQ(std::memcmp(read->data(), data.data(), data.size()), 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(bridge_->usage().peak, kQuota);
}

TEST_F(DeviceBuffersTest, UniformsAreWrittenInPlace) {
  const auto uniform = buffers_->Uniform(256);
  ASSERT_TRUE(uniform);
  const std::vector<std::byte> data = RandomBytes(256);
  EXPECT_TRUE(buffers_->Write(*uniform, 0, data));
  EXPECT_TRUE(buffers_->Write(*uniform, 255, std::span(data).first(1)));
  EXPECT_TRUE(buffers_->Write(*uniform, 256, {}));
  EXPECT_EQ(static_cast<std::byte*>((*uniform)->info.mapped)[255], data[0]);
  for (const std::int64_t offset : {std::int64_t{-1}, std::int64_t{1}, INT64_MAX}) {
    const auto written = buffers_->Write(*uniform, offset, data);
    ASSERT_FALSE(written) << offset;
    EXPECT_EQ(written.error().reason, Reason::kArgument);
  }
}

TEST_F(DeviceBuffersTest, ReadsOnlyWhatIsThere) {
  const auto source = buffers_->Storage(1000);
  const auto readback = buffers_->Readback(500);
  ASSERT_TRUE(source && readback);
  EXPECT_TRUE(buffers_->Read(*source, *readback, 500, 500));
  for (const auto& [bytes, offset] : std::initializer_list<std::pair<std::int64_t, std::int64_t>>{
           {0, 0}, {501, 0}, {500, 501}, {1, -1}, {1, 1000}}) {
    EXPECT_FALSE(buffers_->Read(*source, *readback, bytes, offset)) << bytes << " at " << offset;
  }
  EXPECT_FALSE(buffers_->Read(*source, *source, 1));  // the host cannot see it
}

TEST_F(DeviceBuffersTest, ARefusalLeavesNothing) {
  const std::int64_t before = device_->snapshot().device.used;
  const auto empty = buffers_->Vertex({});
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().reason, Reason::kArgument);
  const std::vector<std::byte> data(static_cast<std::size_t>(33 * kMiB));
  const auto refused = buffers_->Storage(data);  // more than the owner may have
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::kBudget);
  EXPECT_EQ(refused.error().budget.budget, &owner_->budget());
  EXPECT_EQ(owner_->budget().used(), 0);
  EXPECT_EQ(device_->snapshot().device.used, before);
}

TEST_F(DeviceBuffersTest, ALostDeviceIsAnAnswer) {
  const auto kept = buffers_->Storage(1000);
  ASSERT_TRUE(kept);
  stand_.SetRules("heaps=256Mi,512Mi;lost=1");
  const std::vector<std::byte> data = RandomBytes(4 * kMiB);
  const auto lost = buffers_->Storage(data);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().reason, Reason::kDeviceLost);
  EXPECT_EQ(owner_->budget().used(), kept->charged());
  stand_.SetRules(TestStand::kTwoHeaps);
}

TEST_F(DeviceBuffersTest, EveryBlockFailsInTurn) {
  const std::vector<std::byte> data = RandomBytes(2 * kMiB);
  for (int nth = 1; nth <= 8; ++nth) {
    bridge_->Trim();
    stand_.SetRules("heaps=256Mi,512Mi;fail=" + std::to_string(nth));
    const auto storage = buffers_->Storage(data);
    if (storage) {
      ASSERT_TRUE(uploader_->Wait(storage->ready));
    }
    EXPECT_EQ(owner_->budget().used(), storage ? storage->buffer.charged() : 0);
    EXPECT_EQ(bridge_->usage().charged, bridge_->host_budget().used());
    EXPECT_EQ(bridge_->usage().charged, device_->kind_budget(DeviceKind::kStaging).used());
  }
}

}  // namespace
}  // namespace mete
