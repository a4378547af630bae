// Feeds requests to the owner of a ledger: the first byte chooses the method, the first line is the
// path, the rest the body.
//
// What must hold: every answer has a status and JSON that its own reader takes; a refusal names its
// code; and an agent that nobody reports to but the control stays as it was.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "server/ledger_api.h"
#include "wire/json.h"

namespace {

using namespace mete;
using namespace mete::server;

struct World {
  World() {
    METE_CHECK(manager->CreateQuota(Target(QuotaScope::kTenant, "acme")));
    QuotaOptions below;
    below.parent = TargetName{QuotaScope::kTenant, "acme"};
    METE_CHECK(manager->CreateQuota("a", {}, below));
    METE_CHECK(manager->CreateQuota("the untouched one"));
  }

  VirtualClock clock{Time(std::chrono::hours(1)), WallTime(std::chrono::hours(400'000))};
  std::unique_ptr<ResourceManager> manager = *ResourceManager::Create({}, clock);
  std::unique_ptr<Owners> owners = *Owners::Create(*manager);
  LedgerApi api{*manager, *owners, {"memory", ""}, DefaultPolicies()};
};

constexpr std::string_view kMethods[] = {"GET", "POST", "PATCH", "DELETE", "PUT"};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
  static std::unique_ptr<World> world;
  static int uses = 0;
  // Another world now and then, so that accounts do not pile up.
  if (world == nullptr || ++uses % 1024 == 0) world = std::make_unique<World>();
  static const agent::Peer self = agent::IdentifySelf();
  if (length < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), length - 1);
  const std::size_t line = std::min(text.find('\n'), text.size());
  wire::HttpRequest request;
  request.method = kMethods[data[0] % std::size(kMethods)];
  request.target = "/v1/" + std::string(text.substr(0, line));
  request.body = text.substr(std::min(line + 1, text.size()));
  if (data[0] >= 128) request.headers.emplace_back("idempotency-key", request.body.substr(0, 9));
  if (request.target.find("untouched") != std::string::npos) return 0;

  const wire::HttpResponse response = world->api.Answer(request, self);
  METE_CHECK(response.status >= 200 && response.status <= 599 && response.status != 500);
  METE_CHECK(response.body.size() <= wire::kMaxBodyBytes);
  if (response.status == 204) {
    METE_CHECK(response.body.empty());
  } else {
    const Result<wire::Json> json = wire::ParseJson(response.body);
    METE_CHECK(json && json->AsObject() != nullptr);
    METE_CHECK(response.status < 400 || (json->Find("code") && json->Find("detail")));
  }
  METE_CHECK(world->manager->GetUsage("the untouched one") == ResourceUsage{});
  METE_CHECK(LedgerApi::FollowQuery(request).has_value() <= (request.method == "GET"));
  return 0;
}
