// What every IMemoryAllocator must do, as one suite of tests. A test program includes this once and
// instantiates AllocatorContractTest with the worlds that its allocators live in.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "mete/memory_allocator.h"

namespace mete {

// An allocator, and the driver's side of it.
class AllocatorWorld {
 public:
  struct Taken {
    std::int64_t blocks = 0;
    std::int64_t bytes = 0;
    std::int64_t peak_bytes = 0;
    friend bool operator==(const Taken&, const Taken&) = default;
  };
  virtual ~AllocatorWorld() = default;
  virtual IMemoryAllocator& allocator() = 0;
  virtual void Close() = 0;  // ends the allocator
  virtual Taken TakenFrom(std::uint32_t heap) = 0;
  virtual void FailBlock(std::int64_t nth) = 0;  // from now on, as if memory were short; 0: none
  virtual void Copy(BufferHandle source, BufferHandle target, std::int64_t bytes) = 0;
};

struct AllocatorCase {
  const char* name;
  std::function<std::unique_ptr<AllocatorWorld>()> open;
};
inline void PrintTo(const AllocatorCase& tested, std::ostream* out) { *out << tested.name; }

// A gate that grants up to a limit per heap, and checks that it is not told of what it never gave.
class CountingGate final : public MemoryGate {
 public:
  explicit CountingGate(std::int64_t limit = kNoLimit) : limit_(limit) {}
  bool TryTake(std::uint32_t heap, std::int64_t bytes) noexcept override {
    asked_.fetch_add(1);
    std::int64_t taken = bytes_[heap].load();
    do {
      if (bytes > limit_ - taken) return false;
    } while (!bytes_[heap].compare_exchange_weak(taken, taken + bytes));
    blocks_[heap].fetch_add(1);
    return true;
  }
  void Returned(std::uint32_t heap, std::int64_t bytes) noexcept override {
    EXPECT_GE(bytes_[heap].fetch_sub(bytes), bytes);
    EXPECT_GE(blocks_[heap].fetch_sub(1), 1);
  }
  std::int64_t bytes(std::uint32_t heap) const { return bytes_[heap].load(); }
  std::int64_t blocks(std::uint32_t heap) const { return blocks_[heap].load(); }
  std::int64_t all_bytes() const {
    std::int64_t sum = 0;
    for (const auto& bytes : bytes_) sum += bytes.load();
    return sum;
  }
  std::int64_t asked() const { return asked_.load(); }
  void set_limit(std::int64_t limit) { limit_ = limit; }

 private:
  std::atomic<std::int64_t> limit_;
  std::atomic<std::int64_t> asked_{0};
  std::array<std::atomic<std::int64_t>, kMaxMemoryHeaps> bytes_{};
  std::array<std::atomic<std::int64_t>, kMaxMemoryHeaps> blocks_{};
};

class AllocatorContractTest : public testing::TestWithParam<AllocatorCase> {
 protected:
  using Reason = DeviceError::Reason;
  static constexpr std::int64_t kKiB = 1024;
  static constexpr std::int64_t kMiB = 1024 * 1024;

  void SetUp() override { world_ = GetParam().open(); }
  // Whatever a test did: all went back, and the gate knows.
  void TearDown() override {
    world_->Close();
    EXPECT_EQ(gate_.all_bytes(), 0);
    for (std::uint32_t heap = 0; heap < kMaxMemoryHeaps; ++heap) {
      EXPECT_EQ(world_->TakenFrom(heap).bytes, 0) << "heap " << heap;
    }
  }

  IMemoryAllocator& allocator() { return world_->allocator(); }
  void Attach(std::int64_t limit = kNoLimit) {
    gate_.set_limit(limit);
    ASSERT_TRUE(allocator().Attach(gate_));
  }

