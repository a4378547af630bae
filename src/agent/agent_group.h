// The group of an agent that is about to be started, with its record and a guardian that knows.
//
// In this order, so that a crash between any two leaves nothing that is not known: the guardian is
// told, the record is made, the group is made, the record names it.
#pragma once

#include <memory>
#include <string>

#include "agent/agent.h"
#include "agent/guardian.h"
#include "agent/recorded_group.h"
#include "mete/error.h"

namespace mete::agent {

// An empty id becomes "run-PID". The record is in `dir`. E2076: an agent of that name runs, or one
// that was left behind is kept; or its tenant or session is another ledger's (CreateLeaf).
Result<std::unique_ptr<RecordedGroup>> MakeGroup(Host& host, const Clock& clock, Guardian& guardian,
                                                 const std::string& dir, AgentConfig* config);

// Limits as entered, causes, counters; an agent on its way out is kEnding.
void Describe(const Agent& agent, AgentRecord* record);

}  // namespace mete::agent
