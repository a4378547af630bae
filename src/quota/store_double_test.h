// A store in memory that stands still, fails, or remembers what it looked like, when told to.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "mete/store.h"
#include "quota/memory_store.h"

namespace mete {

// What the test tells it; both may look from any thread.
class StoreSwitch {
 public:
  StoreSwitch() = default;
  explicit StoreSwitch(MemoryStoreContent image) { *content_ = std::move(image); }

  void Stall() {
    Change([this] { stalls_ = true; });
  }
  // What comes after a write stands still.
  void StallCatchingUp() {
    Change([this] { stalls_catching_up_ = true; });
  }
  void GoOn() {
    Change([this] { stalls_ = stalls_catching_up_ = false; });
  }
  void Fail(int writes) {
    Change([this, writes] { failures_ = writes; });
  }
  // Keeps a copy of what there is after each write.
  void KeepImages() {
    Change([this] { keeps_images_ = true; });
  }

  // Until a write stands still.
  void AwaitStalled() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_stalled_; });
  }
  MemoryStoreContent Image() {
    const std::lock_guard lock(mutex_);
    return *content_;
  }
  std::vector<MemoryStoreContent> TakeImages() {
    const std::lock_guard lock(mutex_);
    return std::exchange(images_, {});
  }

 private:
  friend class StoreDouble;

  template <class Function>
  void Change(Function&& function) {
    {
      const std::lock_guard lock(mutex_);
      function();
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stalls_ = false, is_stalled_ = false, stalls_catching_up_ = false, keeps_images_ = false;
  int failures_ = 0;
  std::vector<MemoryStoreContent> images_;
  std::shared_ptr<MemoryStoreContent> content_ = NewMemoryStoreContent();
};

class StoreDouble final : public Store {
 public:
  explicit StoreDouble(StoreSwitch& control)
      : control_(control), store_(NewMemoryStore(control.content_)) {}

  Result<StoredMark> Load(const StoreVisitor& visitor, std::size_t events) override {
    return store_->Load(visitor, events);
  }
  Result<void> Write(const StoreBatch& batch) override {
    std::unique_lock lock(control_.mutex_);
    control_.is_stalled_ = control_.stalls_;
    control_.changed_.notify_all();
    control_.changed_.wait(lock, [this] { return !control_.stalls_; });
    control_.is_stalled_ = false;
    if (control_.failures_ > 0) {
      --control_.failures_;
      return mete::Fail(ErrorCode::kStoreUnavailable, "no space");
    }
    Result<void> written = store_->Write(batch);
    if (control_.keeps_images_) control_.images_.push_back(*control_.content_);
    return written;
  }
  void CatchUp() override {
    std::unique_lock lock(control_.mutex_);
    control_.changed_.wait(lock, [this] { return !control_.stalls_catching_up_; });
  }
  const std::string& name() const override { return store_->name(); }

 private:
  StoreSwitch& control_;
  std::unique_ptr<Store> store_;
};

}  // namespace mete