  static constexpr std::uint32_t kCopied = kBufferCopySource | kBufferCopyTarget;
  DeviceResult<DeviceBuffer> Buffer(std::int64_t bytes, const MemoryRequest& request = {}) {
    return allocator().CreateBuffer({.bytes = bytes, .usage = kCopied | kBufferStorage}, request);
  }
  static ImageDescription Picture(std::uint32_t side) {
    constexpr std::uint32_t kRgba8 = 37;  // VK_FORMAT_R8G8B8A8_UNORM
    return {.format = kRgba8,
            .width = side,
            .height = side,
            .usage = kImageCopySource | kImageCopyTarget | kImageSampled};
  }

  // The gate, the allocator and the driver count the same, on every heap.
  void ExpectEqualCounts() {
    const MemoryStatistics statistics = allocator().Statistics();
    for (std::uint32_t heap = 0; heap < kMaxMemoryHeaps; ++heap) {
      const auto taken = world_->TakenFrom(heap);
      ASSERT_EQ(gate_.bytes(heap), taken.bytes) << "heap " << heap;
      ASSERT_EQ(statistics[heap].block_bytes, taken.bytes) << "heap " << heap;
      ASSERT_EQ(gate_.blocks(heap), taken.blocks) << "heap " << heap;
      ASSERT_EQ(statistics[heap].blocks, taken.blocks) << "heap " << heap;
    }
  }
  HeapStatistics Total() {
    HeapStatistics total;
    for (const HeapStatistics& heap : allocator().Statistics()) {
      total.blocks += heap.blocks;
      total.block_bytes += heap.block_bytes;
      total.allocations += heap.allocations;
      total.allocation_bytes += heap.allocation_bytes;
    }
    return total;
  }

  void Fill(MemoryHandle memory, std::int64_t bytes, int value) {
    const auto address = allocator().Map(memory);
    ASSERT_TRUE(address);
    std::memset(*address, value, static_cast<std::size_t>(bytes));
    EXPECT_TRUE(allocator().Flush(memory, 0, bytes));
    allocator().Unmap(memory);
  }
  void ExpectFilled(MemoryHandle memory, std::int64_t bytes, int value) {
    EXPECT_TRUE(allocator().Invalidate(memory, 0, bytes));
    const auto address = allocator().Map(memory);
    ASSERT_TRUE(address);
    const std::span<const unsigned char> read(static_cast<const unsigned char*>(*address),
                                              static_cast<std::size_t>(bytes));
    std::int64_t wrong = 0;
    for (const unsigned char byte : read) wrong += byte != value ? 1 : 0;
    EXPECT_EQ(wrong, 0) << "of " << bytes << " bytes";
    allocator().Unmap(memory);
  }

