#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "mete/vulkan/allocators.h"
#include "vulkan/test_stand.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;
using std::chrono::seconds;

class TransferQueueTest : public testing::Test {
 protected:
  TransferQueueTest()
      : stand_(TestStand::kTwoHeaps),
        allocator_(*DirectAllocator::Open(stand_.device())),
        queue_(*VulkanTransferQueue::Open(stand_.device(), stand_.queue(), stand_.family())) {}
  ~TransferQueueTest() override {
    stand_.SetRules("");  // the lost device of a test answers again
    queue_.reset();
    for (const DeviceBuffer& buffer : buffers_) allocator_->Destroy(buffer);
  }

  DeviceBuffer Buffer(std::int64_t bytes, MemoryUse use) {
    const auto made =
        allocator_->CreateBuffer({.bytes = bytes, .usage = kBufferCopySource | kBufferCopyTarget},
                                 {.use = use, .mapped = use != MemoryUse::kDevice});
    EXPECT_TRUE(made);
    buffers_.push_back(*made);
    return *made;
  }

  TestStand stand_;
  std::unique_ptr<IMemoryAllocator> allocator_;
  std::unique_ptr<ITransferQueue> queue_;
  std::vector<DeviceBuffer> buffers_;
};

TEST_F(TransferQueueTest, ValuesRiseAndAreReached) {
  EXPECT_EQ(*queue_->Reached(), 0U);
  const DeviceBuffer up = Buffer(1024, MemoryUse::kUpload);
  const DeviceBuffer device = Buffer(1024, MemoryUse::kDevice);
  const BufferCopy copy{.source = up.buffer, .target = device.buffer, .bytes = 1024};
  std::uint64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    const auto value = queue_->Submit({&copy, 1});
    ASSERT_TRUE(value);
    EXPECT_GT(*value, last);
    last = *value;
  }
  ASSERT_TRUE(queue_->Wait(last, seconds(30)));
  EXPECT_EQ(*queue_->Reached(), last);
  ASSERT_TRUE(queue_->Wait(1, seconds(0)));
}

TEST_F(TransferQueueTest, ABatchIsManyCopies) {
  constexpr std::size_t kCopies = 64;
  const DeviceBuffer up = Buffer(kCopies, MemoryUse::kUpload);
  const DeviceBuffer device = Buffer(kCopies, MemoryUse::kDevice);
  const DeviceBuffer down = Buffer(kCopies, MemoryUse::kReadback);
  auto* const written = static_cast<unsigned char*>(up.info.mapped);
  std::vector<BufferCopy> reversed;
  for (std::size_t i = 0; i < kCopies; ++i) {
    written[i] = static_cast<unsigned char>(i);
    reversed.push_back({.source = up.buffer,
                        .target = device.buffer,
                        .source_offset = static_cast<std::int64_t>(i),
                        .target_offset = static_cast<std::int64_t>(kCopies - 1 - i),
                        .bytes = 1});
  }
  ASSERT_TRUE(allocator_->Flush(up.memory, 0, kCopies));
  ASSERT_TRUE(queue_->Submit(reversed));
  const BufferCopy back{.source = device.buffer, .target = down.buffer, .bytes = kCopies};
  const auto value = queue_->Submit({&back, 1});  // waits on the device for the batch before it
  ASSERT_TRUE(value);
  ASSERT_TRUE(queue_->Wait(*value, seconds(30)));
  ASSERT_TRUE(allocator_->Invalidate(down.memory, 0, kCopies));
  const auto* const read = static_cast<const unsigned char*>(down.info.mapped);
  for (std::size_t i = 0; i < kCopies; ++i) ASSERT_EQ(read[i], kCopies - 1 - i);
}

TEST_F(TransferQueueTest, WhatIsNeverSubmittedIsNotReached) {
  const auto waited = queue_->Wait(1, std::chrono::milliseconds(1));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().reason, Reason::kTimeout);
}

TEST_F(TransferQueueTest, RefusesWhatIsNoCopy) {
  const DeviceBuffer up = Buffer(16, MemoryUse::kUpload);
  const BufferCopy good{.source = up.buffer, .target = up.buffer, .target_offset = 8, .bytes = 8};
  EXPECT_FALSE(queue_->Submit({}));
  std::array<BufferCopy, 4> bad{good, good, good, good};
  bad[0].bytes = 0;
  bad[1].source = BufferHandle::kNone;
  bad[2].source_offset = -1;
  bad[3].target_offset = -1;
  for (const BufferCopy& copy : bad) {
    const auto value = queue_->Submit({&copy, 1});
    ASSERT_FALSE(value);
    EXPECT_EQ(value.error().reason, Reason::kArgument);
  }
  EXPECT_EQ(*queue_->Reached(), 0U);
}

TEST_F(TransferQueueTest, SaysThatTheDeviceIsLost) {
  const DeviceBuffer up = Buffer(16, MemoryUse::kUpload);
  const DeviceBuffer device = Buffer(16, MemoryUse::kDevice);
  const BufferCopy copy{.source = up.buffer, .target = device.buffer, .bytes = 16};
  ASSERT_TRUE(queue_->Submit({&copy, 1}));
  stand_.SetRules("lost=1");
  const auto value = queue_->Submit({&copy, 1});
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().reason, Reason::kDeviceLost);
  const auto waited = queue_->Wait(1, seconds(30));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().reason, Reason::kDeviceLost);
}

TEST_F(TransferQueueTest, ThreadsShareAQueue) {
  const DeviceBuffer up = Buffer(4096, MemoryUse::kUpload);
  const DeviceBuffer device = Buffer(4096, MemoryUse::kDevice);
  std::vector<std::thread> threads;
  for (std::int64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 25; ++i) {
        const BufferCopy copy{.source = up.buffer,
                              .target = device.buffer,
                              .source_offset = thread * 1024,
                              .target_offset = thread * 1024,
                              .bytes = 1024};
        const auto value = queue_->Submit({&copy, 1});
        ASSERT_TRUE(value);
        if (i % 5 == 0) {
          ASSERT_TRUE(queue_->Wait(*value, seconds(30)));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(queue_->Wait(100, seconds(30)));
}

}  // namespace
}  // namespace mete
