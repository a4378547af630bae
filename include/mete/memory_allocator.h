// IMemoryAllocator: where the device half gets its memory from. The one interface between the
// device budgets and whatever allocates on a device.
//
// Implementations: VMAAllocator and DirectAllocator (src/vulkan), FakeAllocator (src/memory), and
// those of programs. One suite of tests runs over all (src/memory/allocator_contract.h).
//
// How a budget is never exceeded by a byte: memory of the device comes in *blocks* (one
// VkDeviceMemory each), and resources are placed in blocks. An allocator asks its MemoryGate before
// every block that it takes, with the exact size, and tells the gate after the block went back. A
// gate that says no is obeyed: the allocator may try a smaller block, or another heap, and must ask
// again. So whoever counts needs to know nothing of how blocks are chosen. `existing_only` and
// pools of a known block size are there for who wants to know all the same.
//
// No call but those of a gate counts anything: whoever calls keeps its own books.
//
// Amounts are bytes. Handles are the implementation's: those of buffers and images are the API's
// own (VkBuffer, VkImage), so that commands can be recorded with them; the others are opaque.
//
// After an error nothing has changed. Once the device is lost every call may answer kDeviceLost;
// those that give back still do.
//
// Thread safety: every operation may run on any thread at any time, unless it says REQUIRES; two
// calls may not be given the same handle at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "mete/budget.h"
#include "mete/error.h"

namespace mete {

// Why an operation on the device did not happen. Without text, so that refusing allocates nothing.
struct DeviceError {
  enum class Reason : std::uint8_t {
    kBudget,        // the gate said no; `budget` says which node and why, where it was told
    kNoRoom,        // `existing_only`, or a pool with all its blocks: nothing there has room
    kDeviceMemory,  // the driver has no memory of a kind that would do
    kHostMemory,    // the driver or the allocator found no memory on the host
    kTooMany,       // the driver's limit of how many blocks there may be
    kArgument,      // a description that makes no sense, or handles that do not belong together
    kUnsupported,   // the device, or this allocator, cannot
    kTimeout,       // the time given was over
    kCancelled,     // whoever asked took it back
    kDeviceLost,
    kSystem,  // anything else that the driver answers
  };
  Reason reason = Reason::kSystem;
  std::int32_t native = 0;  // the API's own code (VkResult), where there is one
  std::int64_t bytes = 0;   // asked for
  Refusal budget{};         // with kBudget

  Error ToError() const;  // E2071, E2072 or E2099
};

// The word of the reason: "budget", "device lost". Static storage.
const char* DeviceErrorName(DeviceError::Reason reason) noexcept;

template <class T>
using DeviceResult = std::expected<T, DeviceError>;

// VK_MAX_MEMORY_HEAPS and VK_MAX_MEMORY_TYPES.
inline constexpr std::size_t kMaxMemoryHeaps = 16;
inline constexpr std::size_t kMaxMemoryTypes = 32;

// Asked before a block is taken and told after one went back. Implemented by whoever counts.
//
// Called with locks of the allocator held, on any thread: it may charge a budget, and may neither
// wait nor call the allocator.
class MemoryGate {
 public:
  // True: the block may be taken, and will be given back with Returned, at once if the driver
  // refuses it. False: it is not taken.
  virtual bool TryTake(std::uint32_t heap, std::int64_t bytes) noexcept = 0;
  virtual void Returned(std::uint32_t heap, std::int64_t bytes) noexcept = 0;

