// Every operator new that the library reaches fails once in turn: what returns a Result says E2099,
// what cannot passes std::bad_alloc on, and either way nothing leaks and no charge strays.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "memory/failing_memory.h"
#include "memory/fake_allocator.h"
#include "mete/budget_bridge.h"
#include "mete/device_budget_manager.h"
#include "mete/host_budget_manager.h"
#include "mete/tracked_allocation.h"

namespace {

constinit thread_local std::int64_t t_left = -1;  // that succeed before one fails; -1: all do
constinit thread_local bool t_failed = false;
constinit thread_local std::int64_t t_news = 0;
constinit std::atomic<std::int64_t> g_blocks{0};

void* Take(std::size_t size, std::size_t alignment) noexcept {
  ++t_news;
  if (t_left >= 0 && t_left-- == 0) {
    t_failed = true;
    return nullptr;
  }
  void* block = nullptr;
  if (posix_memalign(&block, alignment < 16 ? 16 : alignment, size == 0 ? 1 : size) != 0) {
    return nullptr;
  }
  g_blocks.fetch_add(1);
  return block;
}

void* OrThrow(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void Give(void* block) noexcept {
  if (block != nullptr) g_blocks.fetch_sub(1);
  std::free(block);
}

}  // namespace

using std::align_val_t;
using std::nothrow_t;
using std::size_t;

void* operator new(size_t n) { return OrThrow(Take(n, 16)); }
void* operator new[](size_t n) { return OrThrow(Take(n, 16)); }
void* operator new(size_t n, const nothrow_t&) noexcept { return Take(n, 16); }
void* operator new[](size_t n, const nothrow_t&) noexcept { return Take(n, 16); }
void* operator new(size_t n, align_val_t a) { return OrThrow(Take(n, static_cast<size_t>(a))); }
void* operator new[](size_t n, align_val_t a) { return OrThrow(Take(n, static_cast<size_t>(a))); }
void operator delete(void* block) noexcept { Give(block); }
void operator delete[](void* block) noexcept { Give(block); }
void operator delete(void* block, size_t) noexcept { Give(block); }
void operator delete[](void* block, size_t) noexcept { Give(block); }
void operator delete(void* block, align_val_t) noexcept { Give(block); }
void operator delete[](void* block, align_val_t) noexcept { Give(block); }
void operator delete(void* block, size_t, align_val_t) noexcept { Give(block); }
void operator delete[](void* block, size_t, align_val_t) noexcept { Give(block); }

namespace mete {
namespace {

// What the library asks of its outside world while this lives neither counts nor fails.
class Outside {
 public:
  Outside() : left_(std::exchange(t_left, -1)), news_(t_news) {}
  ~Outside() { t_left = left_, t_news = news_; }

