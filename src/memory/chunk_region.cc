#include "memory/chunk_region.h"

#include <algorithm>
#include <bit>
#include <new>

#include "base/check.h"
#include "memory/shadow.h"

namespace mete {
namespace {

constexpr std::uint32_t kStep = HostMemory::kHugePage / ChunkRegion::kChunk;

AllocationRefusal SystemRefusal(std::size_t bytes) {
  return {
      .reason = AllocationRefusal::Reason::kSystem, .size = bytes, .alignment = 1, .budget = {}};
}

std::uint32_t ChunksFor(std::size_t bytes) {
  return static_cast<std::uint32_t>((bytes + ChunkRegion::kChunk - 1) / ChunkRegion::kChunk);
}

}  // namespace

ChunkRegion::~ChunkRegion() {
  if (begin_ == nullptr) return;
  shadow::Unpoison(begin_, committed());
  memory_->Release(begin_, reserved());
  budget_->Uncharge(static_cast<std::int64_t>(committed()));
}

std::optional<AllocationRefusal> ChunkRegion::Open(HostMemory& memory, SharedBudget& budget,
                                                   std::size_t reserve, std::size_t ready) {
  METE_CHECK(begin_ == nullptr);
  memory_ = &memory;
  budget_ = &budget;
  const std::uint32_t chunks = (ChunksFor(std::max(reserve, ready)) + kStep - 1) / kStep * kStep;
  if (chunks == 0) return std::nullopt;
  // A word more than needed keeps FindLocked free of a special last word.
  bits_.reset(new (std::nothrow) std::uint64_t[chunks / 64 + 1]());
  notes_.reset(new (std::nothrow) Note[chunks]);
  if (bits_ == nullptr || notes_ == nullptr) return SystemRefusal(chunks * sizeof(Note));
  begin_ = static_cast<std::byte*>(memory.Reserve(chunks * kChunk));
  if (begin_ == nullptr) return SystemRefusal(chunks * kChunk);
  chunks_ = chunks;
  bool edges = false;
  const std::lock_guard lock(lock_);
  return GrowLocked(ChunksFor(ready), edges);
}

std::uint32_t ChunkRegion::taken() const noexcept {
  const std::lock_guard lock(lock_);
  return taken_;
}

void ChunkRegion::Mark(std::uint32_t first, std::uint32_t count, bool taken) noexcept {
  for (std::uint32_t chunk = first; chunk < first + count; ++chunk) {
    METE_CHECK(IsTaken(chunk) != taken);
    bits_[chunk / 64] ^= std::uint64_t{1} << (chunk % 64);
  }
  taken_ = taken ? taken_ + count : taken_ - count;
  if (!taken) hint_ = std::min(hint_, first);
}

// The first committed run of free chunks; the whole bitmap of 256 MiB is eight cache lines.
std::uint32_t ChunkRegion::FindLocked(std::uint32_t count) const noexcept {
  std::uint32_t start = hint_;
  const std::size_t committed = committed_.load(std::memory_order_relaxed);
  while (start + count <= committed) {
    const std::uint64_t rest = ~bits_[start / 64] >> (start % 64);
    if (rest == 0) {
      start = (start / 64 + 1) * 64;
      continue;
    }
    start += static_cast<std::uint32_t>(std::countr_zero(rest));
    if (start + count > committed) break;
    std::uint32_t length = 1;
    while (length < count && !IsTaken(start + length)) ++length;
    if (length == count) return start;
    start += length;
  }
  return kNone;
}

std::optional<AllocationRefusal> ChunkRegion::GrowLocked(std::uint32_t to, bool& edges) noexcept {
  if (to <= committed_.load(std::memory_order_relaxed)) return std::nullopt;
  const std::size_t from = committed_.load(std::memory_order_relaxed);
  const std::size_t bytes = (to - from) * kChunk;
  if (to > chunks_) return SystemRefusal(bytes);
  const Charged charged = budget_->TryCharge(static_cast<std::int64_t>(bytes));
  if (!charged) {
    return AllocationRefusal{.reason = AllocationRefusal::Reason::kBudget,
                             .size = bytes,
                             .alignment = 1,
                             .budget = charged.error()};
  }
  if (!memory_->Commit(At(static_cast<std::uint32_t>(from)), bytes)) {
    budget_->Uncharge(static_cast<std::int64_t>(bytes));
    return SystemRefusal(bytes);
  }
  shadow::Poison(At(static_cast<std::uint32_t>(from)), bytes);
  committed_.store(to, std::memory_order_relaxed);
  edges = edges || charged->edges;
  return std::nullopt;
}

ChunkRegion::Taken ChunkRegion::Take(std::uint32_t count) noexcept {
  Taken taken;
  if (count == 0 || count > chunks_) {
    taken.refusal = SystemRefusal(count * kChunk);
    return taken;
  }
  const std::lock_guard lock(lock_);
  taken.first = FindLocked(count);
  if (taken.first == kNone) {
    // What is free at the end of the committed part counts towards the run.
    const auto committed = static_cast<std::uint32_t>(committed_.load(std::memory_order_relaxed));
    std::uint32_t end = committed;
    while (end > 0 && !IsTaken(end - 1)) --end;
    if (end + count > chunks_) {
      taken.refusal = SystemRefusal(count * kChunk);
      return taken;
    }
    const std::uint32_t least = end + count;
    // By a quarter, so that a frame which is late once does not sit on much; large regions by whole
    // huge pages.
    const std::uint32_t more = std::clamp(committed / 4, 1u, kStep) - 1;
    const std::uint32_t step = more + 1 == kStep ? kStep : 1;
    const std::uint32_t whole = std::min(chunks_, (least + more + step - 1) / step * step);
    if (GrowLocked(whole, taken.edges)) taken.refusal = GrowLocked(least, taken.edges);
    if (taken.refusal) return taken;
    taken.first = end;
  }
  Mark(taken.first, count, true);
  if (taken.first == hint_) hint_ += count;
  return taken;
}

void ChunkRegion::Give(std::uint32_t first, std::uint32_t count) noexcept {
  const std::lock_guard lock(lock_);
  Mark(first, count, false);
}

bool ChunkRegion::Resize(std::size_t bytes) noexcept {
  const std::lock_guard lock(lock_);
  const std::uint32_t wanted = std::min(chunks_, ChunksFor(bytes));
  bool edges = false;
  if (wanted > committed_.load(std::memory_order_relaxed)) {
    static_cast<void>(GrowLocked(wanted, edges));  // the frame grows by itself, or overflows
    return edges;
  }
  const auto all = static_cast<std::uint32_t>(committed_.load(std::memory_order_relaxed));
  std::uint32_t end = all;
  while (end > wanted && !IsTaken(end - 1)) --end;
  if (end == all) return false;
  const std::size_t given = (all - end) * kChunk;
  shadow::Unpoison(At(end), given);
  memory_->Decommit(At(end), given);
  committed_.store(end, std::memory_order_relaxed);
  budget_->Uncharge(static_cast<std::int64_t>(given));
  return false;
}

void ChunkRegion::Protect(bool accessible) noexcept {
  const std::lock_guard lock(lock_);
  if (committed() > 0) memory_->Protect(begin_, committed(), accessible);
}

}  // namespace mete
