#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "memory/test_bridge_world.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;
using std::chrono::milliseconds;
constexpr std::int64_t kKiB = BridgeWorld::kKiB;

std::vector<std::byte> Data(std::size_t bytes, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<std::byte> data(bytes);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random());
  return data;
}

void ExpectArrived(BridgeWorld& w, BufferHandle target, std::int64_t offset,
                   const std::vector<std::byte>& data) {
  const auto there =
      w.fake->Contents(target).subspan(static_cast<std::size_t>(offset), data.size());
  EXPECT_TRUE(std::ranges::equal(there, data));
}

TEST(UploaderTest, AnyAmountOfDataThroughAnyQuota) {
  for (const std::int64_t quota : {kKiB, 16 * kKiB, 40 * kKiB, 1024 * kKiB}) {
    for (const int polls : {0, 1, 7}) {
      BridgeWorld w({.quota = quota, .block_bytes = 16 * kKiB});
      FakeQueue& queue = w.Queue(polls);
      const auto data = Data(300 * kKiB + 77, 1);
      const BufferHandle target = w.Target(310 * kKiB);
      Uploader uploader(*w.bridge, queue);
      const auto ticket = uploader.Upload(target, 100, data);
      ASSERT_TRUE(ticket);
      ASSERT_TRUE(uploader.Wait(*ticket));
      EXPECT_TRUE(*uploader.IsDone(*ticket));
      ExpectArrived(w, target, 100, data);
      EXPECT_LE(w.bridge->usage().peak, quota);
      EXPECT_EQ(w.bridge->usage().slices, 0);
    }
  }
}

TEST(UploaderTest, SmallUploadsShareABatch) {
  BridgeWorld w;
  FakeQueue& queue = w.Queue(1);
  Uploader uploader(*w.bridge, queue, {.batch_bytes = 64 * kKiB, .batch_copies = 100});
  const BufferHandle target = w.Target(64 * kKiB);
  std::vector<std::vector<std::byte>> all;
  UploadTicket last;
  for (unsigned i = 0; i < 250; ++i) {
    all.push_back(Data(50, i + 1));
    const auto ticket = uploader.Upload(target, i * 64, all.back());
    ASSERT_TRUE(ticket);
    EXPECT_EQ(ticket->batch, 1 + i / 100);
    last = *ticket;
  }
  EXPECT_EQ(queue.submitted(), 2u);
  EXPECT_FALSE(*uploader.IsDone(last));
  ASSERT_TRUE(uploader.Wait(last));
  EXPECT_EQ(queue.submitted(), 3u);
  for (unsigned i = 0; i < all.size(); ++i) ExpectArrived(w, target, i * 64, all[i]);
  const auto nothing = uploader.Upload(target, 0, {});
  ASSERT_TRUE(nothing);
  EXPECT_TRUE(*uploader.IsDone(*nothing));
  EXPECT_EQ(uploader.Upload(target, -1, all[0]).error().reason, Reason::kArgument);
  EXPECT_EQ(uploader.Upload(BufferHandle::kNone, 0, all[0]).error().reason, Reason::kArgument);
}

// Two Uploaders whose batches are not full hold all the room there is: whoever needs some has them
// submitted.
TEST(UploaderTest, BatchesThatFillAreFlushedForWhoeverNeedsTheRoom) {
  BridgeWorld w({.quota = 16 * kKiB, .block_bytes = 16 * kKiB});
  FakeQueue& one = w.Queue(1);
  FakeQueue& two = w.Queue(1);
  Uploader first(*w.bridge, one), second(*w.bridge, two);
  const BufferHandle target = w.Target(64 * kKiB);
  const auto half = Data(8 * kKiB, 1), more = Data(12 * kKiB, 2);
  ASSERT_TRUE(first.Upload(target, 0, half));
  ASSERT_TRUE(second.Upload(target, 8 * kKiB, half));
  EXPECT_EQ(one.submitted() + two.submitted(), 0u);
  const auto third = first.Upload(target, 16 * kKiB, more);
  ASSERT_TRUE(third);
  ASSERT_TRUE(first.Wait(*third));
  ExpectArrived(w, target, 0, half);
  ExpectArrived(w, target, 8 * kKiB, half);
  ExpectArrived(w, target, 16 * kKiB, more);
}

TEST(UploaderTest, AFailedSubmissionLosesNothing) {
  BridgeWorld w;
  FakeQueue& queue = w.Queue();
  Uploader uploader(*w.bridge, queue);
  const BufferHandle target = w.Target(64 * kKiB);
  const auto data = Data(1000, 1);
  const auto ticket = uploader.Upload(target, 0, data);
  queue.FailSubmit(1);
  EXPECT_EQ(uploader.Flush().error().reason, Reason::kHostMemory);
  EXPECT_FALSE(*uploader.IsDone(*ticket));
  ASSERT_TRUE(uploader.Flush()) << "it still waits";
  EXPECT_TRUE(*uploader.IsDone(*ticket));
  ExpectArrived(w, target, 0, data);
}

