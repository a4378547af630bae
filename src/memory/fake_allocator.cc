#include "memory/fake_allocator.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "base/check.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;

constexpr std::int64_t kAlignment = 64;

std::unexpected<DeviceError> Refuse(Reason reason, std::int64_t bytes = 0) {
  return std::unexpected(DeviceError{.reason = reason, .bytes = bytes});
}

template <class Object, class Handle>
Object* From(Handle handle) {
  return std::bit_cast<Object*>(handle);
}
template <class Handle, class Object>
Handle To(Object* object) {
  return std::bit_cast<Handle>(object);
}

constexpr std::int64_t RoundUp(std::int64_t value, std::int64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

bool IsHostUse(MemoryUse use) { return use == MemoryUse::kUpload || use == MemoryUse::kReadback; }

bool IsSane(const MemoryRequest& request) {
  return request.priority >= 0 && request.priority <= 1 &&
         (!request.mapped || IsHostUse(request.use)) &&
         !(request.dedicated && request.existing_only);
}

// The types that a use may have, best first.
std::vector<std::uint32_t> TypesOf(MemoryUse use) {
  switch (use) {
    case MemoryUse::kDevice: return {0};
    case MemoryUse::kDeviceOrHost: return {0, 1, 2};
    case MemoryUse::kUpload: return {1, 2};
    case MemoryUse::kReadback: break;
  }
  return {2, 1};
}

// Four bytes a pixel, whatever the format; each smaller level has a quarter of the one before.
std::int64_t BytesOf(const ImageDescription& image) {
  std::int64_t bytes = 0;
  for (std::uint32_t level = 0; level < image.levels; ++level) {
    const auto side = [level](std::uint32_t length) {
      return std::int64_t{std::max(length >> level, 1U)};
    };
    bytes += side(image.width) * side(image.height) * side(image.depth) * 4;
  }
  return bytes * image.layers * image.samples;
}

}  // namespace

FakeAllocator::FakeAllocator(const FakeOptions& options) : block_bytes_(options.block_bytes) {
  layout_.heap_count = 2;
  layout_.heaps[0] = {.bytes = options.device_bytes, .device_local = true};
  layout_.heaps[1] = {.bytes = options.host_bytes, .device_local = false};
  layout_.type_count = 3;
  layout_.types[0] = {.heap = 0, .device_local = true};
  layout_.types[1] = {.heap = 1, .host_visible = true, .host_coherent = true};
  layout_.types[2] = {.heap = 1, .host_visible = true, .host_cached = true};
  layout_.max_block_bytes = std::max(options.device_bytes, options.host_bytes);
  layout_.max_blocks = options.max_blocks;
  layout_.has_driver_budget = options.has_driver_budget;
  layout_.has_priority = true;
  for (std::uint32_t heap = 0; heap < layout_.heap_count; ++heap) {
    driver_budget_[heap].budget = static_cast<std::uint64_t>(layout_.heaps[heap].bytes);
  }
}

FakeAllocator::~FakeAllocator() {
  METE_CHECK(blocks_.empty());  // every memory was freed
  METE_CHECK(resources_ == 0);  // every resource was destroyed
}

FakeAllocator::HeapCount FakeAllocator::Count(std::uint32_t heap) const {
  const std::lock_guard lock(mutex_);
  return counts_[heap];
}

void FakeAllocator::FailBlock(std::int64_t nth) {
  const std::lock_guard lock(mutex_);
  fail_block_ = nth;
}

void FakeAllocator::FailCall(std::int64_t nth) {
  const std::lock_guard lock(mutex_);
  fail_call_ = nth;
}

void FakeAllocator::set_lost(bool lost) {
  const std::lock_guard lock(mutex_);
  lost_ = lost;
}

void FakeAllocator::set_driver_budget(const DriverBudget& budget) {
  const std::lock_guard lock(mutex_);
  driver_budget_ = budget;
}

std::int64_t FakeAllocator::budget_queries() const {
  const std::lock_guard lock(mutex_);
  return budget_queries_;
}

std::span<std::byte> FakeAllocator::Contents(BufferHandle buffer) {
  const std::lock_guard lock(mutex_);
  const Resource& resource = *From<Resource>(buffer);
  return {resource.bytes, static_cast<std::size_t>(resource.size)};
}

