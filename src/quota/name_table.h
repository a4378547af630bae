// From the name of an account to its record, without a lock for those who look.
//
// Open addressing with linear probing. An entry is one atomic word: 16 bits of the name's hash, the
// index of the record, and that of the account above, so that both records can be fetched from
// memory at once. The table does not see names: whoever looks is given each index whose bits agree,
// and says whether that is the one (it has to take the record's lock for that anyway); whoever
// changes the table says what the hash of an index is, where an entry has to move.
//
// One writer at a time, with `version_` odd while it moves entries: a look that found nothing, and
// during which the version changed, starts again. One that found something needs no version, since
// the record itself said so. When the table grows, somebody may still look at the old one: so its
// addresses stay, and read as empty, but its memory is given back.
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
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr std::uint32_t kMaxIndex = (1u << 24) - 2;

  NameTable();
  NameTable(const NameTable&) = delete;
  NameTable& operator=(const NameTable&) = delete;

  // Calls `is_it(index, above)` for each candidate until it answers true; then so does this.
  template <class IsIt>
  bool Find(std::uint64_t hash, IsIt&& is_it) const;

  // One writer at a time for these; `hash_of(index)` is called for what is in the table. `above`
  // may be kNone. REQUIRES: indexes up to kMaxIndex.
  template <class HashOfIndex>
  void Insert(std::uint64_t hash, std::uint32_t index, std::uint32_t above, HashOfIndex&& hash_of);
  // REQUIRES: it is there.
  template <class HashOfIndex>
  void Erase(std::uint64_t hash, std::uint32_t index, HashOfIndex&& hash_of);

 private:
  struct Slots {
    explicit Slots(std::size_t count);
    Slots(const Slots&) = delete;
    Slots& operator=(const Slots&) = delete;
    ~Slots();
    std::size_t bytes() const;
    void Put(std::uint64_t hash, std::uint64_t entry);
    std::uint64_t at(std::size_t i) const { return entries[i].load(std::memory_order_acquire); }

    std::size_t mask;
    std::atomic<std::uint64_t>* entries;  // 0: empty
  };

  // From the lowest bit: index + 1 and above + 1 in 24 bits each, and the tag.
  static constexpr std::uint64_t kIndexMask = (1u << 24) - 1;
  static constexpr int kAboveShift = 24, kTagShift = 48;

  static constexpr std::uint64_t EntryOf(std::uint64_t hash, std::uint32_t index,
                                         std::uint32_t above) {
    const std::uint64_t above_part = (std::uint64_t{above} + 1) & kIndexMask;  // 0 for kNone
    return hash >> kTagShift << kTagShift | above_part << kAboveShift | (std::uint64_t{index} + 1);
  }
  static constexpr std::uint32_t IndexOf(std::uint64_t entry) {
    return static_cast<std::uint32_t>(entry & kIndexMask) - 1;
  }
  static constexpr std::uint32_t AboveOf(std::uint64_t entry) {
    return static_cast<std::uint32_t>(entry >> kAboveShift & kIndexMask) - 1;
  }
  // Around a change in which entries are moved.
  void BeginMove() { version_.fetch_add(1, std::memory_order_acq_rel); }
  void EndMove() { version_.fetch_add(1, std::memory_order_release); }
  void Publish(std::unique_ptr<Slots> larger);

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
    for (std::size_t i = hash & slots.mask;; i = (i + 1) & slots.mask) {
      const std::uint64_t entry = slots.at(i);
      if (entry == 0) break;
      if ((entry ^ hash) >> kTagShift == 0 && is_it(IndexOf(entry), AboveOf(entry))) return true;
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) return false;
  }
}

template <class HashOfIndex>
void NameTable::Insert(std::uint64_t hash, std::uint32_t index, std::uint32_t above,
                       HashOfIndex&& hash_of) {
  Slots* slots = all_.back().get();
  // Three quarters full at most: a look then touches one line, rarely two.
  if (++count_ * 4 > (slots->mask + 1) * 3) {
    auto larger = std::make_unique<Slots>((slots->mask + 1) * 2);
    for (std::size_t i = 0; i <= slots->mask; ++i) {
      const std::uint64_t entry = slots->at(i);
      if (entry != 0) larger->Put(hash_of(IndexOf(entry)), entry);
    }
    slots = larger.get();
    Publish(std::move(larger));
  }
  slots->Put(hash, EntryOf(hash, index, above));
}

// Closes the gap by moving back what came after it, so that no mark of a removed entry is left (D.
// Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R).
template <class HashOfIndex>
void NameTable::Erase(std::uint64_t hash, std::uint32_t index, HashOfIndex&& hash_of) {
  Slots& slots = *all_.back();
  std::size_t gap = hash & slots.mask;
  while (IndexOf(slots.at(gap)) != index) gap = (gap + 1) & slots.mask;
  --count_;
  BeginMove();
  for (std::size_t i = gap;;) {
    i = (i + 1) & slots.mask;
    const std::uint64_t next = slots.at(i);
    if (next == 0) break;
    const std::size_t home = hash_of(IndexOf(next)) & slots.mask;
    // It may stay where it is if its home lies after the gap.
    if (((i - home) & slots.mask) < ((i - gap) & slots.mask)) continue;
    slots.entries[gap].store(next, std::memory_order_release);
    gap = i;
  }
  slots.entries[gap].store(0, std::memory_order_release);
  EndMove();
}

}  // namespace mete
