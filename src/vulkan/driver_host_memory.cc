// DriverHostMemory: each block has a header before it, which owns the memory and knows the size,
// since Vulkan frees without one.
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "mete/vulkan/allocators.h"

namespace mete {

struct DriverHostMemory::Header {
  Allocation memory;
  std::size_t size = 0;
};

DriverHostMemory::DriverHostMemory(IResourceConsumer& consumer) noexcept : consumer_(&consumer) {
  callbacks_.pUserData = this;
  callbacks_.pfnAllocation = OnAllocate;
  callbacks_.pfnReallocation = OnReallocate;
  callbacks_.pfnFree = OnFree;
}

DriverHostMemory::Header& DriverHostMemory::HeaderOf(void* memory) noexcept {
  return *std::launder(reinterpret_cast<Header*>(static_cast<std::byte*>(memory) - sizeof(Header)));
}

void* DriverHostMemory::Take(std::size_t size, std::size_t alignment) noexcept {
  alignment = std::max(alignment, alignof(Header));
  const std::size_t before = (sizeof(Header) + alignment - 1) / alignment * alignment;
  if (size == 0 || size > kMaxAllocation - before) return nullptr;
  auto memory =
      consumer_->RequestAllocation(size + before, alignment, AllocationScope::kPersistent);
  if (!memory) return nullptr;
  std::byte* const begin = static_cast<std::byte*>(memory->data()) + before;
  ::new (begin - sizeof(Header)) Header{std::move(*memory), size};
  allocations_.fetch_add(1, std::memory_order_relaxed);
  live_.fetch_add(1, std::memory_order_relaxed);
  live_bytes_.fetch_add(static_cast<std::int64_t>(size), std::memory_order_relaxed);
  return begin;
}

void DriverHostMemory::Give(void* memory) noexcept {
  if (memory == nullptr) return;
  Header& header = HeaderOf(memory);
  live_.fetch_sub(1, std::memory_order_relaxed);
  live_bytes_.fetch_sub(static_cast<std::int64_t>(header.size), std::memory_order_relaxed);
  const Allocation last = std::move(header.memory);  // the header goes with its memory
  header.~Header();
}

void* DriverHostMemory::OnAllocate(void* self, std::size_t size, std::size_t alignment,
                                   VkSystemAllocationScope) {
  return static_cast<DriverHostMemory*>(self)->Take(size, alignment);
}

// Vulkan 1.3, section 11.1, "Host Memory": size 0 frees, and a failure leaves the memory as it was.
void* DriverHostMemory::OnReallocate(void* self, void* memory, std::size_t size,
                                     std::size_t alignment, VkSystemAllocationScope) {
  auto& driver = *static_cast<DriverHostMemory*>(self);
  if (size == 0) {
    driver.Give(memory);
    return nullptr;
  }
  void* const moved = driver.Take(size, alignment);
  if (moved == nullptr || memory == nullptr) return moved;
  std::memcpy(moved, memory, std::min(size, HeaderOf(memory).size));
  driver.Give(memory);
  return moved;
}

void DriverHostMemory::OnFree(void* self, void* memory) {
  static_cast<DriverHostMemory*>(self)->Give(memory);
}

}  // namespace mete