Result<void> FakeAllocator::Attach(MemoryGate& gate) noexcept {
  const std::lock_guard lock(mutex_);
  if (gate_ != nullptr) return Fail(ErrorCode::kAlreadyExists, "gate: the allocator has one");
  if (live_blocks_ != 0) {
    return Fail(ErrorCode::kInUse, "gate: the allocator has taken memory without it");
  }
  gate_ = &gate;
  return {};
}

bool FakeAllocator::FailsNow() { return fail_call_ != 0 && --fail_call_ == 0; }

DeviceResult<FakeAllocator::Block*> FakeAllocator::TakeBlock(std::uint32_t type, std::int64_t bytes,
                                                             Pool* pool) {
  if (live_blocks_ >= layout_.max_blocks) return Refuse(Reason::kTooMany, bytes);
  const std::uint32_t heap = layout_.types[type].heap;
  if (gate_ != nullptr && !gate_->TryTake(heap, bytes)) return Refuse(Reason::kBudget, bytes);
  HeapCount& count = counts_[heap];
  const bool fails = fail_block_ != 0 && --fail_block_ == 0;
  if (fails || bytes > layout_.heaps[heap].bytes - count.bytes) {
    if (gate_ != nullptr) gate_->Returned(heap, bytes);
    return Refuse(Reason::kDeviceMemory, bytes);
  }
  ++count.blocks;
  count.bytes += bytes;
  count.peak_bytes = std::max(count.peak_bytes, count.bytes);
  ++statistics_[heap].blocks;
  statistics_[heap].block_bytes += bytes;
  ++live_blocks_;
  if (pool != nullptr) ++pool->blocks;
  Block& block = blocks_.emplace_back();
  // Not touched before it is used: most tests never do.
  block.bytes = std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(bytes));
  block.size = bytes;
  block.type = type;
  block.pool = pool;
  return &block;
}

// First fit, in the gap between two neighbours.
bool FakeAllocator::FindRoom(Block& block, const MemoryNeeds& needs, Place& place) {
  std::int64_t begin = 0;
  const auto fits = [&](std::int64_t end) { return needs.bytes <= end - begin; };
  for (const auto& [offset, used] : block.used) {
    if (fits(offset)) break;
    begin = RoundUp(offset + used.bytes, needs.alignment);
  }
  if (!fits(block.size)) return false;
  place = {.block = &block, .offset = begin, .bytes = needs.bytes};
  block.used[begin] = {.bytes = needs.bytes};
  return true;
}

DeviceResult<FakeAllocator::Place> FakeAllocator::TakePlace(std::uint32_t type,
                                                            const MemoryNeeds& needs,
                                                            const MemoryRequest& request) {
  Pool* const pool = From<Pool>(request.pool);
  Place place;
  if (!request.dedicated) {
    for (Block& block : blocks_) {
      if (block.type == type && block.pool == pool && !block.dedicated &&
          FindRoom(block, needs, place)) {
        return place;
      }
    }
  }
  if (request.existing_only) return Refuse(Reason::kNoRoom, needs.bytes);
  std::int64_t size = std::max(block_bytes_, needs.bytes);
  if (pool != nullptr) {
    if (needs.bytes > pool->block_bytes || pool->blocks == pool->max_blocks) {
      return Refuse(Reason::kNoRoom, needs.bytes);
    }
    size = pool->block_bytes;
  }
  const bool alone = request.dedicated || size == needs.bytes;
  auto block = TakeBlock(type, alone ? needs.bytes : size, pool);
  if (!block && pool == nullptr && !alone && block.error().reason != Reason::kTooMany) {
    block = TakeBlock(type, needs.bytes, nullptr);  // a shared block was too much
    if (block) (*block)->dedicated = true;
  }
  if (!block) {
    DeviceError error = block.error();
    error.bytes = needs.bytes;
    return std::unexpected(error);
  }
  if (alone) (*block)->dedicated = true;
  METE_CHECK(FindRoom(**block, needs, place));
  return place;
}