  CountingGate gate_;
  std::unique_ptr<AllocatorWorld> world_;
};

TEST_P(AllocatorContractTest, HasALayoutAndAName) {
  const DeviceMemoryLayout& layout = allocator().layout();
  ASSERT_GE(layout.heap_count, 1U);
  ASSERT_GE(layout.type_count, 1U);
  EXPECT_GT(layout.max_block_bytes, 0);
  EXPECT_GT(layout.max_blocks, 0);
  for (std::uint32_t type = 0; type < layout.type_count; ++type) {
    EXPECT_LT(layout.types[type].heap, layout.heap_count);
  }
  EXPECT_NE(std::string(allocator().name()), "");
}

TEST_P(AllocatorContractTest, BytesGoToTheDeviceAndComeBack) {
  Attach();
  for (const std::int64_t bytes : {std::int64_t{1}, kKiB, kMiB + 3}) {
    const auto up = Buffer(bytes, {.use = MemoryUse::kUpload});
    const auto middle = Buffer(bytes);
    const auto down = Buffer(bytes, {.use = MemoryUse::kReadback, .mapped = true});
    ASSERT_TRUE(up && middle && down);
    EXPECT_NE(down->info.mapped, nullptr);
    EXPECT_EQ(middle->bytes, bytes);
    EXPECT_GE(middle->info.bytes, bytes);
    Fill(up->memory, bytes, 0x5A);
    world_->Copy(up->buffer, middle->buffer, bytes);
    world_->Copy(middle->buffer, down->buffer, bytes);
    ExpectFilled(down->memory, bytes, 0x5A);
    ExpectEqualCounts();
    for (const auto& buffer : {*up, *middle, *down}) allocator().Destroy(buffer);
  }
  EXPECT_EQ(Total().allocations, 0);
}

TEST_P(AllocatorContractTest, UsesHaveTheMemoryThatTheyAskFor) {
  Attach();
  const auto& types = allocator().layout().types;
  const auto device = Buffer(kKiB);
  const auto up = Buffer(kKiB, {.use = MemoryUse::kUpload});
  const auto down = Buffer(kKiB, {.use = MemoryUse::kReadback});
  const auto any = Buffer(kKiB, {.use = MemoryUse::kDeviceOrHost});
  ASSERT_TRUE(device && up && down && any);
  EXPECT_TRUE(types[device->info.type].device_local);
  EXPECT_TRUE(types[any->info.type].device_local);
  EXPECT_TRUE(types[up->info.type].host_visible);
  EXPECT_TRUE(types[down->info.type].host_visible);
  for (const auto& buffer : {*device, *up, *down, *any}) {
    EXPECT_EQ(buffer.info.heap, types[buffer.info.type].heap);
    allocator().Destroy(buffer);
  }
}

TEST_P(AllocatorContractTest, WhatMakesNoSenseIsRefused) {
  Attach();
  const auto reason = [](const auto& result) {
    return result ? Reason::kSystem : result.error().reason;
  };
  EXPECT_EQ(reason(Buffer(0)), Reason::kArgument);
  EXPECT_EQ(reason(Buffer(-1)), Reason::kArgument);
  EXPECT_EQ(reason(Buffer(kKiB, {.mapped = true})), Reason::kArgument);
  EXPECT_EQ(reason(Buffer(kKiB, {.priority = 1.5F})), Reason::kArgument);
  EXPECT_EQ(reason(Buffer(kKiB, {.dedicated = true, .existing_only = true})), Reason::kArgument);
  EXPECT_EQ(reason(allocator().CreateBuffer({.bytes = 1, .usage = 0}, {})), Reason::kArgument);
  ImageDescription image = Picture(4);
  image.samples = 3;
  EXPECT_EQ(reason(allocator().CreateImage(image, {})), Reason::kArgument);
  image = Picture(0);
  EXPECT_EQ(reason(allocator().CreateImage(image, {})), Reason::kArgument);
  EXPECT_EQ(reason(allocator().Allocate({.bytes = 0, .types = 1}, {})), Reason::kArgument);
  EXPECT_EQ(reason(allocator().PlaceBuffer(MemoryHandle::kNone, 0, {.bytes = 1, .usage = 1})),
            Reason::kArgument);
  EXPECT_EQ(gate_.asked(), 0);
  EXPECT_EQ(Total().allocations, 0);
}

TEST_P(AllocatorContractTest, TheGateIsAskedBeforeAndToldAfter) {
  Attach();
  std::vector<DeviceBuffer> buffers;
  for (int i = 0; i < 20; ++i) {
    auto buffer = Buffer(300 * kKiB, {.dedicated = i % 3 == 0});
    ASSERT_TRUE(buffer);
    buffers.push_back(*buffer);
    ExpectEqualCounts();
  }
  for (const DeviceBuffer& buffer : buffers) {
    allocator().Destroy(buffer);
    ExpectEqualCounts();
  }
}

TEST_P(AllocatorContractTest, ARefusalOfTheGateIsObeyedToTheByte) {
  constexpr std::int64_t kLimit = 5 * kMiB;
  Attach(kLimit);
  std::vector<DeviceBuffer> buffers;
  DeviceError refusal;
  for (;;) {
    auto buffer = Buffer(kMiB, {.dedicated = buffers.size() % 2 == 0});
    if (!buffer) {
      refusal = buffer.error();
      break;
    }
    buffers.push_back(*buffer);
    ASSERT_LE(buffers.size(), 5U);
  }
  EXPECT_EQ(refusal.reason, Reason::kBudget);
  EXPECT_EQ(refusal.bytes, kMiB);
  ExpectEqualCounts();
  for (std::uint32_t heap = 0; heap < allocator().layout().heap_count; ++heap) {
    EXPECT_LE(world_->TakenFrom(heap).peak_bytes, kLimit);
  }
  // It is no worse off than before: what is freed can be had again.
  ASSERT_FALSE(buffers.empty());
  const bool dedicated = (buffers.size() - 1) % 2 == 0;
  allocator().Destroy(buffers.back());
  buffers.pop_back();
  auto again = Buffer(kMiB, {.dedicated = dedicated});
  EXPECT_TRUE(again);
  if (again) buffers.push_back(*again);
  for (const DeviceBuffer& buffer : buffers) allocator().Destroy(buffer);
}

TEST_P(AllocatorContractTest, ALimitOfNothingGrantsNothing) {
  Attach(0);
  const auto buffer = Buffer(1);
  ASSERT_FALSE(buffer);
  EXPECT_EQ(buffer.error().reason, Reason::kBudget);
  EXPECT_EQ(Total().blocks, 0);
}

TEST_P(AllocatorContractTest, OneGateBeforeAnythingIsTaken) {
  const auto early = Buffer(kKiB, {.dedicated = true});
  ASSERT_TRUE(early);
  CountingGate other;
  auto attached = allocator().Attach(other);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, ErrorCode::kInUse);
  allocator().Destroy(*early);
  Attach();
  attached = allocator().Attach(other);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, ErrorCode::kAlreadyExists);
}

