// Errors are values: every operation that can refuse or fail returns a Result<T>.
//
// docs/errors.md lists each code once, with its meaning and what a caller can do about it.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <utility>

namespace mete {

// The number is the one in the text: kInvalidArgument prints as "E2071".
enum class ErrorCode : std::uint16_t {
  kNotFound = 2070,         // no such quota, usage or hold
  kInvalidArgument = 2071,  // names the field, what was given, and what is allowed
  kLimitExceeded = 2072,    // an admission was refused, or causes remain
  kUpdateFailed = 2073,     // the text carries why
  kSuspendFailed = 2074,
  kTerminateFailed = 2075,
  kAlreadyExists = 2076,
  kRateLimited = 2077,  // retry_after says when
  kNotPermitted = 2078,
  kStoreUnavailable = 2079,
  kInUse = 2080,   // has children or a running target
  kSystem = 2099,  // the operating system failed us; never an answer about a quota
};

// "E2071". The view has static storage.
const char* ErrorCodeName(ErrorCode code) noexcept;

struct Error {
  ErrorCode code = ErrorCode::kSystem;
  std::string message;  // one line, no trailing full stop; static text first, values last
  std::chrono::nanoseconds retry_after{0};  // set with kRateLimited: the earliest useful retry

  // "E2071: memory: ..."
  std::string ToString() const;
};

template <class T>
using Result = std::expected<T, Error>;

// Shorthand for `return Fail(ErrorCode::kNotFound, "...")`.
[[nodiscard]] inline std::unexpected<Error> Fail(ErrorCode code, std::string message) {
  return std::unexpected<Error>(Error{code, std::move(message)});
}

}  // namespace mete