DeviceResult<FakeAllocator::Memory*> FakeAllocator::Take(const MemoryNeeds& needs,
                                                         const MemoryRequest& request) {
  if (!IsSane(request)) return Refuse(Reason::kArgument, needs.bytes);
  if (lost_) return Refuse(Reason::kDeviceLost, needs.bytes);
  if (FailsNow()) return Refuse(Reason::kHostMemory, needs.bytes);
  DeviceError error{.reason = Reason::kDeviceMemory, .bytes = needs.bytes};
  bool refused = false;
  for (const std::uint32_t type : TypesOf(request.use)) {
    const Pool* const pool = From<Pool>(request.pool);
    if ((needs.types >> type & 1) == 0 || (pool != nullptr && pool->type != type)) continue;
    const auto place = TakePlace(type, needs, request);
    if (!place) {
      if (!refused) error = place.error();
      refused = error.reason == Reason::kBudget;
      continue;
    }
    HeapStatistics& statistics = statistics_[layout_.types[type].heap];
    ++statistics.allocations;
    statistics.allocation_bytes += needs.bytes;
    auto* const memory = new Memory{.place = *place, .tag = request.tag, .mapped = request.mapped};
    place->block->used[place->offset].owner = memory;
    if (request.name != nullptr) {
      memory->name = request.name;
      memory->has_name = true;
    }
    return memory;
  }
  return std::unexpected(error);
}

void FakeAllocator::GiveBack(const Place& place) {
  Block& block = *place.block;
  METE_CHECK(block.used.erase(place.offset) == 1);
  if (!block.used.empty()) return;
  const std::uint32_t heap = layout_.types[block.type].heap;
  const std::int64_t bytes = block.size;
  if (block.pool != nullptr) --block.pool->blocks;
  --statistics_[heap].blocks;
  statistics_[heap].block_bytes -= bytes;
  --counts_[heap].blocks;
  counts_[heap].bytes -= bytes;
  --live_blocks_;
  blocks_.remove_if([&](const Block& candidate) { return &candidate == &block; });
  if (gate_ != nullptr) gate_->Returned(heap, bytes);
}

void FakeAllocator::FreeLocked(Memory* memory) {
  HeapStatistics& statistics = statistics_[layout_.types[memory->place.block->type].heap];
  --statistics.allocations;
  statistics.allocation_bytes -= memory->place.bytes;
  GiveBack(memory->place);
  delete memory;
}

MemoryInfo FakeAllocator::InfoOf(const Memory& memory) const {
  const Block& block = *memory.place.block;
  return {.bytes = memory.place.bytes,
          .offset = memory.place.offset,
          .type = block.type,
          .heap = layout_.types[block.type].heap,
          .mapped = memory.mapped ? block.bytes.get() + memory.place.offset : nullptr,
          .name = memory.has_name ? memory.name.c_str() : nullptr};
}

DeviceResult<FakeAllocator::Resource*> FakeAllocator::Bind(Memory* memory, std::int64_t offset,
                                                           const MemoryNeeds& needs) {
  if (lost_) return Refuse(Reason::kDeviceLost, needs.bytes);
  if (FailsNow()) return Refuse(Reason::kHostMemory, needs.bytes);
  if (offset < 0 || offset % needs.alignment != 0 || offset > memory->place.bytes - needs.bytes) {
    return Refuse(Reason::kArgument, needs.bytes);
  }
  ++resources_;
  const Place& place = memory->place;
  return new Resource{.bytes = place.block->bytes.get() + place.offset + offset,
                      .size = needs.bytes};
}

DeviceResult<MemoryNeeds> FakeAllocator::Needs(const BufferDescription& description) noexcept {
  if (description.bytes <= 0 || description.bytes > kNoLimit / 2 || description.usage == 0) {
    return Refuse(Reason::kArgument, description.bytes);
  }
  return MemoryNeeds{
      .bytes = RoundUp(description.bytes, kAlignment), .alignment = kAlignment, .types = 0b111};
}

DeviceResult<MemoryNeeds> FakeAllocator::Needs(const ImageDescription& description) noexcept {
  if (description.format == 0 || description.width == 0 || description.height == 0 ||
      description.depth == 0 || description.levels == 0 || description.layers == 0 ||
      description.usage == 0 || !std::has_single_bit(description.samples)) {
    return Refuse(Reason::kArgument);
  }
  return MemoryNeeds{
      .bytes = RoundUp(BytesOf(description), kAlignment), .alignment = kAlignment, .types = 0b111};
}

DeviceResult<DeviceBuffer> FakeAllocator::CreateBuffer(const BufferDescription& description,
                                                       const MemoryRequest& request) noexcept {
  const auto needs = Needs(description);
  if (!needs) return std::unexpected(needs.error());
  const std::lock_guard lock(mutex_);
  const auto memory = Take(*needs, request);
  if (!memory) return std::unexpected(memory.error());
  const auto resource = Bind(*memory, 0, *needs);
  if (!resource) {
    FreeLocked(*memory);
    return std::unexpected(resource.error());
  }
  return DeviceBuffer{To<BufferHandle>(*resource), To<MemoryHandle>(*memory), description.bytes,
                      InfoOf(**memory)};
}

