#include "wire/unix_client.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/unique_fd.h"

namespace mete::wire {
namespace {

std::unexpected<Error> Failed(std::string_view what, const std::string& path, int error) {
  std::string message(what);
  message += error == EAGAIN ? ": no answer in time" : std::string(": ") + std::strerror(error);
  const bool nobody = error == ENOENT || error == ECONNREFUSED;
  return Fail(nobody ? ErrorCode::kNotFound : ErrorCode::kSystem, message + ": " + path);
}

// Bounds each call on the socket by itself. A deadline over all of them would have passed when an
// agent is thawed after a suspension in the middle of its report.
int SetTimeouts(int fd, std::chrono::milliseconds timeout) {
  timeval time{};
  time.tv_sec = timeout.count() / 1000;
  time.tv_usec = timeout.count() % 1000 * 1000;
  // For connect, Linux takes the one for sending: it waits while the listener's backlog is full.
  for (int option : {SO_SNDTIMEO, SO_RCVTIMEO}) {
    if (setsockopt(fd, SOL_SOCKET, option, &time, sizeof time) != 0) return errno;
  }
  return 0;
}

// 0 or an errno.
int Connect(int fd, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = path;
  UniqueFd target(path.size() < sizeof address.sun_path ? -1
                                                        : open(path.c_str(), O_PATH | O_CLOEXEC));
  // An address holds 107 bytes and paths are longer; a descriptor of the socket has a short name.
  if (path.size() >= sizeof address.sun_path) {
    if (!target) return errno;
    name = "/proc/self/fd/" + std::to_string(target.get());
  }
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  while (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return 0;
}

Result<HttpResponse> ReadResponse(int fd, const std::string& path) {
  ResponseParser parser;
  char bytes[16 * 1024];
  for (;;) {
    const ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("cannot read", path, errno);
    if (got == 0) {
      return Fail(ErrorCode::kSystem, "the connection ended before the answer did: " + path);
    }
    Result<std::optional<HttpResponse>> response =
        parser.Feed({bytes, static_cast<std::size_t>(got)});
    if (!response) return Fail(ErrorCode::kSystem, response.error().message + ": " + path);
    if (std::optional<HttpResponse>& whole = *response) return *std::move(whole);
  }
}

}  // namespace

Result<UniqueFd> SendUnix(const std::string& socket_path, const HttpRequest& request,
                          std::chrono::milliseconds timeout) {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Failed("cannot make a socket", socket_path, errno);
  if (const int error = SetTimeouts(fd.get(), timeout); error != 0) {
    return Failed("cannot bound the time", socket_path, error);
  }
  if (const int error = Connect(fd.get(), socket_path); error != 0) {
    return Failed("cannot connect", socket_path, error);
  }
  HttpRequest with_host = request;
  if (FindHeader(request.headers, "host").empty()) {
    with_host.headers.insert(with_host.headers.begin(), {"host", "mete"});
  }
  const int error = SendAll(fd.get(), Serialize(with_host, true));
  // A server that refuses the request may answer and close before it has read all of it.
  if (error != 0 && error != EPIPE && error != ECONNRESET) {
    return Failed("cannot send", socket_path, error);
  }
  return fd;
}

Result<HttpResponse> CallUnix(const std::string& socket_path, const HttpRequest& request,
                              std::chrono::milliseconds timeout) {
  const Result<UniqueFd> fd = SendUnix(socket_path, request, timeout);
  if (!fd) return std::unexpected(fd.error());
  return ReadResponse(fd->get(), socket_path);
}

}  // namespace mete::wire
