#include <gtest/gtest.h>

#include "wire/http.h"

namespace mete::wire {
namespace {

TEST(Serialize, ARequestIsReadBack) {
  HttpRequest request{"POST", "/v1/self/usage", {{"idempotency-key", "\"k 1\""}}, "{\"a\":1}"};
  RequestParser parser;
  Result<std::optional<HttpRequest>> read = parser.Feed(Serialize(request));
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->body, request.body);
  EXPECT_EQ(FindHeader((*read)->headers, "idempotency-key"), "\"k 1\"");
  EXPECT_EQ(FindHeader((*read)->headers, "content-length"), "7");
  EXPECT_EQ(FindHeader((*read)->headers, "connection"), "");
}

TEST(Serialize, AResponseIsReadBack) {
  for (int status : {200, 204, 304, 400, 404, 418, 429, 599}) {
    HttpResponse response{status, {{"x", ""}}, status == 204 || status == 304 ? "" : "text"};
    ResponseParser parser;
    Result<std::optional<HttpResponse>> read = parser.Feed(Serialize(response, true));
    ASSERT_TRUE(read && *read) << status;
    EXPECT_EQ((*read)->status, status);
    EXPECT_EQ((*read)->body, response.body);
    EXPECT_EQ(FindHeader((*read)->headers, "connection"), "close");
  }
}

TEST(SerializeDeathTest, RefusesToWriteALineEnd) {
  EXPECT_DEATH(Serialize(HttpRequest{"GET", "/", {{"x", "a\r\nb: c"}}, ""}), "check failed");
  EXPECT_DEATH(Serialize(HttpRequest{"GET", "/", {{"x:", "a"}}, ""}), "check failed");
  EXPECT_DEATH(Serialize(HttpRequest{"GET", "/a b", {}, ""}), "check failed");
  EXPECT_DEATH(Serialize(HttpResponse{204, {}, "body"}), "check failed");
}

}  // namespace
}  // namespace mete::wire
