#include "agent/escape.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/attach.h"
#include "agent/descendants.h"
#include "agent/process.h"

namespace mete::agent {
namespace {

// Each round finds what was started in the one before; who is inside can start nothing outside.
constexpr int kMostRounds = 20;

}  // namespace

EscapeWatch::EscapeWatch(Agent& agent, pid_t root, pid_t except)
    : agent_(agent), root_(root), except_(except), next_(agent.clock().Now() + kInterval) {}

std::optional<Time> EscapeWatch::NextDeadline() const {
  if (agent_.state() == State::kSuspended || agent_.state() == State::kKilled) return std::nullopt;
  return next_;
}

// How many were outside. One that ended meanwhile was none: the kernel shows those outside too.
std::size_t EscapeWatch::PutBack() {
  std::size_t count = 0;
  for (pid_t pid : DescendantsOf(root_, except_)) {
    if (agent_.group().Holds(pid)) continue;
    const ProcessId process = IdentifyProcess(pid);
    const Result<bool> back = MoveIn(agent_.group(), pid);
    if (back && !*back) continue;
    if (++count > 1 && back) continue;  // one line is enough for all of them
    agent_.history().AddNotice(fmt::format("left its control group: process {}: {}", pid,
                                           back ? "put back" : back.error().message));
    if (back) continue;
    const UniqueFd descriptor = OpenProcess(process);
    if (descriptor) syscall(SYS_pidfd_send_signal, descriptor.get(), SIGKILL, nullptr, 0);
  }
  return count;
}

void EscapeWatch::Tend() {
  const std::optional<Time> due = NextDeadline();
  const Time now = agent_.clock().Now();
  if (!due || *due > now) return;
  next_ = now + kInterval;
  // Also of an agent whose CPU time stands still: who wakes and leaves at once may be charged for
  // it where it went (Linux 6.18).
  if (PutBack() == 0) return;
  if (left_before_) agent_.End({EndCause::kEscape, std::nullopt});
  left_before_ = true;
}

void EscapeWatch::Collect() {
  for (int round = 0; round < kMostRounds && PutBack() > 0; ++round) {
  }
}

}  // namespace mete::agent
