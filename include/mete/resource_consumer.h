// IResourceConsumer: who asks for memory and gets it from wherever the budgets allow; and the
// Allocation it gets, which frees itself whatever backs it.
//
// A refusal is a value without text, so that refusing allocates nothing; ToError makes the text.
// After a refusal nothing has changed.
//
// Thread safety: consumers may be used from any thread; an Allocation belongs to one thread at a
// time, and may be handed on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <utility>

#include "mete/budget.h"
#include "mete/error.h"

namespace mete {

// How long memory is wanted.
enum class AllocationScope : std::uint8_t {
  kFrame,       // until the frame retires, at the latest
  kPersistent,  // until released; small blocks share chunks
  kHeap,        // until released; each block by itself
};

// What an allocation turned out to be made of. Nobody needs to know, but statistics and tests do.
enum class Backing : std::uint8_t { kNone, kFrame, kPersistent, kHeap };

// Why nothing was allocated. Nothing was changed.
struct AllocationRefusal {
  enum class Reason : std::uint8_t {
    kAlignment,  // zero, or not a power of two, or above kMaxAlignment
    kSize,       // more than kMaxAllocation, or count * sizeof overflows
    kBudget,     // `budget` says which one and why
    kScope,      // an object with an end of its own, asked for in a frame's memory
    kSystem,     // the system had no memory where the budgets allowed it
  };
  Reason reason = Reason::kBudget;
  std::size_t size = 0;
  std::size_t alignment = 0;
  Refusal budget;  // with kBudget

  Error ToError() const;  // E2071, E2072 or E2099
};

inline constexpr std::size_t kMaxAlignment = std::size_t{2} << 20;
inline constexpr std::size_t kMaxAllocation = std::size_t{1} << 46;

template <class T>
using Allocated = std::expected<T, AllocationRefusal>;

// What an Allocation goes back to. Implemented by the arenas and heaps, host and device.
class AllocationSource {
 public:
  virtual void Free(void* data, std::size_t size, std::size_t alignment,
                    Backing backing) noexcept = 0;

 protected:
  ~AllocationSource() = default;
};

// Whether the memory is still there: *word == value, where a word is given.
struct Lease {
  const std::atomic<std::uint64_t>* word = nullptr;
  std::uint64_t value = 0;
  bool IsCurrent() const noexcept {
    return word == nullptr || word->load(std::memory_order_acquire) == value;
  }
};

// Memory and its charge: move-only, given back once. A frame's memory goes back with its frame, so
// an Allocation of it may end later than that; its data() may not be asked for then.
//
// Must end before the consumer it came from.
class Allocation {
 public:
  Allocation() noexcept = default;
  // For implementations of consumers. A null source: nothing to give back.
  Allocation(void* data, std::size_t size, std::size_t alignment, Backing backing,
             AllocationSource* source, Lease lease = {}) noexcept
      : data_(data),
        size_(size),
        source_(source),
        lease_(lease),
        alignment_(static_cast<std::uint32_t>(alignment)),
        backing_(backing) {}
  Allocation(Allocation&& other) noexcept { Swap(other); }
  Allocation& operator=(Allocation&& other) noexcept {
    Allocation taken(std::move(other));
    Swap(taken);
    return *this;
  }
  ~Allocation() { Release(); }

  // The memory, or null for an empty Allocation. Ends the process when the memory is gone, in
  // release builds too: one load and one comparison.
  void* data() const {
    if (!lease_.IsCurrent()) [[unlikely]] {
      UseAfterReset();
    }
    return data_;
  }

  // False when empty, released, moved from, or when the frame has retired since.
  bool valid() const noexcept { return data_ != nullptr && lease_.IsCurrent(); }
  explicit operator bool() const noexcept { return valid(); }

  std::size_t size() const noexcept { return size_; }  // as asked for
  Backing backing() const noexcept { return backing_; }
  const Lease& lease() const noexcept { return lease_; }

  // Gives it back now. Harmless when empty, or when the frame has retired.
  void Release() noexcept {
    if (source_ != nullptr && lease_.IsCurrent()) {
      source_->Free(data_, size_, alignment_, backing_);
    }
    data_ = nullptr;
    size_ = 0;
    source_ = nullptr;
    lease_ = {};
    backing_ = Backing::kNone;
  }

  void Swap(Allocation& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(source_, other.source_);
    std::swap(lease_, other.lease_);
    std::swap(alignment_, other.alignment_);
    std::swap(backing_, other.backing_);
  }

 private:
  [[noreturn]] static void UseAfterReset();

  void* data_ = nullptr;
  std::size_t size_ = 0;
  AllocationSource* source_ = nullptr;
  Lease lease_;
  std::uint32_t alignment_ = 1;
  Backing backing_ = Backing::kNone;
};

// What an owner still has when a budget manager ends.
struct MemoryLeak {
  std::string owner;
  std::int64_t count = 0;
  std::int64_t bytes = 0;
};

class IResourceConsumer {
 public:
  // Any size from 0, any alignment that is a power of two: the address is a multiple of it. Size 0
  // gives an address that no other live allocation has.
  [[nodiscard]] virtual Allocated<Allocation> RequestAllocation(std::size_t size,
                                                                std::size_t alignment,
                                                                AllocationScope scope) noexcept = 0;

 protected:
  ~IResourceConsumer() = default;
};

}  // namespace mete
