// Sleeping until a word changes (futex(2)), for locks that are smaller than a mutex.
#pragma once

#include <atomic>
#include <cstdint>

namespace mete {

// Sleeps while the word has the value; may also return for no reason.
void FutexWait(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept;
// Wakes one that sleeps on the word.
void FutexWakeOne(std::atomic<std::uint32_t>& word) noexcept;

}  // namespace mete