 protected:
  ~MemoryGate() = default;
};

// What the device has. Fixed for its life.
struct DeviceMemoryLayout {
  struct Heap {
    std::int64_t bytes = 0;
    bool device_local = false;
  };
  struct Type {
    std::uint32_t heap = 0;
    bool device_local = false;
    bool host_visible = false;
    bool host_coherent = false;  // without: Flush and Invalidate do something
    bool host_cached = false;
  };
  std::array<Heap, kMaxMemoryHeaps> heaps{};
  std::array<Type, kMaxMemoryTypes> types{};
  std::uint32_t heap_count = 0;
  std::uint32_t type_count = 0;
  std::int64_t max_block_bytes = 0;  // the largest block (maxMemoryAllocationSize)
  std::int64_t max_blocks = 0;       // how many at once (maxMemoryAllocationCount)
  bool has_driver_budget = false;    // VK_EXT_memory_budget
  bool has_priority = false;         // VK_EXT_memory_priority
};

// Where a resource wants to be.
enum class MemoryUse : std::uint8_t {
  kDevice,        // in memory of the device, or not at all
  kDeviceOrHost,  // there if it can, else in memory of the host that the device reads
  kUpload,        // the host writes it in order, the device reads it
  kReadback,      // the device writes it, the host reads it in any order
};

enum class MemoryHandle : std::uint64_t { kNone = 0 };
enum class PoolHandle : std::uint64_t { kNone = 0 };
enum class BufferHandle : std::uint64_t { kNone = 0 };
enum class ImageHandle : std::uint64_t { kNone = 0 };

// How memory is wanted. The default: device memory, placed in a block together with others.
struct MemoryRequest {
  MemoryUse use = MemoryUse::kDevice;
  bool dedicated = false;      // a block of its own
  bool existing_only = false;  // from blocks that are there; never takes one
  bool mapped = false;         // stays mapped for life: REQUIRES kUpload or kReadback
  bool can_alias = false;      // other resources will be placed in it too
  float priority = 0.5F;       // 0 to 1: what the driver keeps on the device when short of memory
  PoolHandle pool = PoolHandle::kNone;
  std::uint64_t tag = 0;       // the caller's; returned when it is to be moved
  const char* name = nullptr;  // for tools and reports; copied
};

// What a resource needs. `types`: bit i is set where memory type i would do.
struct MemoryNeeds {
  std::int64_t bytes = 0;
  std::int64_t alignment = 1;
  std::uint32_t types = 0;
};

// What it got.
struct MemoryInfo {
  std::int64_t bytes = 0;   // at least as many as asked for
  std::int64_t offset = 0;  // in its block
  std::uint32_t type = 0;
  std::uint32_t heap = 0;
  void* mapped = nullptr;      // where asked for
  const char* name = nullptr;  // until it is freed
};

// The bits are those of VkBufferUsageFlagBits; others of that type are passed on.
enum BufferUsage : std::uint32_t {
  kBufferCopySource = 0x1,
  kBufferCopyTarget = 0x2,
  kBufferUniform = 0x10,
  kBufferStorage = 0x20,
  kBufferIndex = 0x40,
  kBufferVertex = 0x80,
};

struct BufferDescription {
  std::int64_t bytes = 0;  // > 0
  std::uint32_t usage = 0;
};

// The bits are those of VkImageUsageFlagBits; others of that type are passed on.
enum ImageUsage : std::uint32_t {
  kImageCopySource = 0x1,
  kImageCopyTarget = 0x2,
  kImageSampled = 0x4,
  kImageStorage = 0x8,
  kImageColorTarget = 0x10,
  kImageDepthTarget = 0x20,
};

// With depth 1 an image of two dimensions, else of three. Optimal tiling.
struct ImageDescription {
  std::uint32_t format = 0;  // the API's number (VkFormat)
  std::uint32_t width = 1, height = 1, depth = 1;
  std::uint32_t levels = 1;
  std::uint32_t layers = 1;
  std::uint32_t samples = 1;
  std::uint32_t usage = 0;
};

// A resource and the memory that is its own. `memory` is kNone where it was placed in the memory of
// somebody else: destroying it then frees none.
struct DeviceBuffer {
  BufferHandle buffer = BufferHandle::kNone;
  MemoryHandle memory = MemoryHandle::kNone;
  std::int64_t bytes = 0;  // as described; its memory may have more
  MemoryInfo info{};
};
struct DeviceImage {
  ImageHandle image = ImageHandle::kNone;
  MemoryHandle memory = MemoryHandle::kNone;
  MemoryInfo info{};
};
struct DeviceMemory {
  MemoryHandle memory = MemoryHandle::kNone;
  MemoryInfo info{};
};

// Blocks of their own for resources of one kind. Every block has exactly `block_bytes`, and what
// does not fit one is refused (unless dedicated).
struct PoolDescription {
  MemoryUse use = MemoryUse::kDevice;
  std::uint32_t types = ~std::uint32_t{0};  // MemoryNeeds::types of what will be placed there
  std::int64_t block_bytes = 0;             // > 0
  std::uint32_t max_blocks = 0;             // 0: as many as the gate grants
};

struct HeapStatistics {
  std::int64_t blocks = 0;  // taken from the driver
  std::int64_t block_bytes = 0;
  std::int64_t allocations = 0;  // placed in them
  std::int64_t allocation_bytes = 0;
};
using MemoryStatistics = std::array<HeapStatistics, kMaxMemoryHeaps>;

// What the driver believes, of the whole machine or of this process, as it likes: unchecked
// figures, which drivers are known to get wrong by exbibytes.
struct DriverHeapBudget {
  std::uint64_t budget = 0;
  std::uint64_t usage = 0;
};
using DriverBudget = std::array<DriverHeapBudget, kMaxMemoryHeaps>;

// One resource that would do better elsewhere.
struct MemoryMove {
  MemoryHandle memory = MemoryHandle::kNone;  // after the pass it stands for the new place
  MemoryHandle target = MemoryHandle::kNone;  // the new place, during the pass only
  std::uint64_t tag = 0;                      // of the request
  std::int64_t bytes = 0;
  bool done = false;  // set by the mover; otherwise it stays where it is
};

// Carries out one pass: places a resource in each `target` (PlaceBuffer), copies the contents, and
// waits until the device has done so. The old resources are the mover's to destroy, after that.
class MemoryMover {
 public:
  virtual void Move(std::span<MemoryMove> moves) noexcept = 0;

