#include <string>

#include "mete/memory_allocator.h"
#include "mete/units.h"

namespace mete {

const char* DeviceErrorName(DeviceError::Reason reason) noexcept {
  using Reason = DeviceError::Reason;
  switch (reason) {
    case Reason::kBudget: return "budget";
    case Reason::kNoRoom: return "no room";
    case Reason::kDeviceMemory: return "out of device memory";
    case Reason::kHostMemory: return "out of host memory";
    case Reason::kTooMany: return "too many blocks";
    case Reason::kArgument: return "invalid argument";
    case Reason::kUnsupported: return "unsupported";
    case Reason::kTimeout: return "timeout";
    case Reason::kCancelled: return "cancelled";
    case Reason::kDeviceLost: return "device lost";
    case Reason::kSystem: break;
  }
  return "driver error";
}

Error DeviceError::ToError() const {
  const std::string what = std::string("device memory: ") + DeviceErrorName(reason);
  const std::string asked =
      ": " + FormatBytes(bytes) + " asked" +
      (native == 0 ? std::string() : ", the driver's code " + std::to_string(native));
  switch (reason) {
    case Reason::kBudget:
      if (budget.budget == nullptr) return {ErrorCode::kLimitExceeded, what + asked};
      return {ErrorCode::kLimitExceeded, what + asked + ", " + FormatBytes(budget.charged) +
                                             " of " + FormatBytes(budget.limit) + " charged"};
    case Reason::kNoRoom:
    case Reason::kTimeout:
    case Reason::kCancelled: return {ErrorCode::kLimitExceeded, what + asked};
    case Reason::kArgument:
    case Reason::kUnsupported: return {ErrorCode::kInvalidArgument, what + asked};
    default: return {ErrorCode::kSystem, what + asked};
  }
}

}  // namespace mete