TEST_P(AllocatorContractTest, ExistingOnlyTakesNothing) {
  Attach();
  const auto fresh = Buffer(kKiB, {.existing_only = true});
  ASSERT_FALSE(fresh);
  EXPECT_EQ(fresh.error().reason, Reason::kNoRoom);
  EXPECT_EQ(gate_.asked(), 0);
  const auto first = Buffer(kKiB);
  ASSERT_TRUE(first);
  const std::int64_t asked = gate_.asked();
  const auto second = Buffer(kKiB, {.existing_only = true});
  EXPECT_EQ(gate_.asked(), asked);
  if (second) {
    allocator().Destroy(*second);
  } else {
    EXPECT_EQ(second.error().reason, Reason::kNoRoom);
  }
  allocator().Destroy(*first);
}

TEST_P(AllocatorContractTest, AliasesOwnNoMemory) {
  Attach();
  const BufferDescription small{.bytes = 64 * kKiB, .usage = kCopied};
  const auto needs = allocator().Needs(small);
  ASSERT_TRUE(needs);
  EXPECT_GE(needs->bytes, small.bytes);
  MemoryNeeds both = *needs;
  both.bytes = 2 * (needs->bytes + needs->alignment);
  const auto memory = allocator().Allocate(both, {.use = MemoryUse::kUpload, .can_alias = true});
  ASSERT_TRUE(memory);
  const HeapStatistics before = Total();
  const auto one = allocator().PlaceBuffer(memory->memory, 0, small);
  const auto same = allocator().PlaceBuffer(memory->memory, 0, small);
  const auto last = allocator().PlaceBuffer(memory->memory, needs->alignment, small);
  ASSERT_TRUE(one && same && last);
  EXPECT_EQ(one->memory, MemoryHandle::kNone);
  EXPECT_EQ(Total().allocations, before.allocations);
  EXPECT_EQ(Total().allocation_bytes, before.allocation_bytes);
  Fill(memory->memory, small.bytes, 0x11);
  for (const auto& buffer : {*one, *same, *last}) allocator().Destroy(buffer);
  // The memory is still there, with what is in it.
  EXPECT_EQ(Total().allocations, before.allocations);
  ExpectFilled(memory->memory, small.bytes, 0x11);
  allocator().Free(memory->memory);
  EXPECT_EQ(Total().allocations, 0);
}