 protected:
  ~MemoryMover() = default;
};

struct DefragmentLimits {
  std::int64_t max_bytes = 0;   // to be moved in one pass; 0: no limit
  std::uint32_t max_moves = 0;  // likewise
};
struct DefragmentResult {
  std::int64_t moves = 0;
  std::int64_t moved_bytes = 0;
  std::int64_t freed_blocks = 0;
  std::int64_t freed_bytes = 0;
};

class IMemoryAllocator {
 public:
  // Gives back every block. REQUIRES: every resource was destroyed, every memory freed.
  virtual ~IMemoryAllocator() = default;

  virtual const char* name() const noexcept = 0;  // static storage
  virtual const DeviceMemoryLayout& layout() const noexcept = 0;

  // From now on every block is asked for. E2076: it has a gate; E2080: it has taken blocks.
  // REQUIRES: the gate outlives the allocator.
  virtual Result<void> Attach(MemoryGate& gate) noexcept = 0;

  // A buffer in memory of its own, bound. kArgument for 0 bytes.
  [[nodiscard]] virtual DeviceResult<DeviceBuffer> CreateBuffer(
      const BufferDescription& description, const MemoryRequest& request) noexcept = 0;
  [[nodiscard]] virtual DeviceResult<DeviceImage> CreateImage(
      const ImageDescription& description, const MemoryRequest& request) noexcept = 0;

  // Memory without a resource, for resources that share it (Vulkan 1.3, section 12.7.2, "Memory
  // Aliasing"). `needs`: the largest size and alignment, and the types that all have in common.
  [[nodiscard]] virtual DeviceResult<DeviceMemory> Allocate(
      const MemoryNeeds& needs, const MemoryRequest& request) noexcept = 0;
  [[nodiscard]] virtual DeviceResult<MemoryNeeds> Needs(
      const BufferDescription& description) noexcept = 0;
  [[nodiscard]] virtual DeviceResult<MemoryNeeds> Needs(
      const ImageDescription& description) noexcept = 0;

  // A resource in memory that has an owner: `offset` is a multiple of its alignment, and it ends
  // within the memory (kArgument otherwise). The result owns no memory.
  [[nodiscard]] virtual DeviceResult<DeviceBuffer> PlaceBuffer(
      MemoryHandle memory, std::int64_t offset, const BufferDescription& description) noexcept = 0;
  [[nodiscard]] virtual DeviceResult<DeviceImage> PlaceImage(
      MemoryHandle memory, std::int64_t offset, const ImageDescription& description) noexcept = 0;

  // Destroys the resource, then frees the memory if it has some. Harmless for kNone. REQUIRES: the
  // device has done with it.
  virtual void Destroy(const DeviceBuffer& buffer) noexcept = 0;
  virtual void Destroy(const DeviceImage& image) noexcept = 0;
  virtual void Free(MemoryHandle memory) noexcept = 0;

  // The address of the first byte. Maps nest: as many Unmap as Map. kArgument where the host cannot
  // see it.
  [[nodiscard]] virtual DeviceResult<void*> Map(MemoryHandle memory) noexcept = 0;
  virtual void Unmap(MemoryHandle memory) noexcept = 0;

  // Makes what the host wrote visible to the device, or the other way. Widened to what the device
  // can do (nonCoherentAtomSize), never past the memory; nothing where memory is coherent.
  virtual DeviceResult<void> Flush(MemoryHandle memory, std::int64_t offset,
                                   std::int64_t bytes) noexcept = 0;
  virtual DeviceResult<void> Invalidate(MemoryHandle memory, std::int64_t offset,
                                        std::int64_t bytes) noexcept = 0;

  virtual MemoryInfo Info(MemoryHandle memory) const noexcept = 0;

  // kUnsupported where the allocator has no blocks to share. REQUIRES of DestroyPool: nothing is in
  // it.
  [[nodiscard]] virtual DeviceResult<PoolHandle> CreatePool(
      const PoolDescription& description) noexcept = 0;
  virtual void DestroyPool(PoolHandle pool) noexcept = 0;

  // One pass: finds what would close gaps, lets `mover` move it, gives back blocks that are empty
  // then. Takes no block. Nothing to do: a result of zeros. REQUIRES: until it returns no other
  // thread allocates or frees here (VMA 3.2.1 races otherwise, its issue 313); everything allocated
  // with a `tag` of 0 stays where it is.
  virtual DeviceResult<DefragmentResult> Defragment(const DefragmentLimits& limits,
                                                    MemoryMover& mover) noexcept = 0;

  // Per heap, exact when no other thread is at work. Some ten nanoseconds; asks no driver.
  virtual MemoryStatistics Statistics() const noexcept = 0;

  // Asks the driver, which takes from ten microseconds to milliseconds: not on a thread that
  // allocates. kUnsupported where there is no such extension.
  virtual DeviceResult<DriverBudget> QueryDriverBudget() noexcept = 0;
};

}  // namespace mete