DeviceResult<DeviceImage> FakeAllocator::CreateImage(const ImageDescription& description,
                                                     const MemoryRequest& request) noexcept {
  const auto needs = Needs(description);
  if (!needs) return std::unexpected(needs.error());
  const std::lock_guard lock(mutex_);
  const auto memory = Take(*needs, request);
  if (!memory) return std::unexpected(memory.error());
  const auto resource = Bind(*memory, 0, *needs);
  if (!resource) {
    FreeLocked(*memory);
    return std::unexpected(resource.error());
  }
  return DeviceImage{To<ImageHandle>(*resource), To<MemoryHandle>(*memory), InfoOf(**memory)};
}

DeviceResult<DeviceMemory> FakeAllocator::Allocate(const MemoryNeeds& needs,
                                                   const MemoryRequest& request) noexcept {
  if (needs.bytes <= 0 || needs.alignment <= 0) return Refuse(Reason::kArgument, needs.bytes);
  const std::lock_guard lock(mutex_);
  const auto memory = Take(needs, request);
  if (!memory) return std::unexpected(memory.error());
  return DeviceMemory{To<MemoryHandle>(*memory), InfoOf(**memory)};
}

DeviceResult<DeviceBuffer> FakeAllocator::PlaceBuffer(
    MemoryHandle memory, std::int64_t offset, const BufferDescription& description) noexcept {
  const auto needs = Needs(description);
  if (!needs || memory == MemoryHandle::kNone) {
    return Refuse(Reason::kArgument, description.bytes);
  }
  const std::lock_guard lock(mutex_);
  const auto resource = Bind(From<Memory>(memory), offset, *needs);
  if (!resource) return std::unexpected(resource.error());
  return DeviceBuffer{.buffer = To<BufferHandle>(*resource),
                      .bytes = description.bytes,
                      .info = InfoOf(*From<Memory>(memory))};
}

DeviceResult<DeviceImage> FakeAllocator::PlaceImage(MemoryHandle memory, std::int64_t offset,
                                                    const ImageDescription& description) noexcept {
  const auto needs = Needs(description);
  if (!needs || memory == MemoryHandle::kNone) return Refuse(Reason::kArgument);
  const std::lock_guard lock(mutex_);
  const auto resource = Bind(From<Memory>(memory), offset, *needs);
  if (!resource) return std::unexpected(resource.error());
  return DeviceImage{.image = To<ImageHandle>(*resource), .info = InfoOf(*From<Memory>(memory))};
}

void FakeAllocator::Destroy(const DeviceBuffer& buffer) noexcept {
  const std::lock_guard lock(mutex_);
  if (buffer.buffer != BufferHandle::kNone) {
    delete From<Resource>(buffer.buffer);
    --resources_;
  }
  if (buffer.memory != MemoryHandle::kNone) FreeLocked(From<Memory>(buffer.memory));
}

void FakeAllocator::Destroy(const DeviceImage& image) noexcept {
  Destroy(DeviceBuffer{.buffer = static_cast<BufferHandle>(image.image), .memory = image.memory});
}

void FakeAllocator::Free(MemoryHandle memory) noexcept {
  if (memory == MemoryHandle::kNone) return;
  const std::lock_guard lock(mutex_);
  FreeLocked(From<Memory>(memory));
}

DeviceResult<void*> FakeAllocator::Map(MemoryHandle memory) noexcept {
  const std::lock_guard lock(mutex_);
  Memory& mapped = *From<Memory>(memory);
  const Place& place = mapped.place;
  if (!layout_.types[place.block->type].host_visible) {
    return Refuse(Reason::kArgument, place.bytes);
  }
  ++mapped.maps;
  return place.block->bytes.get() + place.offset;
}

void FakeAllocator::Unmap(MemoryHandle memory) noexcept {
  const std::lock_guard lock(mutex_);
  METE_CHECK(--From<Memory>(memory)->maps >= 0);
}

DeviceResult<void> FakeAllocator::Flush(MemoryHandle memory, std::int64_t offset,
                                        std::int64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const std::int64_t size = From<Memory>(memory)->place.bytes;
  if (offset < 0 || bytes < 0 || offset > size || bytes > size - offset) {
    return Refuse(Reason::kArgument, bytes);
  }
  if (lost_) return Refuse(Reason::kDeviceLost, bytes);
  return {};
}