TEST_P(AllocatorContractTest, AliasesEndWithinTheirMemory) {
  Attach();
  const BufferDescription small{.bytes = 64 * kKiB, .usage = kCopied};
  const auto needs = allocator().Needs(small);
  ASSERT_TRUE(needs);
  const auto memory = allocator().Allocate(*needs, {.can_alias = true});
  ASSERT_TRUE(memory);
  const std::int64_t end = memory->info.bytes;
  for (const std::int64_t offset : {std::int64_t{-1}, needs->alignment, end, INT64_MAX}) {
    const auto placed = allocator().PlaceBuffer(memory->memory, offset, small);
    ASSERT_FALSE(placed) << offset;
    EXPECT_EQ(placed.error().reason, Reason::kArgument) << offset;
  }
  if (needs->alignment > 1) {
    const auto crooked = allocator().PlaceBuffer(memory->memory, 1, {.bytes = 1, .usage = kCopied});
    EXPECT_FALSE(crooked);
    if (crooked) allocator().Destroy(*crooked);
  }
  allocator().Free(memory->memory);
}

TEST_P(AllocatorContractTest, ImagesAreChargedWhatTheyNeed) {
  Attach();
  ImageDescription image = Picture(64);
  const auto plain = allocator().Needs(image);
  image.levels = 7;
  const auto levels = allocator().Needs(image);
  image.layers = 6;
  const auto layers = allocator().Needs(image);
  ASSERT_TRUE(plain && levels && layers);
  EXPECT_GE(plain->bytes, 64 * 64 * 4);
  EXPECT_GT(levels->bytes, plain->bytes);
  EXPECT_GT(layers->bytes, 4 * levels->bytes);
  const auto made = allocator().CreateImage(image, {.name = "layers"});
  ASSERT_TRUE(made);
  EXPECT_GE(made->info.bytes, layers->bytes);
  ExpectEqualCounts();
  allocator().Destroy(*made);

  const auto memory = allocator().Allocate(*plain, {.can_alias = true});
  ASSERT_TRUE(memory);
  const auto placed = allocator().PlaceImage(memory->memory, 0, Picture(64));
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->memory, MemoryHandle::kNone);
  allocator().Destroy(*placed);
  const auto too_large = allocator().PlaceImage(memory->memory, 0, Picture(128));
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().reason, Reason::kArgument);
  allocator().Free(memory->memory);
}

TEST_P(AllocatorContractTest, MapsNestAndAreForTheHost) {
  Attach();
  const auto up = Buffer(kKiB, {.use = MemoryUse::kUpload});
  ASSERT_TRUE(up);
  const auto first = allocator().Map(up->memory);
  const auto second = allocator().Map(up->memory);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  allocator().Unmap(up->memory);
  std::memset(*first, 1, kKiB);
  allocator().Unmap(up->memory);
  allocator().Destroy(*up);

  const auto device = Buffer(kKiB);
  ASSERT_TRUE(device);
  if (!allocator().layout().types[device->info.type].host_visible) {
    const auto address = allocator().Map(device->memory);
    ASSERT_FALSE(address);
    EXPECT_EQ(address.error().reason, Reason::kArgument);
  }
  allocator().Destroy(*device);
}

TEST_P(AllocatorContractTest, FlushesAnyRangeThatIsWithin) {
  Attach();
  constexpr std::int64_t kOdd = 1000;
  const auto down = Buffer(kOdd, {.use = MemoryUse::kReadback, .mapped = true});
  ASSERT_TRUE(down);
  const std::int64_t end = down->info.bytes;
  for (const auto& [offset, bytes] : std::initializer_list<std::pair<std::int64_t, std::int64_t>>{
           {0, 0}, {0, 1}, {1, 1}, {63, 2}, {end - 1, 1}, {end, 0}, {0, end}}) {
    EXPECT_TRUE(allocator().Flush(down->memory, offset, bytes)) << offset << "+" << bytes;
    EXPECT_TRUE(allocator().Invalidate(down->memory, offset, bytes)) << offset << "+" << bytes;
  }
  for (const auto& [offset, bytes] : std::initializer_list<std::pair<std::int64_t, std::int64_t>>{
           {-1, 1}, {0, -1}, {0, end + 1}, {end, 1}, {1, INT64_MAX}}) {
    EXPECT_FALSE(allocator().Flush(down->memory, offset, bytes)) << offset << "+" << bytes;
    EXPECT_FALSE(allocator().Invalidate(down->memory, offset, bytes)) << offset << "+" << bytes;
  }
  allocator().Destroy(*down);
}

