#include "server/state.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>
#include <utility>

#include "server/fork_guard.h"
#include "wire/unix_client.h"

namespace mete::server {
namespace {

// The first wait is that of a command that is about to end; then longer ones, by chance, so that
// many who wait do not all come at once.
constexpr std::chrono::microseconds kShortestWait{500};
constexpr std::chrono::microseconds kLongestWait{20'000};

// Whether the owner answers at its socket.
bool IsServed(const std::string& socket) {
  const wire::HttpRequest request{
      .method = "GET", .target = "/v1/status", .headers = {}, .body = {}};
  return wire::CallUnix(socket, request, std::chrono::seconds(2)).has_value();
}

}  // namespace

std::string ControlSocketOf(const std::string& folder) { return folder + "/control.sock"; }

Result<std::unique_ptr<OwnedState>> OwnedState::Open(const StateConfig& config) {
  Result<std::unique_ptr<Store>> store = config.open_store(config.folder);
  if (!store) return std::unexpected(store.error());
  // The folder under its own name, wherever the process moves to by then.
  char* const resolved = realpath(config.folder.c_str(), nullptr);
  std::unique_ptr<OwnedState> state(new OwnedState(resolved ? resolved : config.folder));
  free(resolved);
  KeepFromChildren(state->folder_);
  Result<std::unique_ptr<ResourceManager>> manager =
      ResourceManager::Create(config.manager, *config.clock, *std::move(store));
  if (!manager) return std::unexpected(manager.error());
  state->manager_ = *std::move(manager);
  const std::string durability(NameOf(config.manager.durability));
  if (config.serves) {
    LedgerOptions options{.path = ControlSocketOf(state->folder_),
                          .ledger_name = state->folder_,
                          .durability = durability,
                          .policies = config.manager.policies};
    options.advances = config.advances;
    Result<std::unique_ptr<LedgerThread>> server =
        LedgerThread::Start(*state->manager_, std::move(options));
    if (!server) return std::unexpected(server.error());
    state->server_ = *std::move(server);
    return state;
  }
  Result<std::unique_ptr<Owners>> owners = Owners::Create(*state->manager_);
  if (!owners) return std::unexpected(owners.error());
  state->owners_ = *std::move(owners);
  state->api_ = std::make_unique<LedgerApi>(
      *state->manager_, *state->owners_,
      ServedLedger{state->folder_, NameOf(config.manager.durability)}, config.manager.policies);
  return state;
}

OwnedState::~OwnedState() {
  // The socket goes first: from then on who wants the folder waits for the lock.
  server_.reset();
  api_.reset();
  owners_.reset();
  manager_.reset();
  ReleaseToChildren(folder_);
}

wire::HttpResponse OwnedState::Answer(const wire::HttpRequest& request) {
  const agent::Peer self = agent::IdentifySelf();
  return (server_ ? server_->api() : *api_).Answer(request, self);
}

Result<OpenedState> OpenState(const StateConfig& config) {
  const SystemClock clock;
  const Time end = clock.Now() + config.patience;
  std::minstd_rand random(static_cast<unsigned>(getpid()));
  auto wait = kShortestWait;
  for (;;) {
    Result<std::unique_ptr<OwnedState>> owned = OwnedState::Open(config);
    if (owned) return OpenedState{.owned = *std::move(owned)};
    if (owned.error().code != ErrorCode::kInUse) return std::unexpected(owned.error());
    const std::string socket = ControlSocketOf(config.folder);
    if (IsServed(socket)) {
      return OpenedState{.owned = nullptr, .socket = socket, .owner = owned.error().message};
    }
    if (clock.Now() >= end) {
      Error error = owned.error();
      error.message = "its owner does not answer at its socket: " + error.message;
      return std::unexpected(std::move(error));
    }
    std::this_thread::sleep_for(wait / 2 + wait * (random() % 1024) / 1024);
    wait = std::min(wait * 2, kLongestWait);
  }
}

}  // namespace mete::server
