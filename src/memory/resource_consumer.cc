#include "mete/resource_consumer.h"

#include <string>

#include "base/check.h"
#include "mete/units.h"

namespace mete {
namespace {

std::string Bytes(std::int64_t bytes) {
  return bytes == kNoLimit ? "unlimited" : FormatBytes(bytes);
}

}  // namespace

Error AllocationRefusal::ToError() const {
  switch (reason) {
    case Reason::kAlignment:
      return {ErrorCode::kInvalidArgument, "alignment: powers of two up to " +
                                               std::to_string(kMaxAlignment) + ": " +
                                               std::to_string(alignment)};
    case Reason::kSize:
      return {ErrorCode::kInvalidArgument, "size: at most " + std::to_string(kMaxAllocation) +
                                               " bytes: " + std::to_string(size)};
    case Reason::kBudget:
      return {ErrorCode::kLimitExceeded, "memory: over the limit: " + Bytes(budget.asked) +
                                             " asked, " + Bytes(budget.charged) + " of " +
                                             Bytes(budget.limit) + " charged"};
    case Reason::kScope: return {ErrorCode::kInvalidArgument, "scope: persistent or heap: frame"};
    case Reason::kSystem: break;
  }
  return {ErrorCode::kSystem,
          "memory: the system has none left: " + std::to_string(size) + " bytes asked"};
}

void Allocation::UseAfterReset() {
  CheckFailed("the allocation's frame has not retired", __FILE__, __LINE__);
}

}  // namespace mete
