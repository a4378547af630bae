#include "quota/name_table.h"

#include <cstring>

#include "base/pages.h"

namespace mete {
namespace {

__extension__ using Uint128 = unsigned __int128;

constexpr std::size_t kFirstSlots = 512;  // a page

// Both halves of a product: every bit of it depends on every bit of the factors.
std::uint64_t Mix(std::uint64_t a, std::uint64_t b) noexcept {
  const Uint128 product = static_cast<Uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

template <class Word>
std::uint64_t Read(const char* from) noexcept {
  Word word = 0;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// Its last bytes, up to eight: all of them, some twice where there are fewer. Reads of a fixed size
// that overlap are several times as fast as one of just as many bytes.
std::uint64_t Tail(std::string_view id) noexcept {
  const char* const begin = id.data();
  const char* const end = begin + id.size();
  if (id.size() >= 8) return Read<std::uint64_t>(end - 8);
  if (id.size() >= 4) {
    return Read<std::uint32_t>(begin) | Read<std::uint32_t>(end - 4) << 32;
  }
  std::uint64_t bytes = 0;
  for (const char byte : id) bytes = bytes << 8 | static_cast<unsigned char>(byte);
  return bytes;
}

}  // namespace

// Multiply and fold, as wyhash and its kin do (W. Yi, 2019). The constants are digits of pi and e:
// any that are odd and irregular would do. Not meant against ids that are chosen to collide; such
// an owner of many ids slows down only the lookup of those.
std::uint64_t HashOf(QuotaScope scope, std::string_view id) noexcept {
  constexpr std::uint64_t kPi = 0x243f6a8885a308d3;
  constexpr std::uint64_t kE = 0xb7e151628aed2a6b;
  std::uint64_t hash = kPi ^ (static_cast<std::uint64_t>(scope) << 56);
  for (std::size_t at = 0; at + 8 < id.size(); at += 8) {
    hash = Mix(hash ^ Read<std::uint64_t>(id.data() + at), kE);
  }
  return Mix(hash ^ Tail(id), kE + 2 * id.size());  // another odd factor for every length
}

NameTable::Slots::Slots(std::size_t count)
    : mask(count - 1),
      // Zeroed memory is what these atomics are when they are zero.
      entries(static_cast<std::atomic<std::uint64_t>*>(MapPages(bytes(), bytes() >= kHugePage))) {}

NameTable::Slots::~Slots() { UnmapPages(entries, bytes()); }

std::size_t NameTable::Slots::bytes() const { return (mask + 1) * sizeof entries[0]; }

void NameTable::Slots::Put(std::uint64_t hash, std::uint64_t entry) {
  std::size_t i = hash & mask;
  while (at(i) != 0) i = (i + 1) & mask;
  entries[i].store(entry, std::memory_order_release);
}

NameTable::NameTable() {
  all_.push_back(std::make_unique<Slots>(kFirstSlots));
  slots_.store(all_.back().get(), std::memory_order_relaxed);
}

void NameTable::Publish(std::unique_ptr<Slots> larger) {
  BeginMove();
  slots_.store(larger.get(), std::memory_order_release);
  DropPages(all_.back()->entries, all_.back()->bytes());
  EndMove();
  all_.push_back(std::move(larger));
}

}  // namespace mete
