#include "agent/sampling.h"

#include <algorithm>

#include "base/check.h"

namespace mete::agent {
namespace {

constexpr Duration kShortest = std::chrono::milliseconds(2);
constexpr Duration kLongest = std::chrono::milliseconds(1000);

}  // namespace

Duration NextReading(Duration remaining, unsigned cores) noexcept {
  const Duration earliest = remaining / static_cast<std::int64_t>(std::max(cores, 1u));
  return std::clamp<Duration>(earliest, kShortest, kLongest);
}

Sampler::Node Sampler::Add(Node parent, bool is_agent) {
  METE_CHECK(parent == kNone || (parent < nodes_.size() && nodes_[parent].in_use));
  Node node = static_cast<Node>(nodes_.size());
  if (free_.empty()) {
    nodes_.emplace_back();
  } else {
    node = free_.back();
    free_.pop_back();
    nodes_[node] = Entry{};
  }
  nodes_[node].parent = parent;
  nodes_[node].in_use = true;
  nodes_[node].is_agent = is_agent;
  return node;
}

Sampler::Node Sampler::AddParent(Node parent) { return Add(parent, false); }

Sampler::Node Sampler::AddAgent(Node parent, Time now) {
  const Node node = Add(parent, true);
  Schedule(node, now);
  return node;
}

void Sampler::Remove(Node node) {
  METE_CHECK(node < nodes_.size() && nodes_[node].in_use);
  Unschedule(node);
  nodes_[node].in_use = false;
  free_.push_back(node);
}

void Sampler::SetRemaining(Node agent, std::optional<Duration> remaining, Time now) {
  Entry& entry = nodes_[agent];
  entry.remaining = remaining;
  if (!remaining || entry.asleep) return;
  const Time due = now + NextReading(*remaining, cores_);
  if (entry.place == kNowhere || due < entry.due) Schedule(agent, due);
}

void Sampler::SetAsleep(Node agent, bool asleep, Time now) {
  Entry& entry = nodes_[agent];
  if (entry.asleep == asleep) return;
  entry.asleep = asleep;
  if (asleep) {
    Unschedule(agent);
  } else {
    entry.interval = kUsual;
    Schedule(agent, now);
  }
}

std::optional<Time> Sampler::NextDeadline() const noexcept {
  if (heap_.empty()) return std::nullopt;
  return nodes_[heap_.front()].due;
}

std::optional<Sampler::Node> Sampler::TakeDue(Time now) {
  if (heap_.empty() || nodes_[heap_.front()].due > now) return std::nullopt;
  const Node node = heap_.front();
  Unschedule(node);
  return node;
}

bool Sampler::IsUnchanged(Node agent, std::uint64_t version) const {
  const Entry& entry = nodes_[agent];
  return entry.parent != kNone && entry.cpu_ns >= 0 && entry.version == version;
}

void Sampler::NoteRead(Node agent, std::uint64_t version, std::int64_t cpu_ns, Time now) {
  Entry& entry = nodes_[agent];
  // Its siblings run, so that the parent spares it nothing: it is asked less often instead.
  entry.interval = cpu_ns == entry.cpu_ns ? std::min(entry.interval * 2, kIdle) : kUsual;
  entry.cpu_ns = cpu_ns;
  entry.version = version;
  Rest(agent, now);
}

void Sampler::Rest(Node agent, Time now) {
  Entry& entry = nodes_[agent];
  if (entry.asleep) return;
  Duration pause = entry.interval;
  if (entry.remaining) pause = std::min(pause, NextReading(*entry.remaining, cores_));
  Schedule(agent, now + pause);
}

void Sampler::Schedule(Node agent, Time due) {
  Entry& entry = nodes_[agent];
  entry.due = due;
  if (entry.place == kNowhere) {
    entry.place = heap_.size();
    heap_.push_back(agent);
  }
  Sift(entry.place);
}

void Sampler::Unschedule(Node agent) {
  const std::size_t place = nodes_[agent].place;
  if (place == kNowhere) return;
  nodes_[agent].place = kNowhere;
  const Node last = heap_.back();
  heap_.pop_back();
  if (last == agent) return;
  heap_[place] = last;
  nodes_[last].place = place;
  Sift(place);
}

// Restores the order of the heap around one place, in either direction.
void Sampler::Sift(std::size_t place) {
  const Node node = heap_[place];
  const Time due = nodes_[node].due;
  const auto put = [this](std::size_t at, Node which) {
    heap_[at] = which;
    nodes_[which].place = at;
  };
  while (place > 0 && due < nodes_[heap_[(place - 1) / 2]].due) {
    put(place, heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  for (;;) {
    std::size_t child = 2 * place + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && nodes_[heap_[child + 1]].due < nodes_[heap_[child]].due) {
      ++child;
    }
    if (nodes_[heap_[child]].due >= due) break;
    put(place, heap_[child]);
    place = child;
  }
  put(place, node);
}

}  // namespace mete::agent
