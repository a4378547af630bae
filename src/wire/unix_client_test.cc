#include "wire/unix_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <optional>
#include <string>

#include "wire/test_server.h"

namespace mete::wire {
namespace {

const HttpRequest kRequest{"POST", "/v1/self/usage", {{"x", "y"}}, "{\"tokens\":1}"};

TEST(CallUnix, SendsAndReads) {
  std::optional<HttpRequest> seen;
  TestServer server([&](int fd) {
    seen = ReadRequest(fd);
    // In single bytes: an answer comes in whatever pieces it likes.
    for (char c : Serialize(HttpResponse{404, {{"retry-after", "2"}}, "{}"})) SendText(fd, {&c, 1});
  });
  Result<HttpResponse> response = CallUnix(server.path(), kRequest);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(FindHeader(response->headers, "retry-after"), "2");
  EXPECT_EQ(response->body, "{}");
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->body, kRequest.body);
  EXPECT_EQ(FindHeader(seen->headers, "host"), "mete");
  EXPECT_EQ(FindHeader(seen->headers, "connection"), "close");
}

TEST(CallUnix, CarriesTheLargestBodies) {
  TestServer server([](int fd) {
    std::optional<HttpRequest> request = ReadRequest(fd);
    if (request) SendText(fd, Serialize(HttpResponse{200, {}, request->body}));
  });
  HttpRequest request = kRequest;
  request.body.assign(kMaxBodyBytes, 'b');
  Result<HttpResponse> response = CallUnix(server.path(), request);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body.size(), kMaxBodyBytes);
}

TEST(CallUnix, ReachesASocketWhosePathIsLongerThanAnAddress) {
  const std::string name = std::string(100, 'd') + "/" + std::string(128, 'i') + ".sock";
  TestServer server(
      [](int fd) {
        ReadRequest(fd);
        SendText(fd, Serialize(HttpResponse{200, {}, "far"}));
      },
      name);
  Result<HttpResponse> response = CallUnix(server.path(), kRequest);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, "far");
  EXPECT_EQ(CallUnix(server.path() + "x", kRequest).error().code, ErrorCode::kNotFound);
}

TEST(CallUnix, AnAnswerThatComesBeforeTheRequestIsReadCounts) {
  TestServer server([](int fd) {
    SendText(fd, Serialize(HttpResponse{413, {}, "too long"}, true));
    shutdown(fd, SHUT_RD);
  });
  HttpRequest request = kRequest;
  request.body.assign(kMaxBodyBytes, 'b');  // more than a socket buffer: sending must fail
  Result<HttpResponse> response = CallUnix(server.path(), request);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 413);
}

TEST(CallUnix, NobodyListensIsNotFound) {
  Result<HttpResponse> absent = CallUnix("/nowhere/x.sock", kRequest);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_NE(absent.error().message.find("/nowhere/x.sock"), std::string::npos);

  TestFolder folder;
  const std::string path = folder.path() + "/dead.sock";
  close(ListenAt(folder.path(), path));
  Result<HttpResponse> dead = CallUnix(path, kRequest);
  ASSERT_FALSE(dead);
  EXPECT_EQ(dead.error().code, ErrorCode::kNotFound);
}

TEST(CallUnix, WhatIsNoSocketIsAnError) {
  Result<HttpResponse> response = CallUnix("/dev/null/x", kRequest);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kSystem);
}

TEST(CallUnix, ASilentServerTimesOut) {
  TestServer server([](int fd) {
    char byte;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
  });
  Result<HttpResponse> response = CallUnix(server.path(), kRequest, std::chrono::milliseconds(50));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kSystem);
  EXPECT_NE(response.error().message.find("no answer in time"), std::string::npos)
      << response.error().message;
}

// Each call is bounded by itself: an agent may be suspended in the middle of its report.
TEST(CallUnix, ASlowAnswerIsNoTimeOut) {
  TestServer server([](int fd) {
    ReadRequest(fd);
    for (char c : Serialize(HttpResponse{200, {}, "slow"})) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      SendText(fd, {&c, 1});
    }
  });
  Result<HttpResponse> response = CallUnix(server.path(), kRequest, std::chrono::milliseconds(60));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, "slow");
}

TEST(CallUnix, ACutOrBadAnswerIsAnError) {
  for (const char* answer : {"", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
                             "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nabc"}) {
    TestServer server([&](int fd) {
      ReadRequest(fd);
      SendText(fd, answer);
    });
    Result<HttpResponse> response = CallUnix(server.path(), kRequest);
    ASSERT_FALSE(response) << answer;
    EXPECT_EQ(response.error().code, ErrorCode::kSystem) << answer;
  }
}

}  // namespace
}  // namespace mete::wire
