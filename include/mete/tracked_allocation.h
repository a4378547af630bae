// TrackedAllocation<T>: an object whose memory and charge go with it. Wherever it is moved, the
// three move together; when it ends, the object is destroyed, the memory freed, the charge undone.
//
// LifetimeScope: objects that end together, newest first.
//
// Thread safety: like the objects themselves: one thread at a time. Both must end before the
// consumer that they took memory from.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "mete/resource_consumer.h"

namespace mete {

template <class T>
class TrackedAllocation {
 public:
  TrackedAllocation() noexcept = default;

  // Allocates and constructs, or does neither. Scope kFrame is refused: a frame's memory ends by
  // itself, and the object in it would not (RequestStackResource has objects that do).
  template <class... Args>
  [[nodiscard]] static Allocated<TrackedAllocation> Make(IResourceConsumer& consumer,
                                                         AllocationScope scope, Args&&... args) {
    if (scope == AllocationScope::kFrame) {
      return std::unexpected(AllocationRefusal{.reason = AllocationRefusal::Reason::kScope,
                                               .size = sizeof(T),
                                               .alignment = alignof(T),
                                               .budget = {}});
    }
    auto memory = consumer.RequestAllocation(sizeof(T), alignof(T), scope);
    if (!memory) return std::unexpected(memory.error());
    TrackedAllocation made;
    made.object_ = ::new (memory->data()) T(std::forward<Args>(args)...);
    made.memory_ = std::move(*memory);
    return made;
  }

  TrackedAllocation(TrackedAllocation&& other) noexcept
      : memory_(std::move(other.memory_)), object_(std::exchange(other.object_, nullptr)) {}
  TrackedAllocation& operator=(TrackedAllocation&& other) noexcept {
    if (this != &other) {
      Reset();
      memory_ = std::move(other.memory_);
      object_ = std::exchange(other.object_, nullptr);
    }
    return *this;
  }
  ~TrackedAllocation() { Reset(); }

  // Destroys the object and gives its memory back. Harmless when empty.
  void Reset() noexcept {
    if (T* const object = std::exchange(object_, nullptr); object != nullptr) object->~T();
    memory_.Release();
  }

  T* get() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  Backing backing() const noexcept { return memory_.backing(); }

 private:
  Allocation memory_;
  T* object_ = nullptr;
};

// Scopes nest: a scope ends its children before itself.
class LifetimeScope {
 public:
  explicit LifetimeScope(IResourceConsumer& consumer, LifetimeScope* parent = nullptr) noexcept
      : consumer_(&consumer), parent_(parent) {
    if (parent_ == nullptr) return;
    sibling_ = parent_->child_;
    parent_->child_ = this;
  }
  LifetimeScope(const LifetimeScope&) = delete;
  LifetimeScope& operator=(const LifetimeScope&) = delete;

  ~LifetimeScope() {
    End();
    if (parent_ == nullptr) return;
    LifetimeScope** link = &parent_->child_;
    while (*link != this) link = &(*link)->sibling_;
    *link = sibling_;
  }

  // An object that lives until the scope ends.
  template <class T, class... Args>
  [[nodiscard]] Allocated<T*> Make(Args&&... args) {
    struct Holder : Node {
      explicit Holder(Args&&... given) : object(std::forward<Args>(given)...) {}
      T object;
    };
    auto memory =
        consumer_->RequestAllocation(sizeof(Holder), alignof(Holder), AllocationScope::kPersistent);
    if (!memory) return std::unexpected(memory.error());
    auto* const holder = ::new (memory->data()) Holder(std::forward<Args>(args)...);
    holder->end = [](Node* node) noexcept {
      Allocation last = std::move(node->memory);
      static_cast<Holder*>(node)->~Holder();
    };
    bytes_ += memory->size();
    holder->memory = std::move(*memory);
    holder->older = newest_;
    newest_ = holder;
    ++count_;
    return &holder->object;
  }

  // Ends everything in it, newest first; it may be used again. What destructors add ends too.
  void End() noexcept {
    for (LifetimeScope* child = child_; child != nullptr; child = child->sibling_) child->End();
    while (newest_ != nullptr) {
      Node* const node = std::exchange(newest_, newest_->older);
      node->end(node);
    }
    count_ = 0;
    bytes_ = 0;
  }

  std::size_t count() const noexcept { return count_; }
  std::size_t bytes() const noexcept { return bytes_; }  // own, not its children's

 private:
  struct Node {
    Node* older = nullptr;
    void (*end)(Node*) noexcept = nullptr;
    Allocation memory;
  };

  IResourceConsumer* consumer_;
  LifetimeScope* parent_;
  LifetimeScope* child_ = nullptr;
  LifetimeScope* sibling_ = nullptr;
  Node* newest_ = nullptr;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace mete