TEST_P(AllocatorContractTest, DedicatedMemoryIsABlockOfItsOwn) {
  Attach();
  const auto buffer = Buffer(kMiB, {.dedicated = true, .priority = 1.0F});
  ASSERT_TRUE(buffer);
  EXPECT_EQ(Total().blocks, 1);
  EXPECT_EQ(Total().block_bytes, buffer->info.bytes);
  EXPECT_EQ(buffer->info.offset, 0);
  allocator().Destroy(*buffer);
  EXPECT_EQ(Total().blocks, 0);
}

TEST_P(AllocatorContractTest, PoolsTakeBlocksOfTheSizeGiven) {
  Attach();
  const auto needs = allocator().Needs(BufferDescription{.bytes = 256 * kKiB, .usage = kCopied});
  ASSERT_TRUE(needs);
  const auto pool = allocator().CreatePool(
      {.use = MemoryUse::kUpload, .types = needs->types, .block_bytes = kMiB, .max_blocks = 2});
  if (!pool) {
    EXPECT_EQ(pool.error().reason, Reason::kUnsupported);
    return;
  }
  std::vector<DeviceBuffer> buffers;
  for (int i = 0; i < 8; ++i) {
    const auto buffer = allocator().CreateBuffer({.bytes = 256 * kKiB, .usage = kCopied},
                                                 {.use = MemoryUse::kUpload, .pool = *pool});
    ASSERT_TRUE(buffer) << i;
    buffers.push_back(*buffer);
    EXPECT_EQ(Total().block_bytes, (i / 4 + 1) * kMiB);
  }
  const auto ninth = allocator().CreateBuffer({.bytes = kKiB, .usage = kCopied},
                                              {.use = MemoryUse::kUpload, .pool = *pool});
  ASSERT_FALSE(ninth);
  EXPECT_EQ(ninth.error().reason, Reason::kNoRoom);
  ExpectEqualCounts();
  for (const DeviceBuffer& buffer : buffers) allocator().Destroy(buffer);
  allocator().DestroyPool(*pool);
  EXPECT_EQ(Total().blocks, 0);
  EXPECT_FALSE(allocator().CreatePool({.block_bytes = 0}));
}

TEST_P(AllocatorContractTest, NamesAreKept) {
  Attach();
  std::string name = "vertices of the city";
  const auto buffer = Buffer(kKiB, {.name = name.c_str()});
  name.assign(name.size(), '?');  // it was copied
  ASSERT_TRUE(buffer);
  ASSERT_NE(allocator().Info(buffer->memory).name, nullptr);
  EXPECT_STREQ(allocator().Info(buffer->memory).name, "vertices of the city");
  allocator().Destroy(*buffer);
}

// Copies what is in each place to the new one, and keeps track of where everything is.
class MovingBuffers final : public MemoryMover {
 public:
  struct Kept {
    DeviceBuffer buffer;
    std::int64_t bytes = 0;
    int value = 0;
  };
  MovingBuffers(AllocatorWorld& world, std::uint32_t usage) : world_(world), usage_(usage) {}
  void Move(std::span<MemoryMove> moves) noexcept override {
    for (MemoryMove& move : moves) {
      Kept& kept = all[static_cast<std::size_t>(move.tag - 1)];
      if (++seen % 5 == 0) continue;  // one in five stays where it is
      EXPECT_EQ(kept.buffer.memory, move.memory);
      EXPECT_GE(move.bytes, kept.bytes);
      const auto placed =
          world_.allocator().PlaceBuffer(move.target, 0, {.bytes = kept.bytes, .usage = usage_});
      if (!placed) continue;
      world_.Copy(kept.buffer.buffer, placed->buffer, kept.bytes);
      world_.allocator().Destroy(DeviceBuffer{.buffer = kept.buffer.buffer});
      kept.buffer.buffer = placed->buffer;
      move.done = true;
      ++moved;
    }
  }
  std::vector<Kept> all;
  std::int64_t seen = 0;
  std::int64_t moved = 0;

