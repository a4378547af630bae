#include "mete/error.h"

namespace mete {

const char* ErrorCodeName(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kNotFound: return "E2070";
    case ErrorCode::kInvalidArgument: return "E2071";
    case ErrorCode::kLimitExceeded: return "E2072";
    case ErrorCode::kUpdateFailed: return "E2073";
    case ErrorCode::kSuspendFailed: return "E2074";
    case ErrorCode::kTerminateFailed: return "E2075";
    case ErrorCode::kAlreadyExists: return "E2076";
    case ErrorCode::kRateLimited: return "E2077";
    case ErrorCode::kNotPermitted: return "E2078";
    case ErrorCode::kStoreUnavailable: return "E2079";
    case ErrorCode::kInUse: return "E2080";
    case ErrorCode::kSystem: return "E2099";
  }
  return "E2099";
}

std::string Error::ToString() const { return std::string(ErrorCodeName(code)) + ": " + message; }

}  // namespace mete
