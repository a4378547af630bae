#include "quota/name_table.h"

#include <cstring>

namespace mete {
namespace {

__extension__ using Uint128 = unsigned __int128;

constexpr std::size_t kFirstSlots = 64;

// Both halves of a product: every bit of it depends on every bit of the factors.
std::uint64_t Mix(std::uint64_t a, std::uint64_t b) noexcept {
  const Uint128 product = static_cast<Uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t Read(const char* from, std::size_t bytes) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, bytes);
  return word;
}

}  // namespace

// Multiply and fold, as wyhash and its kin do (W. Yi, 2019). The constants are digits of pi and e:
// any that are odd and irregular would do. Not meant against ids that are chosen to collide; such
// an owner of many ids slows down only the lookup of those.
std::uint64_t HashOf(QuotaScope scope, std::string_view id) noexcept {
  constexpr std::uint64_t kPi = 0x243f6a8885a308d3;
  constexpr std::uint64_t kE = 0xb7e151628aed2a6b;
  std::uint64_t hash = kPi ^ (static_cast<std::uint64_t>(scope) << 56) ^ id.size();
  const char* at = id.data();
  std::size_t left = id.size();
  for (; left > 8; left -= 8, at += 8) hash = Mix(hash ^ Read(at, 8), kE);
  return Mix(hash ^ Read(at, left), kE);
}

NameTable::Slots::Slots(std::size_t count)
    : mask(count - 1),
      entries(std::make_unique<std::atomic<std::uint64_t>[]>(count)),
      hints(std::make_unique<std::atomic<std::uint32_t>[]>(count)) {}

NameTable::NameTable() {
  all_.push_back(std::make_unique<Slots>(kFirstSlots));
  slots_.store(all_.back().get(), std::memory_order_relaxed);
}

void NameTable::Put(Slots& slots, std::uint64_t entry, std::uint32_t hint) {
  std::size_t i = (entry >> 32) & slots.mask;
  while (slots.entries[i].load(std::memory_order_relaxed) != 0) i = (i + 1) & slots.mask;
  slots.hints[i].store(hint, std::memory_order_relaxed);
  slots.entries[i].store(entry, std::memory_order_release);
}

void NameTable::Grow() {
  const Slots& old = *all_.back();
  auto larger = std::make_unique<Slots>((old.mask + 1) * 2);
  for (std::size_t i = 0; i <= old.mask; ++i) {
    const std::uint64_t entry = old.entries[i].load(std::memory_order_relaxed);
    if (entry != 0) Put(*larger, entry, old.hints[i].load(std::memory_order_relaxed));
  }
  all_.push_back(std::move(larger));
  slots_.store(all_.back().get(), std::memory_order_release);
}

void NameTable::Insert(std::uint64_t hash, std::uint32_t index, std::uint32_t hint) {
  // Three quarters full at most: a look then touches one line, rarely two.
  if ((count_ + 1) * 4 > (all_.back()->mask + 1) * 3) {
    version_.fetch_add(1, std::memory_order_acq_rel);
    Grow();
    version_.fetch_add(1, std::memory_order_release);
  }
  ++count_;
  Put(*all_.back(), EntryOf(hash, index), hint);
}

// Closes the gap by moving back what came after it, so that no mark of a removed entry is left (D.
// Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R).
void NameTable::Erase(std::uint64_t hash, std::uint32_t index) {
  Slots& slots = *all_.back();
  const std::uint64_t entry = EntryOf(hash, index);
  std::size_t gap = (hash >> 32) & slots.mask;
  while (slots.entries[gap].load(std::memory_order_relaxed) != entry) gap = (gap + 1) & slots.mask;
  --count_;
  version_.fetch_add(1, std::memory_order_acq_rel);
  for (std::size_t i = gap;;) {
    i = (i + 1) & slots.mask;
    const std::uint64_t next = slots.entries[i].load(std::memory_order_relaxed);
    if (next == 0) break;
    const std::size_t home = (next >> 32) & slots.mask;
    // It may stay where it is if its home lies after the gap.
    if (((i - home) & slots.mask) < ((i - gap) & slots.mask)) continue;
    slots.hints[gap].store(slots.hints[i].load(std::memory_order_relaxed),
                           std::memory_order_relaxed);
    slots.entries[gap].store(next, std::memory_order_release);
    gap = i;
  }
  slots.entries[gap].store(0, std::memory_order_release);
  version_.fetch_add(1, std::memory_order_release);
}

}  // namespace mete
