#include "mete/error.h"

#include <gtest/gtest.h>

#include <string>

namespace mete {
namespace {

TEST(Error, NamesEveryCodeByItsNumber) {
  for (const ErrorCode code :
       {ErrorCode::kNotFound, ErrorCode::kInvalidArgument, ErrorCode::kLimitExceeded,
        ErrorCode::kUpdateFailed, ErrorCode::kSuspendFailed, ErrorCode::kTerminateFailed,
        ErrorCode::kAlreadyExists, ErrorCode::kRateLimited, ErrorCode::kNotPermitted,
        ErrorCode::kStoreUnavailable, ErrorCode::kInUse, ErrorCode::kSystem}) {
    EXPECT_EQ(ErrorCodeName(code), "E" + std::to_string(static_cast<int>(code)));
  }
}

TEST(Error, PrintsCodeAndMessage) {
  const Error error{ErrorCode::kNotFound, "no such quota"};
  EXPECT_EQ(error.ToString(), "E2070: no such quota");
  EXPECT_EQ(error.retry_after.count(), 0);
}

TEST(Error, IsReturnedByFail) {
  const auto refuse = []() -> Result<int> { return Fail(ErrorCode::kInUse, "has children"); };
  const Result<int> result = refuse();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kInUse);
  EXPECT_EQ(result.error().message, "has children");
}

}  // namespace
}  // namespace mete
