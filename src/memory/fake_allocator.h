// FakeAllocator: a device that is not there, in memory of the host. A whole allocator all the same:
// blocks, placement in them, pools, aliases, defragmentation. For tests that need no driver, and an
// example of how to write an allocator of one's own.
//
// It counts what it takes per heap, and can be told to fail.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "mete/memory_allocator.h"

namespace mete {

struct FakeOptions {
  // A discrete device: heap 0 of the device, heap 1 of the host; type 0 device local, type 1 host
  // visible and coherent, type 2 host visible and cached.
  std::int64_t device_bytes = std::int64_t{256} << 20;
  std::int64_t host_bytes = std::int64_t{512} << 20;
  std::int64_t block_bytes = std::int64_t{4} << 20;  // of shared blocks
  std::int64_t max_blocks = 4096;
  bool has_driver_budget = true;
};

class FakeAllocator final : public IMemoryAllocator {
 public:
  struct HeapCount {
    std::int64_t blocks = 0;
    std::int64_t bytes = 0;
    std::int64_t peak_bytes = 0;
  };

  explicit FakeAllocator(const FakeOptions& options = {});
  ~FakeAllocator() override;

  // What the "driver" has handed out.
  HeapCount Count(std::uint32_t heap) const;

  // The n-th block from now on, or the n-th resource or allocation, fails once; 0: none does.
  void FailBlock(std::int64_t nth);
  void FailCall(std::int64_t nth);
  void set_lost(bool lost);
  void set_driver_budget(const DriverBudget& budget);
  std::int64_t budget_queries() const;

  // The bytes behind a buffer, for whoever plays the device.
  std::span<std::byte> Contents(BufferHandle buffer);

  const char* name() const noexcept override { return "fake"; }
  const DeviceMemoryLayout& layout() const noexcept override { return layout_; }
  Result<void> Attach(MemoryGate& gate) noexcept override;
  DeviceResult<DeviceBuffer> CreateBuffer(const BufferDescription& description,
                                          const MemoryRequest& request) noexcept override;
  DeviceResult<DeviceImage> CreateImage(const ImageDescription& description,
                                        const MemoryRequest& request) noexcept override;
  DeviceResult<DeviceMemory> Allocate(const MemoryNeeds& needs,
                                      const MemoryRequest& request) noexcept override;
  DeviceResult<MemoryNeeds> Needs(const BufferDescription& description) noexcept override;
  DeviceResult<MemoryNeeds> Needs(const ImageDescription& description) noexcept override;
  DeviceResult<DeviceBuffer> PlaceBuffer(MemoryHandle memory, std::int64_t offset,
                                         const BufferDescription& description) noexcept override;
  DeviceResult<DeviceImage> PlaceImage(MemoryHandle memory, std::int64_t offset,
                                       const ImageDescription& description) noexcept override;
  void Destroy(const DeviceBuffer& buffer) noexcept override;
  void Destroy(const DeviceImage& image) noexcept override;
  void Free(MemoryHandle memory) noexcept override;
  DeviceResult<void*> Map(MemoryHandle memory) noexcept override;
  void Unmap(MemoryHandle memory) noexcept override;
  DeviceResult<void> Flush(MemoryHandle memory, std::int64_t offset,
                           std::int64_t bytes) noexcept override;
  DeviceResult<void> Invalidate(MemoryHandle memory, std::int64_t offset,
                                std::int64_t bytes) noexcept override;
  MemoryInfo Info(MemoryHandle memory) const noexcept override;
  DeviceResult<PoolHandle> CreatePool(const PoolDescription& description) noexcept override;
  void DestroyPool(PoolHandle pool) noexcept override;
  DeviceResult<DefragmentResult> Defragment(const DefragmentLimits& limits,
                                            MemoryMover& mover) noexcept override;
  MemoryStatistics Statistics() const noexcept override;
  DeviceResult<DriverBudget> QueryDriverBudget() noexcept override;

 private:
  struct Memory;
  struct Pool {
    std::uint32_t type = 0;
    std::int64_t block_bytes = 0;
    std::int64_t max_blocks = 0;
    std::int64_t blocks = 0;
  };
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::int64_t size = 0;
    std::uint32_t type = 0;
    bool dedicated = false;
    Pool* pool = nullptr;
    struct Used {
      std::int64_t bytes = 0;
      Memory* owner = nullptr;
    };
    std::map<std::int64_t, Used> used;  // by offset
  };
  struct Place {
    Block* block = nullptr;
    std::int64_t offset = 0;
    std::int64_t bytes = 0;
  };
  struct Memory {
    Place place;
    std::uint64_t tag = 0;
    std::string name{};
    bool has_name = false;
    bool mapped = false;
    int maps = 0;
  };
  struct Resource {  // a buffer or an image
    std::byte* bytes = nullptr;
    std::int64_t size = 0;
  };

  // REQUIRES of all of these: the lock.
  DeviceResult<Memory*> Take(const MemoryNeeds& needs, const MemoryRequest& request);
  DeviceResult<Place> TakePlace(std::uint32_t type, const MemoryNeeds& needs,
                                const MemoryRequest& request);
  DeviceResult<Block*> TakeBlock(std::uint32_t type, std::int64_t bytes, Pool* pool);
  bool FindRoom(Block& block, const MemoryNeeds& needs, Place& place);
  void GiveBack(const Place& place);
  bool FindBetter(const Memory& memory, Place& place);
  std::vector<MemoryMove> PlanMoves(const DefragmentLimits& limits);
  void FreeLocked(Memory* memory);
  MemoryInfo InfoOf(const Memory& memory) const;
  DeviceResult<Resource*> Bind(Memory* memory, std::int64_t offset, const MemoryNeeds& needs);
  bool FailsNow();

  DeviceMemoryLayout layout_;
  std::int64_t block_bytes_;
  mutable std::mutex mutex_;  // guards what follows
  MemoryGate* gate_ = nullptr;
  std::list<Block> blocks_;
  std::array<HeapCount, kMaxMemoryHeaps> counts_{};
  MemoryStatistics statistics_{};
  std::int64_t live_blocks_ = 0;
  std::int64_t resources_ = 0;
  std::int64_t fail_block_ = 0;
  std::int64_t fail_call_ = 0;
  bool lost_ = false;
  DriverBudget driver_budget_{};
  std::int64_t budget_queries_ = 0;
};

}  // namespace mete
