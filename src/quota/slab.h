// Things by index that never move and are never freed before the slab: they may be reached without
// a lock by whoever has an index that was handed to it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "base/check.h"

namespace mete {

template <class T, std::size_t kPerChunk, std::size_t kChunks>
class Slab {
 public:
  static constexpr std::size_t kMax = kPerChunk * kChunks;

  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for (std::uint32_t i = 0; i < size_; ++i) std::destroy_at(&(*this)[i]);
    for (std::size_t i = 0; i * kPerChunk < size_; ++i) {
      ::operator delete(chunks_[i].load(std::memory_order_relaxed), std::align_val_t{alignof(T)});
    }
  }

  // One that was made before the index was handed over.
  T& operator[](std::uint32_t index) const noexcept {
    return chunks_[index / kPerChunk].load(std::memory_order_relaxed)[index % kPerChunk];
  }

  // Makes another one, at index size(). REQUIRES: size() < kMax; one thread at a time.
  T& Grow() {
    METE_CHECK(size_ < kMax);
    std::atomic<T*>& chunk = chunks_[size_ / kPerChunk];
    if (size_ % kPerChunk == 0) {
      void* memory = ::operator new(sizeof(T) * kPerChunk, std::align_val_t{alignof(T)});
      chunk.store(static_cast<T*>(memory), std::memory_order_relaxed);
    }
    T* made = chunk.load(std::memory_order_relaxed) + size_ % kPerChunk;
    std::construct_at(made);
    ++size_;
    return *made;
  }

  // REQUIRES: not while another thread grows.
  std::uint32_t size() const noexcept { return size_; }

 private:
  std::array<std::atomic<T*>, kChunks> chunks_{};
  std::uint32_t size_ = 0;
};

}  // namespace mete
