// Sleeping until a word changes (futex(2)), for locks that are smaller than a mutex.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace mete {

// Sleeps while the word has the value; may also return for no reason.
void FutexWait(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept;
// The same, for at most so long.
void FutexWait(std::atomic<std::uint32_t>& word, std::uint32_t value,
               std::chrono::nanoseconds timeout) noexcept;
// Wakes one that sleeps on the word, or all.
void FutexWakeOne(std::atomic<std::uint32_t>& word) noexcept;
void FutexWakeAll(std::atomic<std::uint32_t>& word) noexcept;

}  // namespace mete
