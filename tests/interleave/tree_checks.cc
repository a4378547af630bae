// What must hold in every execution of a TreeProgram; the list is at the head of tree_program.h.
#include <algorithm>

#include "budget/watch.h"
#include "line.h"
#include "tree_program.h"

namespace mete {

// The watch word is private, and is what the checks of edges are about: an explicit instantiation
// may name it.
std::uint64_t WatchOf(Budget& budget);

template <auto kWatch>
struct Reveal {
  friend std::uint64_t WatchOf(Budget& budget) { return (budget.*kWatch).load(); }
};
template struct Reveal<&Budget::watch_>;

}  // namespace mete

namespace mete::interleave {
namespace {

bool IsUnder(Node node, int above) {
  return node == above || above == kTenant || (above == kSession && node >= kLeafA);
}

bool IsCharge(Do what) {
  return what == Do::kTryCharge || what == Do::kReserve || what == Do::kSpend;
}

const char* NodeText(int node) {
  static constexpr const char* kNames[] = {"tenant", "session", "a", "b"};
  return kNames[node];
}

}  // namespace

// ---------------------------------------------------------------- what the log tells

bool TreeProgram::Before(int first, int second) const {
  return (RecordOf(second).before >> first & 1) != 0;
}

bool TreeProgram::Overlap(int one, int other) const {
  return one != other && RecordOf(one).state != State::kAhead &&
         RecordOf(other).state != State::kAhead && !Before(one, other) && !Before(other, one);
}

bool TreeProgram::Running() const {
  return std::ranges::any_of(ids_, [&](int id) { return RecordOf(id).state == State::kRunning; });
}

int TreeProgram::RunningOn(int thread) const {
  int id = thread * kMaxOps;
  while (RecordOf(id).state != State::kRunning) ++id;
  return id;
}

// What an operation that was granted has added to a node.
TreeProgram::Sums TreeProgram::EffectOn(int id, int node) const {
  const Op& op = OpOf(id);
  const Record& record = RecordOf(id);
  if (op.what == Do::kRoll) return {.used = node == op.node ? -record.amount : 0, .held = 0};
  if (!IsUnder(op.node, node)) return {};
  switch (op.what) {
    case Do::kTryCharge:
    case Do::kCharge:
    case Do::kSpend: return {.used = op.amount, .held = 0};
    case Do::kUncharge:
    case Do::kGiveBack: return {.used = -op.amount, .held = 0};
    case Do::kReserve: return {.used = 0, .held = op.amount};
    case Do::kSettle: return {.used = op.amount, .held = -record.amount};
    case Do::kRelease: return {.used = 0, .held = -record.amount};
    default: return {};
  }
}

TreeProgram::Sums TreeProgram::ExpectedOf(int node) const {
  Sums sums = base_[static_cast<std::size_t>(node)];
  for (const int id : ids_) {
    if (RecordOf(id).state != State::kGranted) continue;
    const Sums effect = EffectOn(id, node);
    sums.used += effect.used;
    sums.held += effect.held;
  }
  return sums;
}

// What the node must count at least: all that was granted and is not being given back.
std::int64_t TreeProgram::LeastOf(int node) const {
  Sums sums = ExpectedOf(node);
  std::int64_t least = sums.used + sums.held;
  for (const int id : ids_) {
    if (RecordOf(id).state != State::kRunning || IsCharge(OpOf(id).what)) continue;
    if (OpOf(id).what == Do::kRoll && OpOf(id).node == node) return 0;  // any part may be gone
    const Sums effect = EffectOn(id, node);
    least += std::min<std::int64_t>(0, effect.used + effect.held);
  }
  return least;
}

// What the node can have counted at most: all that was begun.
std::int64_t TreeProgram::MostOf(int node) {
  const Sums base = base_[static_cast<std::size_t>(node)];
  std::int64_t most = base.used + base.held;
  for (const int id : ids_) {
    if (RecordOf(id).state == State::kAhead) continue;
    const Sums effect = EffectOn(id, node);
    most += std::max<std::int64_t>(0, effect.used) + std::max<std::int64_t>(0, effect.held);
  }
  return most;
}

// The limits that may have been in force while the operation ran: the last one that was set when it
// began, and those that were being set.
TreeProgram::Range TreeProgram::LimitsDuring(int id, int node) const {
  std::int64_t settled = scenario_.limits[static_cast<std::size_t>(node)];
  int last = 0;
  const auto is_set = [&](int set) {
    return OpOf(set).what == Do::kSetLimit && OpOf(set).node == node && RecordOf(set).turn > 0;
  };
  for (const int set : ids_) {
    if (is_set(set) && Before(set, id) && RecordOf(set).turn > last) {
      last = RecordOf(set).turn;
      settled = OpOf(set).amount;
    }
  }
  Range range{settled, settled};
  for (const int set : ids_) {
    if (!is_set(set) || RecordOf(set).turn <= last) continue;
    range = {std::min(range.low, OpOf(set).amount), std::max(range.high, OpOf(set).amount)};
  }
  return range;
}

// ---------------------------------------------------------------- at every operation on a cell

void TreeProgram::Changed(int thread, const void* cell, std::uint64_t before, std::uint64_t after) {
  const PlainAccess plain;
  for (int node = 0; node < kNodes; ++node) {
    const auto* start = reinterpret_cast<const std::byte*>(&NodeAt(node));
    const std::ptrdiff_t offset = static_cast<const std::byte*>(cell) - start;
    if (offset == 0) NoteUndo(thread, node, before - after);
    if (offset == 2 * sizeof(Cell)) {
      RecordOf(RunningOn(thread)).turn = ++memory_.limits_set;
    } else if (Replaying()) {
      continue;
    } else if (offset == 0) {
      CheckCharged(thread, node, static_cast<std::int64_t>(before),
                   static_cast<std::int64_t>(after));
    } else if (offset == 5 * sizeof(Cell)) {
      CheckWatch(thread, node, before, after);
    }
  }
}

void TreeProgram::NoteUndo(int thread, int node, std::uint64_t less) {
  const int id = RunningOn(thread);
  if (IsCharge(OpOf(id).what) && less == static_cast<std::uint64_t>(OpOf(id).amount)) {
    RecordOf(id).undone |= static_cast<std::uint8_t>(1u << node);
  }
}

void TreeProgram::CheckCharged(int thread, int node, std::int64_t before, std::int64_t after) {
  if (after < 0) Violate(Line(NodeText(node), " counts ", after));
  if (const int id = RunningOn(thread); after > before && IsCharge(OpOf(id).what)) {
    const std::int64_t limit = LimitsDuring(id, node).high;
    if (after > limit) {
      Violate(Line(NodeText(node), " is charged to ", after, ", its limit is ", limit));
    }
  }
  if (const std::int64_t least = LeastOf(node); after < before && after < least) {
    Violate(Line(NodeText(node), " counts ", after, ", but ", least, " was granted"));
  }
}

void TreeProgram::CheckWatch(int thread, int node, std::uint64_t before, std::uint64_t after) {
  const std::uint64_t raised = after & ~before & watch::kAboveMask;
  if ((raised & ~(after >> watch::kPendingShift)) != 0) {
    Violate(Line("an edge of ", NodeText(node), " was raised and is not pending"));
  }
  if ((before & ~after & watch::kPendingMask) != 0) {
    if (OpOf(RunningOn(thread)).what != Do::kTakeEdges)
      Violate(Line("a pending edge of ", NodeText(node), " was lost"));
  }
  const std::int64_t most = MostOf(node);
  const std::int64_t limit = least_limit_[static_cast<std::size_t>(node)];
  const auto check = [&](std::size_t bit, std::int64_t at) {
    if ((raised >> bit & 1) != 0 && most < at) {
      Violate(Line("an edge of ", NodeText(node), " was raised that nothing could have reached"));
    }
  };
  if (uses_credit_) return;  // which counts as used, and may have been stocked and returned
  for (std::size_t i = 0; i < scenario_.thresholds.size(); ++i) {
    check(i, watch::ThresholdAmount(limit, scenario_.thresholds[i]));
  }
  check(watch::kLimitBit, limit == kNoLimit ? kNoLimit : limit + 1);
}

// ---------------------------------------------------------------- when nothing is under way

void TreeProgram::CheckQuiet() {
  for (int node = 0; node < kNodes; ++node) {
    Budget& budget = NodeAt(node);
    const Sums sums = ExpectedOf(node);
    std::int64_t& peak = memory_.quiet_peak[static_cast<std::size_t>(node)];
    if (scenario_.kind == BudgetKind::kLevel) peak = std::max(peak, sums.used);
    if (Replaying()) continue;
    const std::int64_t stocked = CreditUnder(node);
    if (budget.charged() != sums.used + sums.held + stocked) {
      Violate(Line(NodeText(node), " counts ", budget.charged(), "; used are ", sums.used,
                   ", held ", sums.held, ", stocked ", stocked));
    }
    if (budget.held() != sums.held) {
      Violate(Line(NodeText(node), " holds ", budget.held(), " instead of ", sums.held));
    }
    if (stocked > 0 && budget.charged() > budget.limit()) {
      Violate(Line(NodeText(node), " is past its limit and ", stocked, " are stocked"));
    }
    CheckQuietWatch(node);
    if (budget.peak() < peak) {
      Violate(Line("the peak of ", NodeText(node), " is ", budget.peak(), ", used were ", peak));
    }
  }
}

void TreeProgram::CheckQuietWatch(int node) {
  Budget& budget = NodeAt(node);
  const std::uint64_t word = WatchOf(budget);
  const std::int64_t used = budget.used();
  const std::int64_t limit = budget.limit();
  const bool flow = scenario_.kind == BudgetKind::kFlow;
  std::int64_t floor = limit == kNoLimit ? kNoLimit : limit + 1;
  const auto check = [&](int bit, std::int64_t at, std::int64_t rearm, const std::string& what) {
    const bool above = watch::IsAbove(word, bit);
    if (used >= at && !above) Violate(Line("the ", what, " of ", NodeText(node), " is lost"));
    if (used <= rearm && above) Violate(Line("the ", what, " of ", NodeText(node), " is stuck"));
    if (!above) floor = std::min(floor, at);
  };
  if (limit == kNoLimit) {
    if ((word & watch::kAboveMask) != 0) Violate("an edge without a limit is stuck");
  } else {
    for (std::size_t i = 0; limit > 0 && i < scenario_.thresholds.size(); ++i) {
      const int percent = scenario_.thresholds[i];
      const std::int64_t at = watch::ThresholdAmount(limit, percent);
      check(static_cast<int>(i), at, flow ? at - 1 : watch::RearmAmount(limit, percent),
            Line(percent, " % edge"));
    }
    check(watch::kLimitBit, limit + 1, flow ? limit : watch::RearmAmount(limit, 100), "limit edge");
  }
  if (static_cast<std::uint32_t>(word >> watch::kFloorShift) != watch::EncodeFloor(floor)) {
    Violate(
        Line("the floor of ", NodeText(node), " is ", watch::Floor(word), " instead of ", floor));
  }
}

// ---------------------------------------------------------------- grants and refusals

void TreeProgram::Finished() {
  const PlainAccess plain;
  CheckQuiet();
  for (int node = 0; node < kNodes; ++node) {
    std::int64_t rolled = 0;
    std::int64_t used = base_[static_cast<std::size_t>(node)].used;
    for (const int id : ids_) {
      if (RecordOf(id).state != State::kGranted) continue;
      const std::int64_t effect = EffectOn(id, node).used;
      (OpOf(id).what == Do::kRoll ? rolled : used) += effect;
    }
    if (-rolled > used) {
      Violate(Line(NodeText(node), " was rolled by ", -rolled, "; granted were ", used));
    }
  }
  for (const int id : ids_) {
    if (RecordOf(id).state == State::kRefused) CheckRefused(id);
  }
}

// Against the least that the node can have counted when it granted.
void TreeProgram::CheckGranted(int id) {
  if (!IsCharge(OpOf(id).what)) return;
  for (int node = 0; node < kNodes; ++node) {
    const Sums own = EffectOn(id, node);
    if (own.used + own.held == 0) continue;
    const Sums base = base_[static_cast<std::size_t>(node)];
    std::int64_t least = base.used + base.held + own.used + own.held;
    for (const int other : ids_) {
      const State state = RecordOf(other).state;
      if (other == id || state == State::kAhead || state == State::kRefused) continue;
      if (state == State::kRunning && OpOf(other).what == Do::kRoll) return;
      const Sums effect = EffectOn(other, node);
      const std::int64_t change = state == State::kSkipped ? 0 : effect.used + effect.held;
      if (change < 0 || Before(other, id)) least += change;
    }
    const std::int64_t limit = LimitsDuring(id, node).high;
    if (least > limit) {
      Violate(Line(Describe(id), " was granted: at least ", least, " on ", NodeText(node),
                   ", whose limit was at most ", limit));
    }
  }
}

// Against the most that the node can have counted when it refused.
void TreeProgram::CheckRefused(int id) {
  const Record& record = RecordOf(id);
  if (!record.for_limit || MayBeSpurious(id)) return;
  const int node = record.refused_at;
  const Sums base = base_[static_cast<std::size_t>(node)];
  std::int64_t most = base.used + base.held;
  for (const int other : ids_) {
    if (other == id || RecordOf(other).state != State::kGranted) continue;
    const Sums effect = EffectOn(other, node);
    const std::int64_t change = effect.used + effect.held;
    if (Before(other, id) || (Overlap(other, id) && change > 0)) most += change;
  }
  const std::int64_t limit = LimitsDuring(id, node).low;
  if (most + OpOf(id).amount <= limit) {
    Violate(Line(Describe(id), " was refused: at most ", most, " on ", NodeText(node),
                 ", whose limit was at least ", limit));
  }
}

// Another refusal passed through the node that refused, at that time: it has charged the node and
// undone that.
bool TreeProgram::MayBeSpurious(int id) const {
  return std::ranges::any_of(ids_, [&](int other) {
    return Overlap(id, other) && (RecordOf(other).undone >> RecordOf(id).refused_at & 1) != 0;
  });
}

}  // namespace mete::interleave