 private:
  std::int64_t left_;
  std::int64_t news_;
};

// Fails the n-th operator new of `scenario` for every n, until none is left to fail.
template <class Scenario>
int FailEachInTurn(Scenario scenario) {
  for (int fail = 0;; ++fail) {
    const std::int64_t before = g_blocks.load();
    FailingMemory memory;
    SharedBudget root(BudgetKind::kLevel, std::int64_t{16} << 20);
    t_failed = false;
    t_left = fail;
    scenario(root, memory);
    t_left = -1;
    EXPECT_EQ(root.charged(), 0) << "new " << fail;
    EXPECT_TRUE(memory.IsClean()) << "new " << fail;
    EXPECT_EQ(g_blocks.load(), before) << "new " << fail;
    if (!t_failed || testing::Test::HasFailure()) return fail;
  }
}

// What cannot say so otherwise throws.
template <class Call>
void MayThrow(Call call) {
  try {
    call();
  } catch (const std::bad_alloc&) {
  }
}

template <class T>
bool IsThereOrNoMemory(const Result<T>& result) {
  if (result) return true;
  EXPECT_EQ(result.error().code, ErrorCode::kSystem);
  return false;
}

// Too large to be kept without memory of its own.
std::function<void(const BudgetWarning&)> Listener() {
  return [large = std::array<char, 64>{}](const BudgetWarning&) { static_cast<void>(large); };
}

void UseHost(SharedBudget& root, FailingMemory& memory) {
  HostOptions options;
  options.parent = &root;
  options.memory = &memory;
  options.frames = {.ready = 64 << 10, .reserve = 1 << 20, .max_threads = 4};
  options.persistent_ready = 64 << 10;
  options.persistent_reserve = 1 << 20;
  auto opened = HostBudgetManager::Open(options);
  if (!IsThereOrNoMemory(opened)) return;
  HostBudgetManager& host = **opened;
  auto owner = host.Owner("a name that is too long for the string object itself");
  static_cast<void>(IsThereOrNoMemory(owner));
  WarningSubscription subscription;
  MayThrow([&] { subscription = host.Subscribe(Listener()); });
  MayThrow([&] { static_cast<void>(host.Subscribe(Listener())); });
  for (int frame = 0; frame < 3; ++frame) {
    for (const auto scope :
         {AllocationScope::kFrame, AllocationScope::kPersistent, AllocationScope::kHeap}) {
      auto memory_of = host.RequestAllocation(5000, 64, scope);
      EXPECT_TRUE(memory_of) << "which asks no operator new";
    }
    MayThrow([&] {
      auto text = host.RequestStackResource<std::string>(2);
      (*text)[1] = "a text that is too long for the object";
    });
    MayThrow([&] {
      auto text = TrackedAllocation<std::string>::Make(host, AllocationScope::kPersistent,
                                                       "a text that is too long for the object");
      if (text) static_cast<void>(host.Defer(std::move(*text)));
    });
    MayThrow([&] {
      LifetimeScope scope(host);
      static_cast<void>(scope.Make<std::string>("a text that is too long for the object"));
    });
    host.BeginFrame();
  }
  MayThrow([&] { EXPECT_NE(host.snapshot().Text().size() + host.snapshot().Json().size(), 0u); });
  MayThrow([&] {
    auto kept = host.RequestAllocation(10, 16, AllocationScope::kHeap);
    EXPECT_EQ(host.leaks().size(), 1u);
  });
}

TEST(NewFaultsTest, EveryNewOfTheHostFailsInTurn) {
  const int runs = FailEachInTurn(UseHost);
  EXPECT_GT(runs, 40) << "the scenario makes fewer allocations than it should";
}

// The allocator in memory, without what it allocates itself.
class QuietAllocator final : public IMemoryAllocator {
 public:
  ~QuietAllocator() override {
    const Outside outside;
    fake_.reset();
  }
  const char* name() const noexcept override { return "quiet"; }
  const DeviceMemoryLayout& layout() const noexcept override { return fake_->layout(); }
  Result<void> Attach(MemoryGate& gate) noexcept override { return fake_->Attach(gate); }
  DeviceResult<DeviceBuffer> CreateBuffer(const BufferDescription& description,
                                          const MemoryRequest& request) noexcept override {
    const Outside outside;
    return fake_->CreateBuffer(description, request);
  }
  DeviceResult<DeviceImage> CreateImage(const ImageDescription& description,
                                        const MemoryRequest& request) noexcept override {
    const Outside outside;
    return fake_->CreateImage(description, request);
  }
  DeviceResult<DeviceMemory> Allocate(const MemoryNeeds& needs,
                                      const MemoryRequest& request) noexcept override {
    const Outside outside;
    return fake_->Allocate(needs, request);
  }
  DeviceResult<MemoryNeeds> Needs(const BufferDescription& of) noexcept override {
    return fake_->Needs(of);
  }
  DeviceResult<MemoryNeeds> Needs(const ImageDescription& of) noexcept override {
    return fake_->Needs(of);
  }
  DeviceResult<DeviceBuffer> PlaceBuffer(MemoryHandle memory, std::int64_t offset,
                                         const BufferDescription& description) noexcept override {
    const Outside outside;
    return fake_->PlaceBuffer(memory, offset, description);
  }
  DeviceResult<DeviceImage> PlaceImage(MemoryHandle memory, std::int64_t offset,
                                       const ImageDescription& description) noexcept override {
    const Outside outside;
    return fake_->PlaceImage(memory, offset, description);
  }
  void Destroy(const DeviceBuffer& buffer) noexcept override { fake_->Destroy(buffer); }
  void Destroy(const DeviceImage& image) noexcept override { fake_->Destroy(image); }
  void Free(MemoryHandle memory) noexcept override { fake_->Free(memory); }
  DeviceResult<void*> Map(MemoryHandle memory) noexcept override { return fake_->Map(memory); }
  void Unmap(MemoryHandle memory) noexcept override { fake_->Unmap(memory); }
  DeviceResult<void> Flush(MemoryHandle memory, std::int64_t offset,
                           std::int64_t bytes) noexcept override {
    return fake_->Flush(memory, offset, bytes);
  }
  DeviceResult<void> Invalidate(MemoryHandle memory, std::int64_t offset,
                                std::int64_t bytes) noexcept override {
    return fake_->Invalidate(memory, offset, bytes);
  }
  MemoryInfo Info(MemoryHandle memory) const noexcept override { return fake_->Info(memory); }
  DeviceResult<PoolHandle> CreatePool(const PoolDescription& pool) noexcept override {
    const Outside outside;
    return fake_->CreatePool(pool);
  }
  void DestroyPool(PoolHandle pool) noexcept override { fake_->DestroyPool(pool); }
  DeviceResult<DefragmentResult> Defragment(const DefragmentLimits& limits,
                                            MemoryMover& mover) noexcept override {
    const Outside outside;
    return fake_->Defragment(limits, mover);
  }
  MemoryStatistics Statistics() const noexcept override { return fake_->Statistics(); }
  DeviceResult<DriverBudget> QueryDriverBudget() noexcept override {
    return fake_->QueryDriverBudget();
  }

