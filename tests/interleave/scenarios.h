// Operations of a scenario, written short.
#pragma once

#include <cstdio>
#include <string>

#include "tree_program.h"

namespace mete::interleave {

inline constexpr std::int64_t kMany = 1000;

inline Op Try(Node node, std::int64_t amount) {
  return {.what = Do::kTryCharge, .node = node, .amount = amount};
}
inline Op Charge(Node node, std::int64_t amount) {
  return {.what = Do::kCharge, .node = node, .amount = amount};
}
inline Op Uncharge(Node node, std::int64_t amount) {
  return {.what = Do::kUncharge, .node = node, .amount = amount};
}
// Only where the thread's operation before was granted.
inline Op ThenUncharge(Node node, std::int64_t amount) {
  return {.what = Do::kUncharge, .node = node, .amount = amount, .if_granted = true};
}
inline Op Reserve(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kReserve, .node = node, .amount = amount, .slot = slot};
}
inline Op Settle(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kSettle, .node = node, .amount = amount, .slot = slot};
}
inline Op Release(Node node, int slot) {
  return {.what = Do::kRelease, .node = node, .slot = slot};
}
inline Op SetLimit(Node node, std::int64_t limit) {
  return {.what = Do::kSetLimit, .node = node, .amount = limit};
}
inline Op Roll(Node node) { return {.what = Do::kRoll, .node = node}; }
inline Op Take(Node node) { return {.what = Do::kTakeEdges, .node = node}; }
inline Op ResetPeak(Node node) { return {.what = Do::kResetPeak, .node = node}; }

inline Op NewCredit(Node node, std::int64_t quantum, int slot) {
  return {.what = Do::kNewCredit, .node = node, .amount = quantum, .slot = slot};
}
inline Op Spend(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kSpend, .node = node, .amount = amount, .slot = slot};
}
inline Op GiveBack(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kGiveBack, .node = node, .amount = amount, .slot = slot};
}
inline Op Flush(Node node, int slot) { return {.what = Do::kFlush, .node = node, .slot = slot}; }
inline Op EndCredit(Node node, int slot) {
  return {.what = Do::kEndCredit, .node = node, .slot = slot};
}

inline void Print(const Scenario& scenario, const Exploration& result) {
  const int preemptions = scenario.bounds.preemptions;
  std::printf("%-32s %9llu executions, %8llu states, depth %3d, %s preemptions%s%s\n",
              scenario.name.c_str(), static_cast<unsigned long long>(result.executions),
              static_cast<unsigned long long>(result.states), result.depth,
              preemptions == Bounds::kAny ? "any" : std::to_string(preemptions).c_str(),
              scenario.bounds.weak_failures > 0 ? ", weak failures" : "",
              scenario.bounds.store_buffers ? ", store buffers" : "");
}

}  // namespace mete::interleave
