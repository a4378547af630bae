// The atomics of include/mete/atomic.h for the interleaving checker: every operation is a point at
// which another thread may go on, and the explorer (explorer.h) decides which one does.
//
// All cells are 64 bits wide. Outside an exploration the operations act at once, so that objects
// can be built before it begins.
#pragma once

#include <atomic>
#include <cstdint>

namespace mete::interleave {

struct Cell {
  std::uint64_t value = 0;
};

// A plain store may stay in the thread's store buffer for a while; a fenced one and every
// read-modify-write empties the buffer, as on x86.
enum class Visible : std::uint8_t { kLater, kAtOnce };

std::uint64_t Load(const Cell& cell);
void Store(Cell& cell, std::uint64_t value, Visible when);
std::uint64_t Exchange(Cell& cell, std::uint64_t value);
bool CompareExchangeWeak(Cell& cell, std::uint64_t& expected, std::uint64_t desired);
std::uint64_t FetchAdd(Cell& cell, std::uint64_t amount);
std::uint64_t FetchSub(Cell& cell, std::uint64_t amount);
std::uint64_t FetchAnd(Cell& cell, std::uint64_t mask);
void Lock(Cell& cell);
bool TryLock(Cell& cell);
void Unlock(Cell& cell);
void LightFence();
void HeavyFence();
void Yield();

}  // namespace mete::interleave

namespace mete::detail {

template <class T>
class Atomic {
 public:
  constexpr Atomic() noexcept = default;
  constexpr Atomic(T value) noexcept : cell_{Bits(value)} {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order = std::memory_order_seq_cst) const noexcept {
    return Value(interleave::Load(cell_));
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    interleave::Store(cell_, Bits(value),
                      order == std::memory_order_seq_cst ? interleave::Visible::kAtOnce
                                                         : interleave::Visible::kLater);
  }
  T exchange(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    return Value(interleave::Exchange(cell_, Bits(value)));
  }
  bool compare_exchange_weak(T& expected, T desired,
                             std::memory_order = std::memory_order_seq_cst) noexcept {
    std::uint64_t seen = Bits(expected);
    const bool done = interleave::CompareExchangeWeak(cell_, seen, Bits(desired));
    expected = Value(seen);
    return done;
  }
  T fetch_add(T amount, std::memory_order = std::memory_order_seq_cst) noexcept {
    return Value(interleave::FetchAdd(cell_, Bits(amount)));
  }
  T fetch_sub(T amount, std::memory_order = std::memory_order_seq_cst) noexcept {
    return Value(interleave::FetchSub(cell_, Bits(amount)));
  }
  T fetch_and(T mask, std::memory_order = std::memory_order_seq_cst) noexcept {
    return Value(interleave::FetchAnd(cell_, Bits(mask)));
  }

 private:
  static constexpr std::uint64_t Bits(T value) noexcept {
    return static_cast<std::uint64_t>(value);
  }
  static constexpr T Value(std::uint64_t bits) noexcept { return static_cast<T>(bits); }

  interleave::Cell cell_;
};

class Mutex {
 public:
  constexpr Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() { interleave::Lock(cell_); }
  bool try_lock() { return interleave::TryLock(cell_); }
  void unlock() { interleave::Unlock(cell_); }

 private:
  interleave::Cell cell_;
};

inline void LightFence() noexcept { interleave::LightFence(); }
inline void HeavyFence() noexcept { interleave::HeavyFence(); }
inline void Yield() noexcept { interleave::Yield(); }

}  // namespace mete::detail