 private:
  AllocatorWorld& world_;
  std::uint32_t usage_;
};

TEST_P(AllocatorContractTest, DefragmentingMovesContentsAndFreesBlocks) {
  Attach();
  MovingBuffers mover(*world_, kCopied);
  constexpr std::int64_t kBytes = 256 * kKiB;
  for (int i = 0; i < 160; ++i) {
    const auto buffer = allocator().CreateBuffer(
        {.bytes = kBytes, .usage = kCopied},
        {.use = MemoryUse::kUpload, .tag = static_cast<std::uint64_t>(i + 1)});
    ASSERT_TRUE(buffer);
    Fill(buffer->memory, kBytes, i + 1);
    mover.all.push_back({*buffer, kBytes, i + 1});
  }
  // Two of three go: gaps everywhere.
  for (std::size_t i = 0; i < mover.all.size(); ++i) {
    if (i % 3 != 0) allocator().Destroy(std::exchange(mover.all[i].buffer, {}));
  }
  const HeapStatistics before = Total();
  DefragmentResult sum;
  for (int pass = 0; pass < 50; ++pass) {
    const auto done = allocator().Defragment({.max_bytes = 4 * kMiB, .max_moves = 8}, mover);
    ASSERT_TRUE(done);
    EXPECT_LE(done->moves, 8);
    EXPECT_LE(done->moved_bytes, 4 * kMiB);
    if (done->moves == 0) break;
    sum.moves += done->moves;
    sum.freed_blocks += done->freed_blocks;
    sum.freed_bytes += done->freed_bytes;
    ExpectEqualCounts();
  }
  EXPECT_EQ(sum.moves, mover.moved);
  if (before.blocks < before.allocations) {  // blocks are shared
    EXPECT_GT(sum.moves, 0);
    EXPECT_GT(sum.freed_blocks, 0);
  }
  EXPECT_EQ(Total().allocations, before.allocations);
  EXPECT_EQ(Total().block_bytes, before.block_bytes - sum.freed_bytes);
  for (const auto& kept : mover.all) {
    if (kept.buffer.memory == MemoryHandle::kNone) continue;
    ExpectFilled(kept.buffer.memory, kept.bytes, kept.value);
    allocator().Destroy(kept.buffer);
  }
}

TEST_P(AllocatorContractTest, WhatHasNoTagStaysWhereItIs) {
  Attach();
  std::vector<DeviceBuffer> buffers;
  for (int i = 0; i < 8; ++i) {
    const auto buffer = Buffer(kMiB);
    ASSERT_TRUE(buffer);
    buffers.push_back(*buffer);
  }
  for (const int gone : {6, 4, 2, 0}) {
    allocator().Destroy(buffers[static_cast<std::size_t>(gone)]);
    buffers.erase(buffers.begin() + gone);
  }
  MovingBuffers mover(*world_, kCopied);
  const auto done = allocator().Defragment({}, mover);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->moves, 0);
  EXPECT_EQ(mover.seen, 0);
  for (const DeviceBuffer& buffer : buffers) allocator().Destroy(buffer);
}

TEST_P(AllocatorContractTest, EveryBlockFailsInTurn) {
  Attach();
  const auto scenario = [&] {
    std::vector<DeviceBuffer> buffers;
    for (int i = 0; i < 4; ++i) {
      auto buffer = Buffer(kMiB, {.use = i % 2 == 0 ? MemoryUse::kDevice : MemoryUse::kUpload,
                                  .dedicated = i >= 2,
                                  .name = "part"});
      if (!buffer) {
        EXPECT_EQ(buffer.error().reason, Reason::kDeviceMemory);
        continue;
      }
      buffers.push_back(*buffer);
    }
    auto image = allocator().CreateImage(Picture(32), {.dedicated = true});
    if (image) allocator().Destroy(*image);
    for (const DeviceBuffer& buffer : buffers) allocator().Destroy(buffer);
    EXPECT_EQ(Total().allocations, 0);
    ExpectEqualCounts();
  };
  for (std::int64_t nth = 1; nth <= 8; ++nth) {
    world_->FailBlock(nth);
    scenario();
  }
  world_->FailBlock(0);
  scenario();
}