  static std::unique_ptr<QuietAllocator> Make() {
    const Outside outside;
    std::unique_ptr<QuietAllocator> made(new QuietAllocator);
    made->fake_ = std::make_unique<FakeAllocator>();
    return made;
  }

 private:
  std::unique_ptr<FakeAllocator> fake_;
};

// Done with a batch three submissions later; copies nothing.
class QuietQueue final : public ITransferQueue {
 public:
  DeviceResult<std::uint64_t> Submit(std::span<const BufferCopy>) noexcept override {
    return ++submitted_;
  }
  DeviceResult<std::uint64_t> Reached() noexcept override { return ++reached_, Done(); }
  DeviceResult<void> Wait(std::uint64_t value, std::chrono::nanoseconds) noexcept override {
    reached_ = std::max(reached_, value);
    return {};
  }

 private:
  std::uint64_t Done() { return reached_ = std::min(reached_, submitted_); }
  std::uint64_t submitted_ = 0;
  std::uint64_t reached_ = 0;
};

void UseDevice(SharedBudget& root, FailingMemory&) {
  constexpr std::uint32_t kUsage = kBufferStorage;
  DeviceOptions options;
  options.parent = &root;
  options.driver_poll = {};
  auto opened = DeviceBudgetManager::Open(QuietAllocator::Make(), options);
  if (!IsThereOrNoMemory(opened)) return;
  DeviceBudgetManager& device = **opened;
  auto owner = device.Owner("a name that is too long for the string object itself");
  static_cast<void>(IsThereOrNoMemory(owner));
  WarningSubscription subscription;
  MayThrow([&] { subscription = device.Subscribe(Listener()); });
  {
    auto buffer = device.CreateBuffer({.bytes = 1000, .usage = kUsage});
    auto image = device.CreateImage({.format = 37, .width = 8, .height = 8, .usage = 4});
    auto memory = device.Allocate({.bytes = 1000, .alignment = 256, .types = 7});
    ASSERT_TRUE(buffer && image && memory) << "which asks no operator new";
    EXPECT_TRUE(device.PlaceBuffer(*memory, 0, {.bytes = 10, .usage = kUsage}));
    MayThrow([&] { EXPECT_EQ(device.leaks().size(), 1u); });
  }
  device.BeginFrame();
  MayThrow(
      [&] { EXPECT_NE(device.snapshot().Text().size() + device.snapshot().Json().size(), 0u); });
  SharedBudget host(BudgetKind::kLevel, kNoLimit, &root);
  auto bridge = BudgetBridge::Open({.quota = 64 << 10, .block_bytes = 16 << 10}, host, device);
  if (!IsThereOrNoMemory(bridge)) return;
  QuietQueue queue;
  MayThrow([&] {
    std::vector<std::byte> data(100000);
    Uploader uploader(**bridge, queue);
    const auto ticket = uploader.Upload(BufferHandle{1}, 0, data);
    if (ticket) {
      EXPECT_TRUE(uploader.Wait(*ticket));
    } else {
      EXPECT_EQ(ticket.error().reason, DeviceError::Reason::kHostMemory);
    }
  });
  EXPECT_TRUE((*bridge)->Drain());
}

TEST(NewFaultsTest, EveryNewOfTheDeviceFailsInTurn) {
  const int runs = FailEachInTurn(UseDevice);
  EXPECT_GT(runs, 40) << "the scenario makes fewer allocations than it should";
}

TEST(NewFaultsTest, NoNewInTenThousandUploadsAndResources) {
  DeviceOptions options;
  options.driver_poll = {};
  auto device = *DeviceBudgetManager::Open(QuietAllocator::Make(), options);
  SharedBudget host(BudgetKind::kLevel);
  auto bridge = *BudgetBridge::Open({.quota = 64 << 10, .block_bytes = 16 << 10}, host, *device);
  QuietQueue queue;
  std::vector<std::byte> data(5000);
  {
    Uploader uploader(*bridge, queue, {.batch_bytes = 20000, .batch_copies = 8});
    std::int64_t before = 0;
    for (int i = 0; i < 10120; ++i) {
      if (i == 120) before = t_news;
      ASSERT_TRUE(uploader.Upload(BufferHandle{1}, 0, data));
      auto buffer = device->CreateBuffer({.bytes = 1000, .usage = kBufferStorage});
      ASSERT_TRUE(buffer);
      if (i % 10 == 0) device->BeginFrame();
    }
    EXPECT_EQ(t_news - before, 0);
  }
  EXPECT_TRUE(bridge->Drain());
}

}  // namespace
}  // namespace mete
