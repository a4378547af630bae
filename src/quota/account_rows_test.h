// The rules of accounts as tables: each row is a time, an operation, and what must follow.
//
//   at          "59m59s" after the account was created
//   operation   report tokens=5 memory=3   by the target itself
//               sample memory=64Mi         by mete, from outside
//               reserve tokens=60          the holds are numbered from 1
//               settle 1 tokens=50, release 1
//               set tokens_per_hour=1000 memory=none
//               reset, suspend, resume, override, advance
//   answer      "E2072 tokens_per_hour" (the first word of the message), "hold 1", or for a receipt
//               each limit of the named resources as used/limit, "+held" where something is; then
//               "pending" where the policies want something new, "above tokens=50" for what no hold
//               covered, "retry 1s" for rates; "ok" if there is nothing to say
//   events      those of this row in order, without their time: "threshold 80% tokens_per_hour"
//   causes      after the row: "operator, tokens_per_hour", "throttle: ..", "end: memory"
//
// Amounts are quantities in the unit of their limits ("cost=0.5").
#pragma once

#include <string>
#include <vector>

#include "quota/account.h"

namespace mete {

struct Row {
  const char* at;
  const char* operation;
  const char* answer;
  const char* events = "";
  const char* causes = "";
};

// limits: as after "set"; the first row of a table may thus start from an empty account.
AccountConfig ConfigOf(const char* limits);

// Plays the rows on a fresh account and expects what they say. Returns the account as it was left.
std::unique_ptr<Account> Play(AccountConfig config, const std::vector<Row>& rows);

// One policy for every resource.
PolicySet AllPolicies(EnforcementMode mode, QuotaAction action);

Amounts AmountsOf(const std::string& text);  // "tokens=5 memory=64Mi"

std::string TextOf(const Event& event);
std::string TextOf(const std::vector<Event>& events);

}  // namespace mete
