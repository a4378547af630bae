// The fake under the contract of all allocators: what is tested on it holds for the others.
#include "memory/fake_allocator.h"

#include <algorithm>
#include <cstring>

#include "memory/allocator_contract_test.h"

namespace mete {
namespace {

class FakeWorld final : public AllocatorWorld {
 public:
  explicit FakeWorld(const FakeOptions& options)
      : allocator_(std::make_unique<FakeAllocator>(options)) {}
  IMemoryAllocator& allocator() override { return *allocator_; }
  void Close() override {
    for (std::uint32_t heap = 0; heap < kMaxMemoryHeaps; ++heap) {
      last_[heap] = allocator_->Count(heap);
    }
    allocator_.reset();
  }
  Taken TakenFrom(std::uint32_t heap) override {
    const auto count = allocator_ != nullptr ? allocator_->Count(heap) : last_[heap];
    return {count.blocks, count.bytes, count.peak_bytes};
  }
  void FailBlock(std::int64_t nth) override { allocator_->FailBlock(nth); }
  void Copy(BufferHandle source, BufferHandle target, std::int64_t bytes) override {
    std::memcpy(allocator_->Contents(target).data(), allocator_->Contents(source).data(),
                static_cast<std::size_t>(bytes));
  }

 private:
  std::unique_ptr<FakeAllocator> allocator_;
  std::array<FakeAllocator::HeapCount, kMaxMemoryHeaps> last_;
};

AllocatorCase Case(const char* name, const FakeOptions& options) {
  return {name, [options] { return std::make_unique<FakeWorld>(options); }};
}

INSTANTIATE_TEST_SUITE_P(Fake, AllocatorContractTest,
                         testing::Values(Case("Shared", {}),
                                         Case("SmallBlocks", {.block_bytes = 64 << 10,
                                                              .has_driver_budget = false})),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(FakeAllocatorTest, EveryCallFailsInTurn) {
  FakeAllocator allocator;
  CountingGate gate;
  ASSERT_TRUE(allocator.Attach(gate));
  const BufferDescription buffer{.bytes = 1000, .usage = kBufferStorage};
  int failures = 0;
  for (std::int64_t nth = 1; nth <= 5; ++nth) {
    allocator.FailCall(nth);
    const auto one = allocator.CreateBuffer(buffer, {.name = "one"});
    const auto two = allocator.CreateImage({.format = 37, .usage = kImageSampled}, {});
    for (const bool made : {one.has_value(), two.has_value()}) failures += made ? 0 : 1;
    if (one) allocator.Destroy(*one);
    if (two) allocator.Destroy(*two);
    EXPECT_EQ(gate.all_bytes(), 0);
  }
  EXPECT_EQ(failures, 4);  // each makes two calls, and the fifth failed nothing
}

TEST(FakeAllocatorTest, ALostDeviceSaysSoAndStillTakesBack) {
  FakeAllocator allocator;
  const auto buffer = allocator.CreateBuffer({.bytes = 8, .usage = kBufferStorage}, {});
  ASSERT_TRUE(buffer);
  allocator.set_lost(true);
  const auto lost = allocator.CreateBuffer({.bytes = 8, .usage = kBufferStorage}, {});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().reason, DeviceError::Reason::kDeviceLost);
  allocator.Destroy(*buffer);
  EXPECT_EQ(allocator.Count(0).bytes, 0);
}

}  // namespace
}  // namespace mete
