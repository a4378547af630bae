#include "agent/escape.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <utility>

#include "agent/attach.h"
#include "agent/descendants.h"
#include "agent/peer.h"
#include "agent/process.h"

namespace mete::agent {
namespace {

// A look each millisecond; what is not gone then is stuck in the kernel, or starts more than can be
// killed.
constexpr int kMostRounds = 2000;
constexpr timespec kPause{0, 1'000'000};

void Kill(const UniqueFd& process) {
  if (process) syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
}

// Who is inside leaves no more, so that only those are outside who left before.
bool NobodyCanLeave(State state) { return state == State::kSuspended || state == State::kKilled; }

}  // namespace

EscapeWatch::EscapeWatch(Agent& agent, pid_t root, pid_t except)
    : agent_(agent), root_(root), except_(except), next_(agent.clock().Now() + kInterval) {}

std::optional<Time> EscapeWatch::NextDeadline() const {
  if (nobody_outside_ && NobodyCanLeave(agent_.state())) return std::nullopt;
  return next_;
}

// One that is about to end was not outside: the kernel shows those outside too, and leaves them
// there. Any other that is outside still has left once more, as soon as it was put back.
std::size_t EscapeWatch::PutBack() {
  std::size_t count = 0;
  for (pid_t pid : DescendantsOf(root_, except_)) {
    if (agent_.group().Holds(pid)) continue;
    const ProcessId process = IdentifyProcess(pid);
    const Result<bool> back = MoveIn(agent_.group(), pid);
    if (back && !*back && IsEnding(pid)) continue;
    if (++count > 1 && back) continue;  // one line is enough for all of them
    agent_.history().AddNotice(fmt::format("left its control group: process {}: {}", pid,
                                           back ? "put back" : back.error().message));
    if (!back) Kill(OpenProcess(process));
  }
  return count;
}

// Where they are: one that is put back could leave once more before its group is killed again.
std::size_t EscapeWatch::KillOutside() {
  std::size_t count = 0;
  for (pid_t pid : DescendantsOf(root_, except_)) {
    if (agent_.group().Holds(pid)) continue;
    const UniqueFd process = OpenProcess(IdentifyProcess(pid));
    if (!IsAlive(process)) continue;
    Kill(process);
    ++count;
    if (std::exchange(kill_told_, true)) continue;
    agent_.history().AddNotice(fmt::format("left its control group: process {}: killed", pid));
  }
  return count;
}

void EscapeWatch::Tend() {
  const std::optional<Time> due = NextDeadline();
  const Time now = agent_.clock().Now();
  if (!due || *due > now) return;
  next_ = now + kInterval;
  const State state = agent_.state();
  const std::size_t outside = state == State::kKilled ? KillOutside() : PutBack();
  nobody_outside_ = outside == 0 && NobodyCanLeave(state);
  // Also of an agent whose CPU time stands still: who wakes and leaves at once may be charged for
  // it where it went (Linux 6.18).
  if (outside == 0 || state == State::kKilled) return;
  if (left_before_) agent_.End({EndCause::kEscape, std::nullopt});
  left_before_ = true;
}

void EscapeWatch::Collect() {
  for (int round = 0; round < kMostRounds && KillOutside() > 0; ++round) {
    nanosleep(&kPause, nullptr);
  }
}

}  // namespace mete::agent
