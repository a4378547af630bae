// Who owns a state folder: this process, or another one that is spoken to.
//
// The lock of the store decides (store.h): whoever has it makes the manager of what the folder
// holds, and serves its accounts at `control.sock` in the folder. Everybody else is a client of
// that socket, or waits where the owner serves none because it is done in a moment.
//
// In a child that is forked, the descriptors of the folder and of its socket are closed at once: so
// the lock ends with the owner and not with its children. The objects in the child are those of the
// parent, and must not be used or destroyed there.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "mete/resource_manager.h"
#include "mete/store.h"
#include "server/ledger_server.h"
#include "wire/http.h"

namespace mete::server {

struct StateConfig {
  std::string folder;
  ManagerConfig manager{};
  const Clock* clock = &SystemClock::Instance();  // outlives the state
  // mete::OpenStore, which this folder of the sources does not know.
  std::function<Result<std::unique_ptr<Store>>(const std::string& folder)> open_store;
  // For others while this process has it; without, they wait: for what is done in a moment.
  bool serves = true;
  bool advances = true;  // as in LedgerOptions
  // For an owner that neither serves nor ends.
  Duration patience = std::chrono::seconds(10);
};

class OwnedState {
 public:
  // E2080: another process has it; what OpenStore and ResourceManager::Create answer.
  static Result<std::unique_ptr<OwnedState>> Open(const StateConfig& config);
  // Ends serving, writes what is left to write, and frees the folder. REQUIRES: no Reservation is
  // left.
  ~OwnedState();
  OwnedState(const OwnedState&) = delete;
  OwnedState& operator=(const OwnedState&) = delete;

  ResourceManager& manager() { return *manager_; }
  // As the owner would answer this process over its socket.
  wire::HttpResponse Answer(const wire::HttpRequest& request);
  const std::string& folder() const { return folder_; }

 private:
  explicit OwnedState(std::string folder) : folder_(std::move(folder)) {}

  std::string folder_;
  std::unique_ptr<ResourceManager> manager_;
  std::unique_ptr<LedgerThread> server_;  // or, where nobody is served:
  std::unique_ptr<Owners> owners_;
  std::unique_ptr<LedgerApi> api_;
};

// One of both is set.
struct OpenedState {
  std::unique_ptr<OwnedState> owned;
  std::string socket{};  // of the owner
  std::string owner{};   // and who that is: a line for people
};

// Waits for an owner that is about to go or to come; E2080: there is one, which does not answer.
Result<OpenedState> OpenState(const StateConfig& config);

std::string ControlSocketOf(const std::string& folder);

}  // namespace mete::server
