#include "wire/unix_client.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace mete::wire {
namespace {

using Instant = std::chrono::steady_clock::time_point;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::unexpected<Error> Failed(std::string_view what, const std::string& path, int error) {
  std::string message(what);
  message += error == EAGAIN ? ": no answer in time" : std::string(": ") + std::strerror(error);
  const bool nobody = error == ENOENT || error == ECONNREFUSED;
  return Fail(nobody ? ErrorCode::kNotFound : ErrorCode::kSystem, message + ": " + path);
}

// Bounds the next blocking call; false when the deadline has passed. (For connect, Linux takes the
// sending time out: it waits while the listener's backlog is full.)
bool SetTimeout(int fd, int option, Instant deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
      deadline - std::chrono::steady_clock::now());
  if (left.count() <= 0) return false;  // zero would mean: for ever
  timeval time{};
  time.tv_sec = left.count() / 1'000'000;
  time.tv_usec = left.count() % 1'000'000;
  return setsockopt(fd, SOL_SOCKET, option, &time, sizeof time) == 0;
}

// 0 or an errno.
int Connect(int fd, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = path;
  Descriptor target(path.size() < sizeof address.sun_path ? -1
                                                          : open(path.c_str(), O_PATH | O_CLOEXEC));
  // An address holds 107 bytes and paths are longer; a descriptor of the socket has a short name.
  if (path.size() >= sizeof address.sun_path) {
    if (target.get() < 0) return errno;
    name = "/proc/self/fd/" + std::to_string(target.get());
  }
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  while (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int SendAll(int fd, std::string_view bytes, Instant deadline) {
  while (!bytes.empty()) {
    if (!SetTimeout(fd, SO_SNDTIMEO, deadline)) return EAGAIN;
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return 0;
}

Result<HttpResponse> ReadResponse(int fd, const std::string& path, Instant deadline) {
  ResponseParser parser;
  char bytes[16 * 1024];
  for (;;) {
    if (!SetTimeout(fd, SO_RCVTIMEO, deadline)) return Failed("cannot read", path, EAGAIN);
    const ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("cannot read", path, errno);
    if (got == 0) {
      return Fail(ErrorCode::kSystem, "the connection ended before the answer did: " + path);
    }
    Result<std::optional<HttpResponse>> response =
        parser.Feed({bytes, static_cast<std::size_t>(got)});
    if (!response) return Fail(ErrorCode::kSystem, response.error().message + ": " + path);
    if (*response) return std::move(**response);
  }
}

}  // namespace

Result<HttpResponse> CallUnix(const std::string& socket_path, const HttpRequest& request,
                              std::chrono::milliseconds timeout) {
  const Instant deadline = std::chrono::steady_clock::now() + timeout;
  Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return Failed("cannot make a socket", socket_path, errno);
  if (!SetTimeout(fd.get(), SO_SNDTIMEO, deadline)) {
    return Failed("cannot connect", socket_path, EAGAIN);
  }
  if (const int error = Connect(fd.get(), socket_path); error != 0) {
    return Failed("cannot connect", socket_path, error);
  }
  HttpRequest with_host = request;
  if (FindHeader(request.headers, "host").empty()) {
    with_host.headers.insert(with_host.headers.begin(), {"host", "mete"});
  }
  const int error = SendAll(fd.get(), Serialize(with_host, true), deadline);
  // A server that refuses the request may answer and close before it has read all of it.
  if (error != 0 && error != EPIPE && error != ECONNRESET) {
    return Failed("cannot send", socket_path, error);
  }
  return ReadResponse(fd.get(), socket_path, deadline);
}

}  // namespace mete::wire
