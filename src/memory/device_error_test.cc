#include <gtest/gtest.h>

#include <set>
#include <string>

#include "mete/memory_allocator.h"
#include "mete/transfer_queue.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;

TEST(DeviceErrorTest, EveryReasonHasAWordOfItsOwn) {
  std::set<std::string> words;
  for (int reason = 0; reason <= static_cast<int>(Reason::kSystem); ++reason) {
    words.insert(DeviceErrorName(static_cast<Reason>(reason)));
  }
  EXPECT_EQ(words.size(), static_cast<std::size_t>(Reason::kSystem) + 1);
}

TEST(DeviceErrorTest, RefusalsNameTheLimit) {
  Budget heap(BudgetKind::kLevel, 100);
  const auto refused = heap.TryCharge(101);
  ASSERT_FALSE(refused);
  const Error error =
      DeviceError{.reason = Reason::kBudget, .bytes = 101, .budget = refused.error()}.ToError();
  EXPECT_EQ(error.code, ErrorCode::kLimitExceeded);
  EXPECT_EQ(error.message, "device memory: budget: 101 B asked, 0 B of 100 B charged");
}

TEST(DeviceErrorTest, CodesTellRefusalsFromMistakesAndFailures) {
  EXPECT_EQ(DeviceError{.reason = Reason::kNoRoom}.ToError().code, ErrorCode::kLimitExceeded);
  EXPECT_EQ(DeviceError{.reason = Reason::kArgument}.ToError().code, ErrorCode::kInvalidArgument);
  const Error lost = DeviceError{.reason = Reason::kDeviceLost, .native = -4}.ToError();
  EXPECT_EQ(lost.code, ErrorCode::kSystem);
  EXPECT_EQ(lost.message, "device memory: device lost: 0 B asked, the driver's code -4");
}

}  // namespace
}  // namespace mete
