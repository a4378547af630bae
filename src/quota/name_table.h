// From the name of an account to its record, without a lock for those who look.
//
// Open addressing with linear probing; an entry is 32 bits of the name's hash and the index of the
// record, in one atomic word. The table does not see names: whoever looks is given each index whose
// bits agree, and says whether that is the one (it has to take the record's lock for that anyway).
// Beside it lies a hint, the index of the account above: so both records can be fetched from memory
// at once, and not the second when the first has come and said where it is.
//
// One writer at a time, with `version_` odd while it moves entries: a look that found nothing, and
// during which the version changed, starts again. One that found something needs no version, since
// the record itself said so. When the table grows, the old one is kept for those who still look
// at it; all old ones together are no larger than the new one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "mete/quota.h"

namespace mete {

std::uint64_t HashOf(QuotaScope scope, std::string_view id) noexcept;

class NameTable {
 public:
  NameTable();
  NameTable(const NameTable&) = delete;
  NameTable& operator=(const NameTable&) = delete;

  // Calls `is_it(index, hint)` for each candidate until it answers true; then so does this.
  template <class IsIt>
  bool Find(std::uint64_t hash, IsIt&& is_it) const;

  // REQUIRES: one writer at a time for these.
  void Insert(std::uint64_t hash, std::uint32_t index, std::uint32_t hint);
  void Erase(std::uint64_t hash, std::uint32_t index);

 private:
  struct Slots {
    explicit Slots(std::size_t count);
    std::size_t mask;
    std::unique_ptr<std::atomic<std::uint64_t>[]> entries;  // 0: empty
    std::unique_ptr<std::atomic<std::uint32_t>[]> hints;
  };

  static constexpr std::uint64_t EntryOf(std::uint64_t hash, std::uint32_t index) {
    return (hash & ~std::uint64_t{0xffffffff}) | (std::uint64_t{index} + 1);
  }
  static void Put(Slots& slots, std::uint64_t entry, std::uint32_t hint);
  void Grow();

  std::atomic<const Slots*> slots_;
  std::atomic<std::uint64_t> version_{0};
  std::size_t count_ = 0;
  std::vector<std::unique_ptr<Slots>> all_;  // the last one is in use
};

template <class IsIt>
bool NameTable::Find(std::uint64_t hash, IsIt&& is_it) const {
  for (;;) {
    const std::uint64_t version = version_.load(std::memory_order_acquire);
    const Slots& slots = *slots_.load(std::memory_order_acquire);
    // The upper half of an entry is the upper half of the hash; its place comes from there too, so
    // that entries can be moved without their names.
    for (std::size_t i = (hash >> 32) & slots.mask;; i = (i + 1) & slots.mask) {
      const std::uint64_t entry = slots.entries[i].load(std::memory_order_acquire);
      if (entry == 0) break;
      if ((entry ^ hash) >> 32 != 0) continue;
      const std::uint32_t hint = slots.hints[i].load(std::memory_order_relaxed);
      if (is_it(static_cast<std::uint32_t>(entry) - 1, hint)) return true;
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) return false;
  }
}

}  // namespace mete
