// Assertions that stay on in release builds: for invariants whose check costs O(1).
//
// A failed check is a bug in the program, never an answer to a caller; it prints where and ends the
// process, or calls the handler that a test installed.
#pragma once

namespace mete {

using CheckHandler = void (*)(const char* condition, const char* file, int line);

// Replaces what happens on a failed check; returns the old handler. The handler must not return
// normally (it may throw, in tests). nullptr restores the default: print and abort.
CheckHandler SetCheckHandler(CheckHandler handler) noexcept;

[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace mete

#define METE_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::mete::CheckFailed(#condition, __FILE__, __LINE__))
