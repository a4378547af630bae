// Things by index that never move and are never freed before the slab: they may be reached without
// a lock by whoever has an index that was handed to it.
//
// They lie in chunks of one size, of which all but the first are asked for as huge pages: a manager
// of a few accounts touches a few small pages, one of a hundred thousand misses few page tables.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/check.h"
#include "base/pages.h"

namespace mete {

template <class T, std::size_t kPerChunk, std::size_t kChunks>
class Slab {
 public:
  static constexpr std::uint32_t kMax = kPerChunk * kChunks;

  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for (std::uint32_t i = 0; i < size_; ++i) std::destroy_at(&(*this)[i]);
    for (std::size_t i = 0; i * kPerChunk < size_; ++i) {
      UnmapPages(chunks_[i].load(std::memory_order_relaxed), kChunkBytes);
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
      void* const memory = MapPages(kChunkBytes, size_ > 0 && kChunkBytes % kHugePage == 0);
      chunk.store(static_cast<T*>(memory), std::memory_order_relaxed);
    }
    T* const made = chunk.load(std::memory_order_relaxed) + size_ % kPerChunk;
    std::construct_at(made);
    ++size_;
    return *made;
  }

  // REQUIRES: not while another thread grows.
  std::uint32_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kChunkBytes = (sizeof(T) * kPerChunk + kPage - 1) / kPage * kPage;

  std::array<std::atomic<T*>, kChunks> chunks_{};
  std::uint32_t size_ = 0;
};

}  // namespace mete
