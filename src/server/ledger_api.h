// The requests to the owner of a ledger, answered by calls of its ResourceManager: docs/http.md
// lists them. Events are followed over a server (ledger_server.h); all else is here, so that a
// command that owns the ledger itself asks in the same words as one that speaks to another process.
//
// Thread safety: Answer may be called from any thread; it may wait for a disk.
#pragma once

#include <string>
#include <string_view>

#include "agent/peer.h"
#include "mete/resource_manager.h"
#include "server/ledger_json.h"
#include "server/ledger_requests.h"
#include "server/owners.h"
#include "wire/http.h"

namespace mete::server {

class LedgerApi {
 public:
  // All outlive it. `configured`: what a policy that is created in part goes on with.
  LedgerApi(ResourceManager& manager, Owners& owners, ServedLedger ledger,
            const PolicySet& configured)
      : manager_(manager), owners_(owners), ledger_(ledger), configured_(configured) {}

  wire::HttpResponse Answer(const wire::HttpRequest& request, const agent::Peer& peer);

  // GET /v1/events?follow: what is asked for. Nothing: it is another request, or a bad one, which
  // Answer is for.
  static std::optional<EventsQuery> FollowQuery(const wire::HttpRequest& request);

 private:
  struct Call {
    const wire::HttpRequest& request;
    const agent::Peer& peer;
    const RequestPath& path;
    Target target;
  };

  wire::HttpResponse Quotas(const wire::HttpRequest& request, const RequestPath& path);
  wire::HttpResponse Events(const wire::HttpRequest& request, const RequestPath& path);
  wire::HttpResponse Account(const Call& call);
  wire::HttpResponse Verb(const Call& call, std::string_view verb);
  wire::HttpResponse Operate(const Call& call, std::string_view verb);
  wire::HttpResponse Usage(const Call& call);
  wire::HttpResponse Hold(const Call& call);
  wire::HttpResponse Settle(const Call& call, HoldId hold);
  wire::HttpResponse Holds(const wire::HttpRequest& request, const agent::Peer& peer,
                           const RequestPath& path);
  wire::HttpResponse Quota(Target target, int status = 200);
  std::string Receipt(const Settlement& settlement, Target target);

  ResourceManager& manager_;
  Owners& owners_;
  ServedLedger ledger_;
  PolicySet configured_;
};

}  // namespace mete::server
