#include "agent/socket_server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

SocketServer::SocketServer(Loop& loop, const Clock& clock, Options options, Taker taker)
    : loop_(loop), clock_(clock), options_(std::move(options)), taker_(std::move(taker)) {}

Result<std::unique_ptr<SocketServer>> SocketServer::Listen(Loop& loop, const Clock& clock,
                                                           Options options, Handler handler) {
  return ListenLater(loop, clock, std::move(options),
                     [handler = std::move(handler)](Ticket, const wire::HttpRequest& request,
                                                    const std::shared_ptr<const Peer>& peer) {
                       return std::optional<wire::HttpResponse>(handler(request, *peer));
                     });
}

Result<std::unique_ptr<SocketServer>> SocketServer::ListenLater(Loop& loop, const Clock& clock,
                                                                Options options, Taker taker) {
  std::unique_ptr<SocketServer> server(
      new SocketServer(loop, clock, std::move(options), std::move(taker)));
  if (Result<void> bound = server->Bind(); !bound) return std::unexpected(bound.error());
  server->SetAccepting(true);
  return server;
}

Result<void> SocketServer::Bind() {
  const std::string& path = options_.path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = path;
  UniqueFd folder;
  // An address holds 107 bytes and paths are longer; a descriptor of the folder has a short name.
  if (path.size() >= sizeof address.sun_path) {
    const std::size_t slash = path.rfind('/');
    folder.reset(open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return SocketError("folder", path);
    name = "/proc/self/fd/" + std::to_string(folder.get()) + path.substr(slash);
  }
  if (name.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return SocketError("bind", path);
  }
  std::memcpy(address.sun_path, name.data(), name.size());
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return SocketError("socket", path);
  // The file takes over the mode of the descriptor: at no time can anyone else connect.
  if (fchmod(listener.get(), 0600) != 0) return SocketError("fchmod", path);
  unlink(path.c_str());
  const auto* bound = reinterpret_cast<const sockaddr*>(&address);
  if (bind(listener.get(), bound, sizeof address) != 0) return SocketError("bind", path);
  listener_ = std::move(listener);
  // Nobody else can have put another file there: the folder is the caller's.
  const std::optional<uid_t> owner = options_.owner;
  if (owner && lchown(path.c_str(), *owner, static_cast<gid_t>(-1)) != 0) {
    return SocketError("chown", path);
  }
  if (listen(listener_.get(), SOMAXCONN) != 0) return SocketError("listen", path);
  return {};
}

SocketServer::~SocketServer() {
  while (!connections_.empty()) Close(connections_.begin());
  while (!held_.empty()) Close(held_.begin());
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
  while (!IsFull() || MayMakeRoom()) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      // Without descriptors to spare it waits, like a full server.
      if (errno == EMFILE || errno == ENFILE) SetAccepting(false);
      return;
    }
    if (IsFull()) Close(connections_.begin());
    connections_.emplace_back();
    const Place place = std::prev(connections_.end());
    place->peer = std::make_shared<const Peer>(IdentifyPeer(socket.get()));
    place->socket = std::move(socket);
    place->active = clock_.Now();
    auto on_events = [this, place](std::uint32_t events) { OnEvents(place, events); };
    place->watched = EPOLLIN;
    if (!loop_.Add(place->socket.get(), EPOLLIN, on_events)) connections_.erase(place);
  }
  SetAccepting(false);
}

void SocketServer::OnEvents(Place place, std::uint32_t events) {
  place->active = clock_.Now();
  const bool is_held = place->ticket != 0;
  if (!is_held) connections_.splice(connections_.end(), connections_, place);
  bool open = true;
  if ((events & EPOLLOUT) != 0) open = Send(*place) && Take(place, {});
  if (is_held) {
    open = open && (events & (EPOLLHUP | EPOLLERR)) == 0;
  } else if (open && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    open = Receive(place);
  }
  if (!open) Close(place);
}

bool SocketServer::Receive(Place place) {
  Connection& connection = *place;
  // A caller that does not take its answers is not read from: it waits, and nothing piles up.
  if (!connection.unsent.empty() || connection.ticket != 0) return true;
  std::array<char, kReadBytes> buffer;
  const ssize_t got = recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  connection.request_bytes += static_cast<std::size_t>(got);
  return Take(place, {buffer.data(), static_cast<std::size_t>(got)});
}

// One request after the other, each answered before the next is looked at.
bool SocketServer::Take(Place place, std::string_view bytes) {
  Connection& connection = *place;
  while (connection.unsent.empty() && !connection.closing && connection.ticket == 0) {
    auto fed = connection.parser.Feed(bytes);
    bytes = {};
    std::optional<wire::HttpResponse> response;
    if (!fed) {
      response = ProblemOf(fed.error(), connection.parser.error_status());
      connection.closing = true;
    } else if (std::optional<wire::HttpRequest> request = *std::move(fed)) {
      connection.closing = wire::FindHeader(request->headers, "connection") == "close";
      connection.request_bytes = 0;
      response = taker_(++last_ticket_, *std::move(request), connection.peer);
    } else if (connection.request_bytes > kMostRequestBytes) {
      response =
          ProblemOf({ErrorCode::kInvalidArgument,
                     "request too large, allowed: " + std::to_string(kMostRequestBytes) + " bytes"},
                    413);
      connection.closing = true;
    } else {
      return true;
    }
    if (!response) {
      connection.ticket = last_ticket_;
      tickets_[last_ticket_] = place;
      held_.splice(held_.end(), connections_, place);
      Watch(connection);
      return true;
    }
    connection.unsent = wire::Serialize(*response, connection.closing);
    if (!Send(connection)) return false;
  }
  return true;
}

void SocketServer::Answer(Ticket ticket, const wire::HttpResponse& response) {
  const auto found = tickets_.find(ticket);
  if (found == tickets_.end()) return;
  const Place place = found->second;
  tickets_.erase(found);
  place->ticket = 0;
  place->active = clock_.Now();
  connections_.splice(connections_.end(), held_, place);
  place->unsent = wire::Serialize(response, place->closing);
  if (!Send(*place) || !Take(place, {})) Close(place);
}

bool SocketServer::Push(Ticket ticket, std::string_view bytes) {
  const auto found = tickets_.find(ticket);
  if (found == tickets_.end()) return false;
  const Place place = found->second;
  place->unsent += bytes;
  if (Send(*place) && place->unsent.size() <= kMostUnsentBytes) return true;
  Close(place);
  return false;
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
  Watch(connection);
  return !connection.unsent.empty() || !connection.closing || connection.ticket != 0;
}

// That a caller has gone (EPOLLHUP) is always watched for.
void SocketServer::Watch(Connection& connection) {
  std::uint32_t wanted = 0;
  if (connection.ticket == 0) wanted = EPOLLIN;
  if (!connection.unsent.empty()) wanted = EPOLLOUT;
  if (wanted == connection.watched) return;
  loop_.Change(connection.socket.get(), wanted);
  connection.watched = wanted;
}

void SocketServer::Close(Place place) {
  loop_.Remove(place->socket.get());
  if (place->ticket != 0) {
    tickets_.erase(place->ticket);
    held_.erase(place);
  } else {
    connections_.erase(place);
  }
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
