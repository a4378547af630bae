#include "wire/unix_client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

namespace mete::wire {
namespace {

// Listens in a folder of its own and answers one connection with what the test says.
class OneShotServer {
 public:
  using Serve = std::function<void(int fd)>;

  explicit OneShotServer(Serve serve, std::string name = "s.sock") {
    char folder[] = "/tmp/mete-wire-XXXXXX";
    if (mkdtemp(folder) == nullptr) std::abort();
    folder_ = folder;
    // Bound under a short name and renamed: a path may be longer than an address holds.
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string short_path = folder_ + "/x";
    std::memcpy(address.sun_path, short_path.c_str(), short_path.size() + 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
    if (listen(listener_, 4) != 0) std::abort();
    path_ = folder_ + "/" + std::move(name);
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path());
    std::filesystem::rename(short_path, path_);
    thread_ = std::thread([this, serve = std::move(serve)] {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      if (serve) serve(fd);
      close(fd);
    });
  }
  ~OneShotServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    std::filesystem::remove_all(folder_);
  }
  const std::string& path() const { return path_; }

 private:
  std::string folder_;
  std::string path_;
  int listener_ = -1;
  std::thread thread_;
};

void SendText(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::optional<HttpRequest> ReadRequest(int fd) {
  RequestParser parser;
  char bytes[4096];
  for (;;) {
    const ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got <= 0) return std::nullopt;
    Result<std::optional<HttpRequest>> request =
        parser.Feed({bytes, static_cast<std::size_t>(got)});
    if (!request) return std::nullopt;
    if (*request) return *request;
  }
}

const HttpRequest kRequest{"POST", "/v1/self/usage", {{"x", "y"}}, "{\"tokens\":1}"};

TEST(CallUnix, SendsAndReads) {
  std::optional<HttpRequest> seen;
  OneShotServer server([&](int fd) {
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
  OneShotServer server([](int fd) {
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
  OneShotServer server(
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
  OneShotServer server([](int fd) {
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
  Result<HttpResponse> absent = CallUnix("/tmp/mete-no-such-folder/x.sock", kRequest);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_NE(absent.error().message.find("/tmp/mete-no-such-folder/x.sock"), std::string::npos);

  char folder[] = "/tmp/mete-wire-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = std::string(folder) + "/dead.sock";
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(fd);
  Result<HttpResponse> dead = CallUnix(path, kRequest);
  ASSERT_FALSE(dead);
  EXPECT_EQ(dead.error().code, ErrorCode::kNotFound);
  std::filesystem::remove_all(folder);
}

TEST(CallUnix, WhatIsNoSocketIsAnError) {
  Result<HttpResponse> response = CallUnix("/dev/null/x", kRequest);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kSystem);
}

TEST(CallUnix, ASilentServerTimesOut) {
  OneShotServer server([](int fd) {
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

TEST(CallUnix, ACutOrBadAnswerIsAnError) {
  for (const char* answer : {"", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
                             "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nabc"}) {
    OneShotServer server([&](int fd) {
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
