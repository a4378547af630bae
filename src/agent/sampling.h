// When to read the usage of agents that do not report it: a pure decision, without files.
//
// A fixed rate is either late or wasteful. An agent that may use `remaining` more CPU time cannot
// have used it up before remaining / cores, so that is when it is read next; one that has no such
// budget is read at the usual interval, for its memory. What stands still costs next to nothing:
// an agent that is frozen or empty is not read at all; and as the kernel counts the CPU time of a
// group in every group above it, one reading of a parent shows for all agents below that none ran.
//
// Invariants:
//   1. An agent is left unread only if it used no CPU time since its last reading: its parent's
//      counter was taken before that reading, and again now, and is the same.
//   2. A reading is never later than remaining / cores after the one before, but for kShortest.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "mete/clock.h"

namespace mete::agent {

// When to read the CPU time of an agent that may use `remaining` more. Not sooner than 2 ms, which
// bounds the cost: a read takes microseconds, and the kernel's figure moves in ticks of 4 ms. Not
// later than a second, in which cores may be added.
Duration NextReading(Duration remaining, unsigned cores) noexcept;

class Sampler {
 public:
  using Node = std::uint32_t;
  static constexpr Node kNone = ~Node{0};

  // Between two readings of an agent that runs, and of one that was found idle several times.
  static constexpr Duration kUsual = std::chrono::milliseconds(100);
  static constexpr Duration kIdle = std::chrono::seconds(1);

  explicit Sampler(unsigned cores) noexcept : cores_(cores) {}

  // A group whose counter covers those below it; it is read only to spare readings of them.
  Node AddParent(Node parent = kNone);
  // Due at once.
  Node AddAgent(Node parent, Time now);
  // REQUIRES: nothing is below it. The number may be given out again.
  void Remove(Node node);

  // CPU time that the agent may still use, under every budget on its path; unset: no budget.
  void SetRemaining(Node agent, std::optional<Duration> remaining, Time now);
  // Frozen or empty: not read until it is awake again, which makes it due at once.
  void SetAsleep(Node agent, bool asleep, Time now);

  // The earliest time at which an agent is due.
  std::optional<Time> NextDeadline() const noexcept;

  // Reads what is due, the earliest first. `read(node)` returns the CPU time of a parent or an
  // agent in nanoseconds; for an agent it also takes whatever else is sampled, and may call
  // SetRemaining and SetAsleep for that agent, but add and remove none. Each parent is read at most
  // once. Returns how many agents were read.
  template <class Read>
  std::size_t Sweep(Time now, Read&& read) {
    ++sweep_;
    std::size_t count = 0;
    while (const std::optional<Node> node = TakeDue(now)) {
      const std::uint64_t version = VersionOf(nodes_[*node].parent, read);
      if (IsUnchanged(*node, version)) {
        Rest(*node, now);
      } else {
        const std::int64_t cpu_ns = read(*node);
        NoteRead(*node, version, cpu_ns, now);
        ++count;
      }
    }
    return count;
  }

 private:
  struct Entry {
    Node parent = kNone;
    bool in_use = false, is_agent = false, asleep = false;
    std::int64_t cpu_ns = -1;   // as read last
    std::uint64_t version = 0;  // parent: changes seen; agent: the parent's at its last reading
    std::uint64_t above = 0;    // parent: the version of its own parent at its last reading
    std::uint64_t sweep = 0;    // parent: the one it was looked at in
    Time due{};
    Duration interval = kUsual;
    std::optional<Duration> remaining;
    std::size_t place = kNowhere;  // in the heap
  };
  static constexpr std::size_t kNowhere = ~std::size_t{0};

  // A parent whose own parent stood still did so too.
  template <class Read>
  std::uint64_t VersionOf(Node parent, Read&& read) {
    if (parent == kNone) return 0;
    if (nodes_[parent].sweep == sweep_) return nodes_[parent].version;
    const std::uint64_t above = VersionOf(nodes_[parent].parent, read);
    Entry& entry = nodes_[parent];
    entry.sweep = sweep_;
    if (entry.parent != kNone && entry.cpu_ns >= 0 && entry.above == above) return entry.version;
    const std::int64_t cpu_ns = read(parent);
    entry.above = above;
    if (cpu_ns != entry.cpu_ns) ++entry.version;
    entry.cpu_ns = cpu_ns;
    return entry.version;
  }

  Node Add(Node parent, bool is_agent);
  std::optional<Node> TakeDue(Time now);
  bool IsUnchanged(Node agent, std::uint64_t version) const;
  void NoteRead(Node agent, std::uint64_t version, std::int64_t cpu_ns, Time now);
  void Rest(Node agent, Time now);
  void Schedule(Node agent, Time due);
  void Unschedule(Node agent);
  void Sift(std::size_t place);

  unsigned cores_;
  std::uint64_t sweep_ = 0;
  std::vector<Entry> nodes_;
  std::vector<Node> free_;
  std::vector<Node> heap_;  // by due time, the earliest first
};

}  // namespace mete::agent
