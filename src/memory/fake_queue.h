// FakeQueue: a queue over a FakeAllocator. It copies when a batch is done and not before, so that
// staging memory which is used again too early is seen in what arrives.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "memory/fake_allocator.h"
#include "mete/transfer_queue.h"

namespace mete {

class FakeQueue final : public ITransferQueue {
 public:
  static constexpr int kNever = -1;

  // A batch is done once it was asked for `polls` times; kNever: when Complete says so.
  explicit FakeQueue(FakeAllocator& allocator, int polls = 0)
      : allocator_(allocator), polls_(polls) {}

  DeviceResult<std::uint64_t> Submit(std::span<const BufferCopy> copies) noexcept override {
    const std::lock_guard lock(lock_);
    if (copies.empty()) return Refuse(DeviceError::Reason::kArgument);
    if (lost_) return Refuse(DeviceError::Reason::kDeviceLost);
    if (fail_ > 0 && fail_-- == 1) return Refuse(DeviceError::Reason::kHostMemory);
    batches_.emplace_back(copies.begin(), copies.end());
    const std::uint64_t value = reached_ + batches_.size();
    if (polls_ == 0) CompleteOldest();
    return value;
  }

  DeviceResult<std::uint64_t> Reached() noexcept override {
    const std::lock_guard lock(lock_);
    Poll();
    if (lost_) return Refuse(DeviceError::Reason::kDeviceLost);
    return reached_;
  }

  DeviceResult<void> Wait(std::uint64_t value, std::chrono::nanoseconds timeout) noexcept override {
    const auto until = std::chrono::steady_clock::now() + timeout;
    std::unique_lock lock(lock_);
    for (;;) {
      Poll();
      if (lost_) return Refuse(DeviceError::Reason::kDeviceLost);
      if (reached_ >= value) return {};
      if (std::chrono::steady_clock::now() >= until) return Refuse(DeviceError::Reason::kTimeout);
      done_.wait_for(lock, std::chrono::microseconds(20));
    }
  }

  void Complete(std::size_t batches = 1) {  // the oldest ones
    const std::lock_guard lock(lock_);
    for (; batches > 0; --batches) CompleteOldest();
  }
  void FailSubmit(std::int64_t nth) {
    const std::lock_guard lock(lock_);
    fail_ = nth;
  }
  void Lose() {
    const std::lock_guard lock(lock_);
    lost_ = true;
    done_.notify_all();
  }
  std::uint64_t submitted() const {
    const std::lock_guard lock(lock_);
    return reached_ + batches_.size();
  }

 private:
  static std::unexpected<DeviceError> Refuse(DeviceError::Reason reason) {
    return std::unexpected(DeviceError{.reason = reason});
  }

  void Poll() {
    if (lost_ || polls_ == kNever || batches_.empty() || ++asked_ < polls_) return;
    CompleteOldest();
  }

  void CompleteOldest() {
    if (batches_.empty()) return;
    for (const BufferCopy& copy : batches_.front()) {
      const auto from = allocator_.Contents(copy.source)
                            .subspan(static_cast<std::size_t>(copy.source_offset),
                                     static_cast<std::size_t>(copy.bytes));
      const auto to = allocator_.Contents(copy.target)
                          .subspan(static_cast<std::size_t>(copy.target_offset),
                                   static_cast<std::size_t>(copy.bytes));
      std::ranges::copy(from, to.begin());
    }
    batches_.pop_front();
    ++reached_;
    asked_ = 0;
    done_.notify_all();
  }

  FakeAllocator& allocator_;
  const int polls_;
  mutable std::mutex lock_;
  std::condition_variable done_;
  std::deque<std::vector<BufferCopy>> batches_;
  int asked_ = 0;  // for the oldest one
  std::uint64_t reached_ = 0;
  std::int64_t fail_ = 0;
  bool lost_ = false;
};

}  // namespace mete
