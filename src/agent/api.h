// The requests of the two sockets, answered: docs/run.md lists them.
//
// Requests of the agent are recorded and answered; what follows from them is the loop's next
// Reconcile() (rule 17). Requests of an operator are carried out before the answer, which then
// tells how it went.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/agent.h"
#include "agent/holds.h"
#include "agent/peer.h"
#include "agent/requests.h"
#include "wire/http.h"

namespace mete::agent {

class Api {
 public:
  // Both outlive it.
  Api(Agent& agent, HoldOwners& holds) : agent_(agent), holds_(holds) {}

  void SetLeader(pid_t pid) { leader_ = pid; }

  // On METE_SOCKET.
  wire::HttpResponse AnswerAgent(const wire::HttpRequest& request, const Peer& peer);
  // On the control socket. Whoever is inside the agent's group, or is gone so that nobody can tell,
  // gets E2078.
  wire::HttpResponse AnswerOperator(const wire::HttpRequest& request, const Peer& peer);

 private:
  using Parts = std::vector<std::string>;

  wire::HttpResponse Usage(const wire::HttpRequest& request);
  wire::HttpResponse Hold(const wire::HttpRequest& request, const Peer& peer);
  wire::HttpResponse Settle(const wire::HttpRequest& request, std::string_view id);
  wire::HttpResponse ReleaseHold(std::string_view id);
  wire::HttpResponse Operate(const wire::HttpRequest& request, std::string_view verb);
  wire::HttpResponse Resume(const wire::HttpRequest& request);
  wire::HttpResponse ChangeLimits(const wire::HttpRequest& request);
  wire::HttpResponse Quota(int status = 200);
  bool MayOperate(const Peer& peer);

  wire::HttpResponse Receive(const Settlement& settlement);

  Agent& agent_;
  HoldOwners& holds_;
  std::optional<pid_t> leader_;
};

}  // namespace mete::agent
