// For tests: a server on a Unix socket in a folder of its own, one connection after the other.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "wire/http.h"

namespace mete::wire {

// A folder that goes away with the test.
class TestFolder {
 public:
  TestFolder() {
    char name[] = "/tmp/mete-test-XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    path_ = name;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A socket that listens at `path`. It is bound under a short name in `folder` and renamed, since a
// path may be longer than an address holds.
inline int ListenAt(const std::string& folder, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string bound = folder + "/b";
  std::memcpy(address.sun_path, bound.c_str(), bound.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
  if (listen(fd, 16) != 0) std::abort();
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::filesystem::rename(bound, path);
  return fd;
}

// What `serve` reads and writes is checked by the client's side of the test; it runs in a thread of
// the server, which is gone when the destructor returns.
class TestServer {
 public:
  explicit TestServer(std::function<void(int fd)> serve, const std::string& name = "s.sock")
      : path_(folder_.path() + "/" + name), listener_(ListenAt(folder_.path(), path_)) {
    thread_ = std::thread([this, serve = std::move(serve)] {
      for (int fd; (fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0; close(fd)) {
        serve(fd);
      }
    });
  }
  ~TestServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  const std::string& folder() const { return folder_.path(); }
  const std::string& path() const { return path_; }

 private:
  TestFolder folder_;
  std::string path_;
  int listener_;
  std::thread thread_;
};

inline void SendText(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

// nullopt: the connection ended, or what came was refused.
inline std::optional<HttpRequest> ReadRequest(int fd) {
  RequestParser parser;
  char bytes[4096];
  for (;;) {
    const ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got <= 0) return std::nullopt;
    Result<std::optional<HttpRequest>> request =
        parser.Feed({bytes, static_cast<std::size_t>(got)});
    if (!request) return std::nullopt;
    if (*request) return *std::move(*request);
  }
}

}  // namespace mete::wire
