// Speaking to a running agent: from inside over the socket that METE_SOCKET names, from outside
// over the control socket of its `mete run`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/error.h"
#include "wire/http.h"
#include "wire/json.h"

namespace mete::cli {

// An account, and where to ask for it.
struct Target {
  std::string socket;
  std::string path;  // "/v1/self" or "/v1/quotas/agent/ID"
  std::string name;  // for messages: "this agent" or the id
};

// From METE_SOCKET. kNotFound: it is not set.
Result<Target> SelfTarget();
// The agent of that id. E2071: no id can look like this. E2099: the folder of the sockets is not
// this user's own.
Result<Target> AgentTarget(std::string_view id);
// The agent that the operands name, else the one around us. E2071: neither.
Result<Target> QuotaTarget(const std::vector<std::string_view>& operands);

struct Reply {
  std::string text;  // the body as it came
  wire::Json json;
};

// Whether the `mete run` of that agent was killed and nothing has settled what it left: some of its
// processes may still run, which `mete gc` ends.
bool IsLeftBehind(std::string_view id);

// What was answered; a refusal comes back as the error it carries.
Result<Reply> ReadReply(wire::HttpResponse response);

// One exchange; `subpath` continues the target's path. What the other side refuses comes back as
// the error it sent; kNotFound also when the agent is not running, naming those that are.
Result<Reply> Call(const Target& target, std::string_view method, std::string_view subpath,
                   std::string body, wire::Headers headers = {});

// The agents of this user whose `mete run` has a control socket; some may be dead. E2099: as above.
Result<std::vector<std::string>> RunningIds();

// A member that is text or a number, as text; empty if there is none.
std::string TextOf(const wire::Json& json, std::string_view name);

}  // namespace mete::cli
