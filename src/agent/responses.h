// What the two sockets answer: docs/run.md has the shapes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/agent.h"
#include "agent/quota_json.h"
#include "mete/error.h"
#include "mete/resource_manager.h"
#include "wire/http.h"

namespace mete::agent {

// `application/problem+json` with the status of the code's row in docs/errors.md, unless given.
wire::HttpResponse ProblemOf(const Error& error, int status = 0);
// The refusal of what came with a key: 422 if it is the key that was refused (rule 17).
wire::HttpResponse KeyedProblemOf(const Error& error, std::string_view key);
wire::HttpResponse JsonResponse(int status, std::string body);

std::string QuotaJson(Agent& agent, std::optional<pid_t> pid);
std::string QuotaListJson(const Agent& agent, std::optional<pid_t> pid);
std::string TotalsJson(const Agent& agent);
// What a settlement answers, or a report, which is one that nothing was reserved for. `quota`: as
// it is afterwards. `durable`: unset where there is no store.
std::string ReceiptJson(const Settlement& settlement, const ResourceQuota& quota, bool replayed,
                        const Clock& clock, std::optional<bool> durable = std::nullopt);
std::string HoldJson(std::uint64_t id, Time expires, const Clock& clock);

}  // namespace mete::agent