TEST_P(AllocatorContractTest, EightThreadsStayWithinTheGate) {
  constexpr std::int64_t kLimit = 48 * kMiB;
  Attach(kLimit);
  std::atomic<std::int64_t> granted{0};
  std::atomic<std::int64_t> refused{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    threads.emplace_back([&, seed] {
      std::minstd_rand random(seed);
      std::vector<DeviceBuffer> buffers;
      for (int i = 0; i < 120; ++i) {
        if (!buffers.empty() && random() % 3 == 0) {
          allocator().Destroy(buffers.back());
          buffers.pop_back();
          continue;
        }
        auto buffer = Buffer(static_cast<std::int64_t>(random() % (2 * kMiB)) + 1,
                             {.dedicated = random() % 4 == 0});
        if (buffer) {
          buffers.push_back(*buffer);
          granted.fetch_add(1);
        } else {
          EXPECT_EQ(buffer.error().reason, Reason::kBudget);
          refused.fetch_add(1);
        }
      }
      for (const DeviceBuffer& buffer : buffers) allocator().Destroy(buffer);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(granted.load(), 0);
  EXPECT_GT(refused.load(), 0);
  for (std::uint32_t heap = 0; heap < allocator().layout().heap_count; ++heap) {
    EXPECT_LE(world_->TakenFrom(heap).peak_bytes, kLimit) << "heap " << heap;
  }
  ExpectEqualCounts();
}

TEST_P(AllocatorContractTest, AThousandRandomOperationsCountTheSame) {
  Attach(96 * kMiB);
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<DeviceBuffer> buffers;
  std::vector<DeviceImage> images;
  std::int64_t live_bytes = 0;
  for (int i = 0; i < 1000; ++i) {
    const unsigned kind = random() % 8;
    if (kind < 4) {
      const auto use = static_cast<MemoryUse>(random() % 4);
      auto buffer = Buffer(static_cast<std::int64_t>(random() % (3 * kMiB)) + 1,
                           {.use = use, .dedicated = random() % 5 == 0});
      if (buffer) {
        live_bytes += buffer->info.bytes;
        buffers.push_back(*buffer);
      }
    } else if (kind == 4) {
      auto image = allocator().CreateImage(Picture(random() % 512 + 1), {});
      if (image) {
        live_bytes += image->info.bytes;
        images.push_back(*image);
      }
    } else if (kind == 5 && !images.empty()) {
      std::swap(images[random() % images.size()], images.back());
      live_bytes -= images.back().info.bytes;
      allocator().Destroy(images.back());
      images.pop_back();
    } else if (!buffers.empty()) {
      std::swap(buffers[random() % buffers.size()], buffers.back());
      live_bytes -= buffers.back().info.bytes;
      allocator().Destroy(buffers.back());
      buffers.pop_back();
    }
    ASSERT_NO_FATAL_FAILURE(ExpectEqualCounts()) << i;
    ASSERT_EQ(Total().allocation_bytes, live_bytes) << i;
    ASSERT_EQ(Total().allocations, static_cast<std::int64_t>(buffers.size() + images.size()));
  }
  for (const DeviceBuffer& buffer : buffers) allocator().Destroy(buffer);
  for (const DeviceImage& image : images) allocator().Destroy(image);
}

TEST_P(AllocatorContractTest, TheDriversBudgetIsAskedOnlyWhenWanted) {
  const auto budget = allocator().QueryDriverBudget();
  if (!allocator().layout().has_driver_budget) {
    ASSERT_FALSE(budget);
    EXPECT_EQ(budget.error().reason, Reason::kUnsupported);
    return;
  }
  ASSERT_TRUE(budget);
  EXPECT_GT((*budget)[0].budget, 0U);
}

}  // namespace mete