TEST(UploaderTest, AFailedUploadLeavesNothingToBeSubmitted) {
  BridgeWorld w;
  FakeQueue& queue = w.Queue();
  Uploader uploader(*w.bridge, queue, {.batch_bytes = 16 * kKiB, .batch_copies = 100});
  const BufferHandle target = w.Target(256 * kKiB);
  const auto small = Data(100, 1), large = Data(200 * kKiB, 2);
  const auto before = uploader.Upload(target, 210 * kKiB, small);
  queue.FailSubmit(2);
  EXPECT_FALSE(uploader.Upload(target, 0, large));
  ASSERT_TRUE(w.bridge->Drain());
  const std::uint64_t submitted = queue.submitted();
  ASSERT_TRUE(uploader.Wait(*before));
  ExpectArrived(w, target, 210 * kKiB, small);
  EXPECT_LE(queue.submitted(), submitted + 1);
  EXPECT_EQ(w.bridge->usage().slices, 0);
}

TEST(UploaderTest, ADeadlineEndsTheWaitingOfAnUpload) {
  BridgeWorld w({.quota = 16 * kKiB, .block_bytes = 16 * kKiB});
  FakeQueue& queue = w.Queue(FakeQueue::kNever);
  Uploader uploader(*w.bridge, queue);
  const BufferHandle target = w.Target(64 * kKiB);
  const auto data = Data(40 * kKiB, 1);
  const auto refused = uploader.Upload(target, 0, data, StagingWait::For(milliseconds(20)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::kTimeout);
  queue.Complete(10);
  ASSERT_TRUE(w.bridge->Drain());
  EXPECT_EQ(w.bridge->usage().slices, 0);
}

TEST(UploaderTest, ALostDeviceFailsWhatIsNotKnownToBeDone) {
  BridgeWorld w;
  FakeQueue& queue = w.Queue(FakeQueue::kNever);
  Uploader uploader(*w.bridge, queue);
  const BufferHandle target = w.Target(64 * kKiB);
  const auto data = Data(1000, 1);
  const auto done = uploader.Upload(target, 0, data);
  ASSERT_TRUE(uploader.Flush());
  queue.Complete();
  ASSERT_TRUE(uploader.Wait(*done));
  const auto lost = uploader.Upload(target, 0, data);
  ASSERT_TRUE(uploader.Flush());
  std::thread loses([&] {
    std::this_thread::sleep_for(milliseconds(20));
    queue.Lose();
  });
  EXPECT_EQ(uploader.Wait(*lost).error().reason, Reason::kDeviceLost);
  loses.join();
  EXPECT_TRUE(*uploader.IsDone(*done));
  static_cast<void>(w.bridge->Collect());
  EXPECT_EQ(w.bridge->usage().slices, 0);
  EXPECT_EQ(uploader.Upload(target, 0, data).error().reason, Reason::kDeviceLost);
}

TEST(UploaderTest, EveryCallAndEverySubmissionFailsInTurn) {
  const auto data = Data(100 * kKiB, 1);
  for (const int what : {0, 1, 2}) {
    int failed = 0;
    for (std::int64_t nth = 1; nth <= 20; ++nth) {
      BridgeWorld w;
      const BufferHandle target = w.Target(128 * kKiB);
      FakeQueue& queue = w.Queue(2);
      if (what == 0) w.fake->FailCall(nth);
      if (what == 1) w.fake->FailBlock(nth);
      if (what == 2) queue.FailSubmit(nth);
      Uploader uploader(*w.bridge, queue, {.batch_bytes = 10 * kKiB, .batch_copies = 8});
      auto ticket = uploader.Upload(target, 0, data, StagingWait::For(milliseconds(2000)));
      if (!ticket) {
        ++failed;
        ASSERT_TRUE(w.bridge->Drain());
        ticket = uploader.Upload(target, 0, data);
      }
      ASSERT_TRUE(ticket) << what << " " << nth;
      ASSERT_TRUE(uploader.Wait(*ticket));
      ExpectArrived(w, target, 0, data);
      EXPECT_LE(w.bridge->usage().peak, 64 * kKiB);
      EXPECT_EQ(w.bridge->usage().slices, 0);
    }
    // A block that fails is made up for by a smaller one.
    EXPECT_EQ(failed > 0, what != 1) << what;
  }
}

TEST(UploaderTest, EightThreadsShareOneUploaderAndLoseNoByte) {
  BridgeWorld w({.quota = 40 * kKiB, .block_bytes = 16 * kKiB});
  FakeQueue& one = w.Queue(3);
  FakeQueue& two = w.Queue(1);
  {
    Uploader first(*w.bridge, one, {.batch_bytes = 8 * kKiB, .batch_copies = 16});
    Uploader second(*w.bridge, two, {.batch_bytes = 30 * kKiB, .batch_copies = 16});
    std::vector<BufferHandle> targets;
    for (int i = 0; i < 8; ++i) targets.push_back(w.Target(64 * kKiB));
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        std::minstd_rand random(t + 1);
        for (unsigned i = 0; i < 40; ++i) {
          Uploader& uploader = random() % 2 == 0 ? first : second;
          const auto data = Data(1 + random() % (60 * kKiB), t * 1000 + i);
          const auto ticket = uploader.Upload(targets[t], 0, data);
          ASSERT_TRUE(ticket);
          ASSERT_TRUE(uploader.Wait(*ticket));
          ExpectArrived(w, targets[t], 0, data);
          ASSERT_LE(w.bridge->usage().charged, 40 * kKiB);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  ASSERT_TRUE(w.bridge->Drain());
  EXPECT_LE(w.bridge->usage().peak, 40 * kKiB);
  EXPECT_EQ(w.bridge->usage().slices, 0);
}

}  // namespace
}  // namespace mete
