// VMAAllocator and DirectAllocator under the contract of all allocators, on a device of one heap
// and on one of two, with validation on.
#include <memory>

#include "memory/allocator_contract_test.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/test_stand.h"

namespace mete {
namespace {

class VulkanWorld final : public AllocatorWorld {
 public:
  using Opener = Result<std::unique_ptr<IMemoryAllocator>> (*)(const VulkanDevice&);

  VulkanWorld(const char* rules, Opener open) : rules_(rules), stand_(rules) {
    allocator_ = *open(stand_.device());
    queue_ = *VulkanTransferQueue::Open(stand_.device(), stand_.queue(), stand_.family());
  }
  IMemoryAllocator& allocator() override { return *allocator_; }
  void Close() override {
    queue_.reset();
    allocator_.reset();
  }
  Taken TakenFrom(std::uint32_t heap) override {
    const mete_layer_heap count = stand_.layer().HeapCount(heap);
    return {count.blocks, count.bytes, count.peak_bytes};
  }
  void FailBlock(std::int64_t nth) override {
    stand_.SetRules(rules_ + (nth == 0 ? std::string() : ";fail=" + std::to_string(nth)));
  }
  void Copy(BufferHandle source, BufferHandle target, std::int64_t bytes) override {
    const BufferCopy copy{.source = source, .target = target, .bytes = bytes};
    const auto value = queue_->Submit({&copy, 1});
    ASSERT_TRUE(value);
    ASSERT_TRUE(queue_->Wait(*value, std::chrono::seconds(30)));
  }

 private:
  std::string rules_;
  TestStand stand_;
  std::unique_ptr<IMemoryAllocator> allocator_;
  std::unique_ptr<ITransferQueue> queue_;
};

Result<std::unique_ptr<IMemoryAllocator>> OpenVma(const VulkanDevice& device) {
  return VMAAllocator::Open(device);
}

AllocatorCase Case(const char* name, const char* rules, VulkanWorld::Opener open) {
  return {name, [rules, open] { return std::make_unique<VulkanWorld>(rules, open); }};
}

INSTANTIATE_TEST_SUITE_P(
    Vulkan, AllocatorContractTest,
    testing::Values(Case("VmaOneHeap", TestStand::kSmallHeap, OpenVma),
                    Case("VmaTwoHeaps", TestStand::kTwoHeaps, OpenVma),
                    Case("DirectOneHeap", TestStand::kSmallHeap, DirectAllocator::Open),
                    Case("DirectTwoHeaps", TestStand::kTwoHeaps, DirectAllocator::Open)),
    [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace mete
