// Memory by owner: who asked, what is alive, and where it goes back to.
#include <algorithm>
#include <bit>

#include "memory/host_parts.h"
#include "mete/host_budget_manager.h"

namespace mete {

using std::memory_order_relaxed;

HostOwner::HostOwner(HostBudgetManager& manager, std::string name, std::int64_t limit,
                     SharedBudget& heap, Thresholds thresholds)
    : manager_(&manager),
      name_(std::move(name)),
      budget_(BudgetKind::kLevel, limit, &heap, thresholds) {}

void HostOwner::CountLive(std::int64_t blocks, std::int64_t bytes) noexcept {
  count_.fetch_add(blocks, memory_order_relaxed);
  bytes_.fetch_add(bytes, memory_order_relaxed);
}

void* HostOwner::TakeHeap(std::size_t size, std::size_t alignment,
                          AllocationRefusal& refusal) noexcept {
  const std::size_t bytes = std::max<std::size_t>(size, 1);
  const Charged charged = budget_.TryCharge(static_cast<std::int64_t>(bytes));
  if (!charged) {
    refusal.reason = AllocationRefusal::Reason::kBudget;
    refusal.budget = charged.error();
    return nullptr;
  }
  void* const data = manager_->memory_->Allocate(bytes, alignment);
  if (data == nullptr) {
    budget_.Uncharge(static_cast<std::int64_t>(bytes));
    refusal.reason = AllocationRefusal::Reason::kSystem;
    return nullptr;
  }
  CountLive(1, static_cast<std::int64_t>(size));
  if (charged->edges) HostBudgetManager::EdgesRaised(manager_);
  return data;
}

Allocated<Allocation> HostOwner::RequestAllocation(std::size_t size, std::size_t alignment,
                                                   AllocationScope scope) noexcept {
  using Reason = AllocationRefusal::Reason;
  if (scope == AllocationScope::kFrame) return manager_->frames_->Request(size, alignment);
  AllocationRefusal refusal{
      .reason = Reason::kBudget, .size = size, .alignment = alignment, .budget = {}};
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    refusal.reason = Reason::kAlignment;
    return std::unexpected(refusal);
  }
  if (size > kMaxAllocation) {
    refusal.reason = Reason::kSize;
    return std::unexpected(refusal);
  }
  if (scope == AllocationScope::kPersistent) {
    bool edges = false;
    void* const data = manager_->parts_->persistent.Allocate(size, alignment, edges);
    if (data != nullptr) CountLive(1, static_cast<std::int64_t>(size));
    if (edges) HostBudgetManager::EdgesRaised(manager_);
    if (data != nullptr) return Allocation(data, size, alignment, Backing::kPersistent, this);
  }
  void* const data = TakeHeap(size, alignment, refusal);
  if (data == nullptr) return std::unexpected(refusal);
  return Allocation(data, size, alignment, Backing::kHeap, this);
}

void HostOwner::Free(void* data, std::size_t size, std::size_t alignment,
                     Backing backing) noexcept {
  if (backing == Backing::kPersistent) {
    manager_->parts_->persistent.Free(data);
  } else {
    const std::size_t bytes = std::max<std::size_t>(size, 1);
    manager_->memory_->Free(data, bytes, alignment);
    budget_.Uncharge(static_cast<std::int64_t>(bytes));
  }
  CountLive(-1, -static_cast<std::int64_t>(size));
}

void* OwnerResource::do_allocate(std::size_t bytes, std::size_t alignment) {
  AllocationRefusal refusal;
  void* const data =
      bytes <= kMaxAllocation ? owner_->TakeHeap(bytes, alignment, refusal) : nullptr;
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

void OwnerResource::do_deallocate(void* block, std::size_t bytes, std::size_t alignment) noexcept {
  owner_->Free(block, bytes, alignment, Backing::kHeap);
}

}  // namespace mete
