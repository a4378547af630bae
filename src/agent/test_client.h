// A client of a socket that is served by a loop on the same thread.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "agent/loop.h"
#include "base/unique_fd.h"
#include "wire/http.h"

namespace mete::agent {

class TestClient {
 public:
  TestClient(Loop& loop, const std::string& path) : loop_(loop) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    socket_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    connected_ =
        connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }

  bool connected() const { return connected_; }

  bool Send(std::string_view bytes) {
    return send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }

  // Runs the loop until an answer is here, the connection is closed, or nothing happens for long.
  std::optional<wire::HttpResponse> Receive() {
    const SystemClock clock;
    const Time end = clock.Now() + std::chrono::seconds(10);
    std::string bytes;
    while (!closed_ && clock.Now() < end) {
      auto response = parser_.Feed(bytes);
      bytes.clear();
      if (!response) return std::nullopt;
      if (*response) return std::move(**response);
      EXPECT_TRUE(loop_.RunOnce(clock.Now() + std::chrono::milliseconds(1)));
      char buffer[4096];
      const ssize_t got = recv(socket_.get(), buffer, sizeof buffer, 0);
      if (got > 0) bytes.assign(buffer, static_cast<std::size_t>(got));
      closed_ = got == 0 || (got < 0 && errno != EAGAIN);
    }
    return std::nullopt;
  }

  std::optional<wire::HttpResponse> Call(std::string method, std::string target,
                                         std::string body = {}, wire::Headers headers = {}) {
    headers.emplace_back("host", "mete");
    if (!Send(wire::Serialize(wire::HttpRequest{std::move(method), std::move(target),
                                                std::move(headers), std::move(body)}))) {
      return std::nullopt;
    }
    return Receive();
  }

  bool closed() const { return closed_; }

 private:
  Loop& loop_;
  UniqueFd socket_;
  bool connected_ = false;
  bool closed_ = false;
  wire::ResponseParser parser_;
};

}  // namespace mete::agent
