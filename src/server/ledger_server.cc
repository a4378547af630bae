#include "server/ledger_server.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "agent/responses.h"

namespace mete::server {
namespace {

using Ticket = agent::SocketServer::Ticket;

constexpr Duration kKeepAlive = std::chrono::seconds(15);
// Of events to one follower, before the others and the next round have their turn.
constexpr std::size_t kEventsAtOnce = 256;

constexpr std::string_view kStreamHead =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n"
    "connection: close\r\n\r\n";

bool MayConnect(const agent::Peer& peer) {
  return peer.pid > 0 && (peer.uid == geteuid() || peer.uid == 0);
}

std::string StreamText(const Event& event) {
  return "id: " + std::to_string(event.sequence) + "\nevent: " + std::string(NameOf(event.kind)) +
         "\ndata: " + EventJson(event) + "\n\n";
}

}  // namespace

LedgerServer::LedgerServer(agent::Loop& loop, ResourceManager& manager, LedgerOptions options)
    : loop_(loop), manager_(manager), options_(std::move(options)) {}

Result<std::unique_ptr<LedgerServer>> LedgerServer::Listen(agent::Loop& loop,
                                                           ResourceManager& manager,
                                                           LedgerOptions options) {
  std::unique_ptr<LedgerServer> server(new LedgerServer(loop, manager, std::move(options)));
  LedgerServer* const self = server.get();
  Result<std::unique_ptr<Owners>> owners = Owners::Create(manager);
  if (!owners) return std::unexpected(owners.error());
  self->owners_ = *std::move(owners);
  Result<std::unique_ptr<Mailbox>> mailbox = Mailbox::Create();
  if (!mailbox) return std::unexpected(mailbox.error());
  self->mailbox_ = *std::move(mailbox);
  self->api_ = std::make_unique<LedgerApi>(
      manager, *self->owners_, ServedLedger{self->options_.ledger_name, self->options_.durability},
      self->options_.policies);
  // Where nothing waits, a thread of its own would only cost two switches a request.
  if (manager.store_status().has_store) {
    self->workers_ = std::make_unique<Workers>(self->options_.workers);
  }
  const auto reap = [self](std::uint32_t) { self->owners_->Reap(); };
  const auto run = [self](std::uint32_t) { self->mailbox_->Run(); };
  for (auto& [fd, handler] : {std::pair<int, agent::Loop::Handler>(self->owners_->fd(), reap),
                              std::pair<int, agent::Loop::Handler>(self->mailbox_->fd(), run)}) {
    if (Result<void> added = loop.Add(fd, EPOLLIN, handler); !added) {
      return std::unexpected(added.error());
    }
  }
  auto take = [self](Ticket ticket, wire::HttpRequest&& request,
                     const std::shared_ptr<const agent::Peer>& peer) {
    return self->Take(ticket, std::move(request), peer);
  };
  auto sockets =
      agent::SocketServer::ListenLater(loop, self->clock_,
                                       {.path = self->options_.path,
                                        .most_connections = self->options_.most_connections,
                                        .idle = self->options_.idle},
                                       take);
  if (!sockets) return std::unexpected(sockets.error());
  self->sockets_ = *std::move(sockets);
  return server;
}

LedgerServer::~LedgerServer() {
  feed_.reset();
  workers_.reset();
  if (mailbox_ && sockets_) mailbox_->Run();  // the last answers
  if (mailbox_) loop_.Remove(mailbox_->fd());
  if (owners_) loop_.Remove(owners_->fd());
}

std::optional<wire::HttpResponse> LedgerServer::Take(
    Ticket ticket, wire::HttpRequest&& request, const std::shared_ptr<const agent::Peer>& peer) {
  if (!MayConnect(*peer)) {
    return agent::ProblemOf({ErrorCode::kNotPermitted, "a ledger answers its own user, and root"});
  }
  if (const std::optional<EventsQuery> query = LedgerApi::FollowQuery(request)) {
    return Follow(ticket, *query);
  }
  if (!workers_ || request.method == "GET") return api_->Answer(request, *peer);
  workers_->Do([this, ticket, request = std::move(request), peer] {
    wire::HttpResponse response = api_->Answer(request, *peer);
    mailbox_->Post(
        [this, ticket, response = std::move(response)] { sockets_->Answer(ticket, response); });
  });
  return std::nullopt;
}

std::optional<wire::HttpResponse> LedgerServer::Follow(Ticket ticket, const EventsQuery& query) {
  if (followers_.size() + starting_.size() >= options_.most_followers) {
    return agent::ProblemOf(
        {ErrorCode::kRateLimited,
         "too many follow the events, allowed: " + std::to_string(options_.most_followers),
         std::chrono::seconds(1)});
  }
  EventReader reader = query.after ? manager_.EventsAfter(*query.after) : manager_.Events();
  const std::uint64_t seen = reader.next() - 1;
  starting_.push_back({ticket, query.target, std::move(reader), seen});
  mailbox_->Post([this] { FeedAll(); });
  return std::nullopt;
}

// False: it has gone.
bool LedgerServer::Feed(Follower& follower) {
  for (;;) {
    const EventReader::Batch batch = follower.reader.Take(kEventsAtOnce);
    std::string text;
    if (batch.missed > 0) {
      text = "event: missed\ndata: {\"missed\":" + std::to_string(batch.missed) + "}\n\n";
    }
    for (const Event& event : batch.events) {
      follower.last = event.sequence;
      if (!follower.target || event.target == *follower.target ||
          event.account == *follower.target) {
        text += StreamText(event);
      }
    }
    if (!text.empty() && !sockets_->Push(follower.ticket, text)) return false;
    if (batch.events.size() < kEventsAtOnce) return true;
  }
}

void LedgerServer::FeedAll() {
  for (auto follower = starting_.begin(); follower != starting_.end();) {
    const auto next = std::next(follower);
    if (sockets_->Push(follower->ticket, kStreamHead)) {
      followers_.splice(followers_.end(), starting_, follower);
    } else {
      starting_.erase(follower);
    }
    follower = next;
  }
  std::erase_if(followers_, [this](Follower& follower) { return !Feed(follower); });
  if (followers_.empty()) {
    feed_.reset();
    return;
  }
  std::uint64_t last = 0;
  for (const Follower& follower : followers_) last = std::max(last, follower.last);
  if (feed_) {
    feed_->Rearm(last);
  } else {
    kept_alive_ = clock_.Now();
    feed_ = std::make_unique<EventFeed>(manager_, last,
                                        [this] { mailbox_->Post([this] { FeedAll(); }); });
  }
}

// A caller that went away without closing, and a proxy that closes what is silent, are found so.
void LedgerServer::KeepAlive() {
  if (followers_.empty() || clock_.Now() - kept_alive_ < kKeepAlive) return;
  kept_alive_ = clock_.Now();
  std::erase_if(followers_, [this](const Follower& follower) {
    return !sockets_->Push(follower.ticket, ": still here\n\n");
  });
  if (followers_.empty()) feed_.reset();
}

void LedgerServer::Tend() {
  sockets_->Tend();
  KeepAlive();
  if (!options_.advances) return;
  const std::optional<Time> due = manager_.NextDeadline();
  if (due && *due <= manager_.clock().Now()) manager_.Advance();
}

std::optional<Time> LedgerServer::NextDeadline() const {
  std::optional<Time> next = sockets_->NextDeadline();
  const auto take = [&next](std::optional<Time> time) {
    if (time && (!next || *time < *next)) next = time;
  };
  if (!followers_.empty()) take(kept_alive_ + kKeepAlive);
  if (options_.advances) take(manager_.NextDeadline());
  return next;
}

Result<std::unique_ptr<LedgerThread>> LedgerThread::Start(ResourceManager& manager,
                                                          LedgerOptions options) {
  std::unique_ptr<LedgerThread> thread(new LedgerThread);
  LedgerThread* const self = thread.get();
  Result<std::unique_ptr<agent::Loop>> loop = agent::Loop::Create();
  if (!loop) return std::unexpected(loop.error());
  self->loop_ = *std::move(loop);
  Result<std::unique_ptr<Mailbox>> mailbox = Mailbox::Create();
  if (!mailbox) return std::unexpected(mailbox.error());
  self->mailbox_ = *std::move(mailbox);
  const auto run = [self](std::uint32_t) { self->mailbox_->Run(); };
  if (Result<void> added = self->loop_->Add(self->mailbox_->fd(), EPOLLIN, run); !added) {
    return std::unexpected(added.error());
  }
  auto server = LedgerServer::Listen(*self->loop_, manager, std::move(options));
  if (!server) return std::unexpected(server.error());
  self->server_ = *std::move(server);
  self->api_ = &self->server_->api();
  self->thread_ = StartThread([self] { self->Run(); });
  return thread;
}

LedgerThread::~LedgerThread() {
  if (!thread_.joinable()) return;
  mailbox_->Post([this] { ending_ = true; });
  thread_.join();
}

void LedgerThread::Run() {
  while (!ending_ && loop_->RunOnce(server_->NextDeadline())) server_->Tend();
  server_.reset();
}

}  // namespace mete::server
