#include "agent/socket_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "agent/responses.h"

namespace mete::agent {
namespace {

// How long a connection may keep its place while others wait for one.
constexpr Duration kPatience = std::chrono::seconds(1);
constexpr std::size_t kReadBytes = 16384;

std::unexpected<Error> SocketError(const char* what, const std::string& path) {
  return Fail(ErrorCode::kSystem,
              std::string("socket: ") + what + ": " + path + ": " + std::strerror(errno));
}

}  // namespace

SocketServer::SocketServer(Loop& loop, const Clock& clock, Options options, Handler handler)
    : loop_(loop), clock_(clock), options_(std::move(options)), handler_(std::move(handler)) {}

Result<std::unique_ptr<SocketServer>> SocketServer::Listen(Loop& loop, const Clock& clock,
                                                           Options options, Handler handler) {
  std::unique_ptr<SocketServer> server(
      new SocketServer(loop, clock, std::move(options), std::move(handler)));
  const std::string& path = server->options_.path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return SocketError("bind", path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return SocketError("socket", path);
  // The file takes over the mode of the descriptor: at no time can anyone else connect.
  if (fchmod(listener.get(), 0600) != 0) return SocketError("fchmod", path);
  unlink(path.c_str());
  const auto* bound = reinterpret_cast<const sockaddr*>(&address);
  if (bind(listener.get(), bound, sizeof address) != 0) return SocketError("bind", path);
  server->listener_ = std::move(listener);
  if (listen(server->listener_.get(), SOMAXCONN) != 0) return SocketError("listen", path);
  server->SetAccepting(true);
  return server;
}

SocketServer::~SocketServer() {
  while (!connections_.empty()) Close(connections_.begin());
  if (!listener_) return;
  SetAccepting(false);
  unlink(options_.path.c_str());
}

void SocketServer::SetAccepting(bool accepting) {
  if (accepting == accepting_) return;
  if (accepting) {
    if (!loop_.Add(listener_.get(), EPOLLIN, [this](std::uint32_t) { Accept(); })) return;
  } else {
    loop_.Remove(listener_.get());
    paused_at_ = clock_.Now();
  }
  accepting_ = accepting;
}

bool SocketServer::MayMakeRoom() const {
  return !connections_.empty() && clock_.Now() - connections_.front().active >= kPatience;
}

void SocketServer::Accept() {
  while (connections_.size() < options_.most_connections || MayMakeRoom()) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      // Without descriptors to spare it waits, like a full server.
      if (errno == EMFILE || errno == ENFILE) SetAccepting(false);
      return;
    }
    if (connections_.size() == options_.most_connections) Close(connections_.begin());
    connections_.emplace_back();
    const Place place = std::prev(connections_.end());
    place->peer = IdentifyPeer(socket.get());
    place->socket = std::move(socket);
    place->active = clock_.Now();
    auto on_events = [this, place](std::uint32_t events) { OnEvents(place, events); };
    if (!loop_.Add(place->socket.get(), EPOLLIN, on_events)) connections_.erase(place);
  }
  SetAccepting(false);
}

void SocketServer::OnEvents(Place place, std::uint32_t events) {
  place->active = clock_.Now();
  connections_.splice(connections_.end(), connections_, place);
  bool open = true;
  if ((events & EPOLLOUT) != 0) open = Send(*place) && Answer(*place, {});
  if (open && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) open = Receive(*place);
  if (!open) Close(place);
}

bool SocketServer::Receive(Connection& connection) {
  // A caller that does not take its answers is not read from: it waits, and nothing piles up.
  if (!connection.unsent.empty()) return true;
  std::array<char, kReadBytes> buffer;
  const ssize_t got = recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  connection.request_bytes += static_cast<std::size_t>(got);
  return Answer(connection, {buffer.data(), static_cast<std::size_t>(got)});
}

// One request after the other, each answered before the next is looked at.
bool SocketServer::Answer(Connection& connection, std::string_view bytes) {
  while (connection.unsent.empty() && !connection.closing) {
    auto fed = connection.parser.Feed(bytes);
    bytes = {};
    wire::HttpResponse response;
    if (!fed) {
      response = ProblemOf(fed.error(), connection.parser.error_status());
      connection.closing = true;
    } else if (const std::optional<wire::HttpRequest> request = *std::move(fed)) {
      response = handler_(*request, connection.peer);
      connection.closing = wire::FindHeader(request->headers, "connection") == "close";
      connection.request_bytes = 0;
    } else if (connection.request_bytes > kMostRequestBytes) {
      response =
          ProblemOf({ErrorCode::kInvalidArgument,
                     "request too large, allowed: " + std::to_string(kMostRequestBytes) + " bytes"},
                    413);
      connection.closing = true;
    } else {
      return true;
    }
    connection.unsent = wire::Serialize(response, connection.closing);
    if (!Send(connection)) return false;
  }
  return true;
}

bool SocketServer::Send(Connection& connection) {
  while (!connection.unsent.empty()) {
    const ssize_t sent = send(connection.socket.get(), connection.unsent.data(),
                              connection.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent < 0) break;
    connection.unsent.erase(0, static_cast<std::size_t>(sent));
  }
  const bool waiting = !connection.unsent.empty();
  if (waiting != connection.watching_output) {
    loop_.Change(connection.socket.get(), waiting ? EPOLLOUT : EPOLLIN);
    connection.watching_output = waiting;
  }
  return waiting || !connection.closing;
}

void SocketServer::Close(Place place) {
  loop_.Remove(place->socket.get());
  connections_.erase(place);
  SetAccepting(true);
}

void SocketServer::Tend() {
  const Time now = clock_.Now();
  while (!connections_.empty() && now - connections_.front().active >= options_.idle) {
    Close(connections_.begin());
  }
  if (!accepting_ && (connections_.empty() ? now - paused_at_ >= kPatience : MayMakeRoom())) {
    SetAccepting(true);
  }
}

std::optional<Time> SocketServer::NextDeadline() const {
  if (!connections_.empty()) {
    return connections_.front().active + (accepting_ ? options_.idle : kPatience);
  }
  if (accepting_) return std::nullopt;
  return paused_at_ + kPatience;
}

}  // namespace mete::agent
