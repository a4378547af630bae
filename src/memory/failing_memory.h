// A HostMemory for tests: the system's, that counts what is out and fails the calls it is told to.
#pragma once

#include <atomic>
#include <cstdint>

#include "mete/host_memory.h"

namespace mete {

class FailingMemory final : public HostMemory {
 public:
  static constexpr std::int64_t kNever = -1;

  // The n-th call from now that can fail does so; `after` of them succeed before.
  void FailAfter(std::int64_t after) { left_ = after; }
  // All from now on.
  void FailAll(bool on) { fail_all_ = on; }

  std::int64_t calls() const { return calls_; }
  bool has_failed() const { return failed_; }
  bool IsClean() const { return reserved_ == 0 && committed_ == 0 && blocks_ == 0; }
  std::int64_t blocks() const { return blocks_; }
  std::int64_t block_bytes() const { return block_bytes_; }
  std::int64_t committed() const { return committed_; }

  void* Reserve(std::size_t bytes) noexcept override {
    if (Fails()) return nullptr;
    void* begin = system_.Reserve(bytes);
    if (begin != nullptr) reserved_ += static_cast<std::int64_t>(bytes);
    return begin;
  }
  void Release(void* begin, std::size_t bytes) noexcept override {
    reserved_ -= static_cast<std::int64_t>(bytes);
    if (reserved_ == 0) committed_ = 0;  // what was committed goes with it
    system_.Release(begin, bytes);
  }
  bool Commit(void* begin, std::size_t bytes) noexcept override {
    if (Fails() || !system_.Commit(begin, bytes)) return false;
    committed_ += static_cast<std::int64_t>(bytes);
    return true;
  }
  void Decommit(void* begin, std::size_t bytes) noexcept override {
    committed_ -= static_cast<std::int64_t>(bytes);
    system_.Decommit(begin, bytes);
  }
  void Protect(void* begin, std::size_t bytes, bool accessible) noexcept override {
    system_.Protect(begin, bytes, accessible);
  }
  void* Allocate(std::size_t bytes, std::size_t alignment) noexcept override {
    void* block = Fails() ? nullptr : system_.Allocate(bytes, alignment);
    if (block != nullptr) ++blocks_, block_bytes_ += static_cast<std::int64_t>(bytes);
    return block;
  }
  void Free(void* block, std::size_t bytes, std::size_t alignment) noexcept override {
    --blocks_, block_bytes_ -= static_cast<std::int64_t>(bytes);
    system_.Free(block, bytes, alignment);
  }

 private:
  bool Fails() {
    ++calls_;
    const bool fails = fail_all_ || (left_ >= 0 && left_-- == 0);
    if (fails) failed_ = true;
    return fails;
  }

  HostMemory& system_ = SystemHostMemory();
  std::atomic<std::int64_t> left_{kNever}, calls_{0}, reserved_{0}, committed_{0}, blocks_{0},
      block_bytes_{0};
  std::atomic<bool> fail_all_{false}, failed_{false};
};

}  // namespace mete