DeviceResult<void> FakeAllocator::Invalidate(MemoryHandle memory, std::int64_t offset,
                                             std::int64_t bytes) noexcept {
  return Flush(memory, offset, bytes);
}

MemoryInfo FakeAllocator::Info(MemoryHandle memory) const noexcept {
  const std::lock_guard lock(mutex_);
  return InfoOf(*From<Memory>(memory));
}

DeviceResult<PoolHandle> FakeAllocator::CreatePool(const PoolDescription& description) noexcept {
  if (description.block_bytes <= 0) return Refuse(Reason::kArgument, description.block_bytes);
  for (const std::uint32_t type : TypesOf(description.use)) {
    if ((description.types >> type & 1) == 0) continue;
    return To<PoolHandle>(
        new Pool{.type = type,
                 .block_bytes = description.block_bytes,
                 .max_blocks = description.max_blocks == 0 ? INT64_MAX : description.max_blocks});
  }
  return Refuse(Reason::kUnsupported, description.block_bytes);
}

void FakeAllocator::DestroyPool(PoolHandle pool) noexcept {
  METE_CHECK(pool == PoolHandle::kNone || From<Pool>(pool)->blocks == 0);
  delete From<Pool>(pool);
}

// A gap in a block before its own.
bool FakeAllocator::FindBetter(const Memory& memory, Place& place) {
  const Block& own = *memory.place.block;
  for (Block& block : blocks_) {
    if (&block == &own) return false;
    if (block.type == own.type && block.pool == own.pool && !block.dedicated &&
        FindRoom(block, {.bytes = memory.place.bytes, .alignment = kAlignment}, place)) {
      return true;
    }
  }
  return false;
}

// From the last blocks to gaps in the first ones. What stays mapped cannot move.
std::vector<MemoryMove> FakeAllocator::PlanMoves(const DefragmentLimits& limits) {
  std::vector<MemoryMove> moves;
  std::int64_t bytes = 0;
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    if (block->dedicated) continue;
    for (const auto& [offset, used] : block->used) {
      Memory* const memory = used.owner;
      if (memory == nullptr || memory->tag == 0 || memory->mapped || memory->maps != 0) continue;
      bytes += memory->place.bytes;
      if ((limits.max_moves != 0 && moves.size() == limits.max_moves) ||
          (limits.max_bytes != 0 && bytes > limits.max_bytes)) {
        return moves;
      }
      Place better;
      if (!FindBetter(*memory, better)) {
        bytes -= memory->place.bytes;
        continue;
      }
      moves.push_back({.memory = To<MemoryHandle>(memory),
                       .target = To<MemoryHandle>(new Memory{.place = better}),
                       .tag = memory->tag,
                       .bytes = memory->place.bytes});
    }
  }
  return moves;
}

DeviceResult<DefragmentResult> FakeAllocator::Defragment(const DefragmentLimits& limits,
                                                         MemoryMover& mover) noexcept {
  std::unique_lock lock(mutex_);
  if (lost_) return Refuse(Reason::kDeviceLost);
  std::vector<MemoryMove> moves = PlanMoves(limits);
  if (moves.empty()) return DefragmentResult{};
  lock.unlock();
  mover.Move(moves);
  lock.lock();
  const std::int64_t blocks = live_blocks_;
  const std::int64_t bytes = counts_[0].bytes + counts_[1].bytes;
  DefragmentResult result;
  for (const MemoryMove& move : moves) {
    const std::unique_ptr<Memory> target(From<Memory>(move.target));
    if (move.done) {
      Memory* const memory = From<Memory>(move.memory);
      std::swap(memory->place, target->place);
      memory->place.block->used[memory->place.offset].owner = memory;
      ++result.moves;
      result.moved_bytes += move.bytes;
    }
    GiveBack(target->place);
  }
  result.freed_blocks = blocks - live_blocks_;
  result.freed_bytes = bytes - counts_[0].bytes - counts_[1].bytes;
  return result;
}

MemoryStatistics FakeAllocator::Statistics() const noexcept {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

DeviceResult<DriverBudget> FakeAllocator::QueryDriverBudget() noexcept {
  const std::lock_guard lock(mutex_);
  ++budget_queries_;
  if (!layout_.has_driver_budget) return Refuse(Reason::kUnsupported);
  if (lost_) return Refuse(Reason::kDeviceLost);
  return driver_budget_;
}

}  // namespace mete
