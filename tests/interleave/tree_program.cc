#include "tree_program.h"

#include <new>
#include <utility>

#include "base/check.h"
#include "line.h"

namespace mete::interleave {
namespace {

constexpr std::array<const char*, kNodes> kNodeNames = {"tenant", "session", "a", "b"};

std::uint16_t Bit(int id) { return static_cast<std::uint16_t>(1u << id); }

const char* NameOf(Do what) {
  switch (what) {
    case Do::kTryCharge: return "TryCharge";
    case Do::kCharge: return "Charge";
    case Do::kUncharge: return "Uncharge";
    case Do::kReserve: return "Reserve";
    case Do::kSettle: return "Settle";
    case Do::kRelease: return "Release";
    case Do::kSetLimit: return "SetLimit";
    case Do::kRoll: return "Roll";
    case Do::kTakeEdges: return "TakeEdges";
    case Do::kResetPeak: return "ResetPeak";
    case Do::kSpend: return "credit.TryCharge";
    case Do::kGiveBack: return "credit.Uncharge";
    case Do::kFlush: return "credit.Flush";
    case Do::kNewCredit: return "new credit";
    case Do::kEndCredit: return "end credit";
  }
  return "?";
}

}  // namespace

TreeProgram::TreeProgram(const Scenario& scenario) : scenario_(scenario) {
  const auto thresholds = Thresholds::Of(scenario.thresholds);
  METE_CHECK(thresholds.has_value());
  const auto& limits = scenario.limits;
  auto* tenant =
      new (memory_.tenant) SharedBudget(scenario.kind, limits[kTenant], nullptr, *thresholds);
  auto* session =
      new (memory_.session) SharedBudget(scenario.kind, limits[kSession], tenant, *thresholds);
  new (memory_.leaves[0]) Budget(scenario.kind, limits[kLeafA], session, *thresholds);
  new (memory_.leaves[1]) Budget(scenario.kind, limits[kLeafB], session, *thresholds);
  for (auto& hold : memory_.holds) new (hold) Hold;
  least_limit_ = limits;
  for (int thread = 0; thread < threads(); ++thread) {
    const auto& ops = scenario_.threads[static_cast<std::size_t>(thread)];
    METE_CHECK(ops.size() <= kMaxOps);
    for (std::size_t i = 0; i < ops.size(); ++i) {
      ids_.push_back(thread * kMaxOps + static_cast<int>(i));
      ops_[static_cast<std::size_t>(ids_.back())] = ops[i];
      auto& least = least_limit_[static_cast<std::size_t>(ops[i].node)];
      if (ops[i].what == Do::kSetLimit) least = std::min(least, ops[i].amount);
      if (ops[i].what >= Do::kSpend) uses_credit_ = true;
    }
  }
  for (const Op& op : scenario_.setup) uses_credit_ = uses_credit_ || op.what >= Do::kSpend;
  if (!uses_credit_) memory_size_ = offsetof(Memory, credits);
  RunSetup();
}

void TreeProgram::RunSetup() {
  for (const Op& op : scenario_.setup) {
    Record record;
    METE_CHECK(Perform(op, record));
  }
  for (int node = 0; node < kNodes; ++node) {
    const auto at = static_cast<std::size_t>(node);
    Budget& budget = NodeAt(node);
    budget.TakeEdges();
    base_[at].held = budget.held();
    base_[at].used = budget.charged() - budget.held() - CreditUnder(node);
    scenario_.limits[at] = budget.limit();
  }
}

std::span<std::byte> TreeProgram::memory() {
  return {reinterpret_cast<std::byte*>(&memory_), memory_size_};
}

Budget& TreeProgram::NodeAt(int node) {
  switch (node) {
    case kTenant: return *std::launder(reinterpret_cast<SharedBudget*>(memory_.tenant));
    case kSession: return *std::launder(reinterpret_cast<SharedBudget*>(memory_.session));
    default: return *std::launder(reinterpret_cast<Budget*>(memory_.leaves[node - kLeafA]));
  }
}

Hold& TreeProgram::HoldAt(int slot) {
  return *std::launder(reinterpret_cast<Hold*>(memory_.holds[slot]));
}

Credit& TreeProgram::CreditAt(int slot) {
  return *std::launder(reinterpret_cast<Credit*>(memory_.credits[slot]));
}

std::int64_t TreeProgram::CreditUnder(int node) {
  std::int64_t sum = 0;
  for (int slot = 0; slot < kMaxCredits; ++slot) {
    if (!memory_.has_credit[static_cast<std::size_t>(slot)]) continue;
    const Budget* budget = &CreditAt(slot).budget();
    while (budget != nullptr && budget != &NodeAt(node)) budget = budget->parent();
    if (budget != nullptr) sum += CreditAt(slot).available();
  }
  return sum;
}

void TreeProgram::Thread(int thread) {
  const auto& ops = scenario_.threads[static_cast<std::size_t>(thread)];
  for (int i = 0; i < static_cast<int>(ops.size()); ++i) {
    const int id = thread * kMaxOps + i;
    Boundary(static_cast<std::uint64_t>(id) + 1);
    Begin(id);
    const Op& op = OpOf(id);
    const bool wanted = !op.if_granted || RecordOf(id - 1).state == State::kGranted;
    if (!wanted || ((op.what == Do::kSettle || op.what == Do::kRelease) && !HoldAt(op.slot))) {
      RecordOf(id).state = State::kSkipped;
      continue;
    }
    End(id, Perform(op, RecordOf(id)));
  }
}

void TreeProgram::Begin(int id) {
  Record& record = RecordOf(id);
  for (const int other : ids_) {
    if (RecordOf(other).state > State::kRunning) record.before |= Bit(other);
  }
  record.state = State::kRunning;
  if (OpOf(id).what == Do::kSettle || OpOf(id).what == Do::kRelease) {
    record.amount = HoldAt(OpOf(id).slot).amount();
  }
  if (Tracing()) Trace(Describe(id));
}

void TreeProgram::End(int id, bool granted) {
  Record& record = RecordOf(id);
  record.state = granted ? State::kGranted : State::kRefused;
  if (Tracing()) {
    Trace(Line("T", id / kMaxOps + 1, granted ? " done" : " refused at ",
               granted ? "" : kNodeNames[static_cast<std::size_t>(record.refused_at)]));
  }
  const Op& op = OpOf(id);
  if (op.what == Do::kResetPeak) memory_.quiet_peak[static_cast<std::size_t>(op.node)] = 0;
  if (granted) {
    if (!Replaying()) CheckGranted(id);
    ForgetOrder(id);
  }
  if (!Running() && !scenario_.bounds.store_buffers) {
    const PlainAccess plain;
    CheckQuiet();
  }
}

// What was over before a grant began matters later only for refusals and limits; forgetting the
// rest makes more states equal.
void TreeProgram::ForgetOrder(int id) {
  for (const int other : ids_) {
    if (RecordOf(other).state != State::kRefused) {
      RecordOf(id).before &= static_cast<std::uint16_t>(~Bit(other));
    }
  }
}

// True when it was granted or cannot be refused.
bool TreeProgram::Perform(const Op& op, Record& record) {
  Budget& node = NodeAt(op.node);
  switch (op.what) {
    case Do::kTryCharge: return Note(record, node.TryCharge(op.amount));
    case Do::kCharge: return Note(record, node.Charge(op.amount));
    case Do::kUncharge: node.Uncharge(op.amount); return true;
    case Do::kReserve: {
      auto hold = node.Reserve(op.amount);
      if (!hold) {
        NoteRefusal(record, hold.error());
        return false;
      }
      HoldAt(op.slot) = std::move(*hold);
      return true;
    }
    case Do::kSettle: return Note(record, HoldAt(op.slot).Settle(op.amount));
    case Do::kRelease: HoldAt(op.slot).Release(); return true;
    case Do::kSetLimit: node.SetLimit(op.amount); return true;
    case Do::kRoll: record.amount = node.Roll(); return true;
    case Do::kTakeEdges: node.TakeEdges(); return true;
    case Do::kResetPeak: node.ResetPeak(); return true;
    default: return PerformOnCredit(op, record);
  }
}

bool TreeProgram::PerformOnCredit(const Op& op, Record& record) {
  switch (op.what) {
    case Do::kSpend: return Note(record, CreditAt(op.slot).TryCharge(op.amount));
    case Do::kGiveBack: CreditAt(op.slot).Uncharge(op.amount); return true;
    case Do::kFlush: CreditAt(op.slot).Flush(); return true;
    case Do::kNewCredit:
      new (memory_.credits[op.slot]) Credit(NodeAt(op.node), op.amount);
      memory_.has_credit[static_cast<std::size_t>(op.slot)] = true;
      return true;
    case Do::kEndCredit:
      memory_.has_credit[static_cast<std::size_t>(op.slot)] = false;
      CreditAt(op.slot).~Credit();
      return true;
    default: return false;
  }
}

bool TreeProgram::Note(Record& record, const Charged& charged) {
  if (!charged) NoteRefusal(record, charged.error());
  return charged.has_value();
}

void TreeProgram::NoteRefusal(Record& record, const Refusal& refusal) {
  for (int node = 0; node < kNodes; ++node) {
    if (refusal.budget == &NodeAt(node)) record.refused_at = static_cast<std::int8_t>(node);
  }
  record.for_limit = refusal.reason == Refusal::Reason::kLimit;
  if (record.refused_at < 0) Violate("a refusal names no node");
  if (record.for_limit && refusal.asked <= refusal.limit - refusal.charged) {
    Violate("a refusal reports figures that would fit");
  }
}

std::string TreeProgram::Describe(int id) const {
  const Op& op = OpOf(id);
  return Line("T", id / kMaxOps + 1, " ", interleave::NameOf(op.what), "(",
              kNodeNames[static_cast<std::size_t>(op.node)], ", ", op.amount, ")");
}

std::string TreeProgram::NameOf(const void* cell) const {
  const auto* at = static_cast<const std::byte*>(cell);
  static constexpr const char* kFields[] = {"charged", "held", "limit", "peak", "parent", "watch"};
  for (int node = 0; node < kNodes; ++node) {
    const auto* start =
        reinterpret_cast<const std::byte*>(&const_cast<TreeProgram*>(this)->NodeAt(node));
    const std::ptrdiff_t offset = at - start;
    const bool shared = node < kLeafA;
    if (offset < 0 ||
        offset >= static_cast<std::ptrdiff_t>(shared ? sizeof(SharedBudget) : sizeof(Budget))) {
      continue;
    }
    const auto field = static_cast<std::size_t>(offset) / sizeof(Cell);
    return Line(kNodeNames[static_cast<std::size_t>(node)], ".",
                field < std::size(kFields) ? kFields[field] : "shared");
  }
  for (int slot = 0; slot < kMaxCredits; ++slot) {
    const std::ptrdiff_t offset = at - memory_.credits[slot];
    if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(sizeof(Credit))) continue;
    static constexpr const char* kCreditFields[] = {"available", "busy", "taking"};
    const auto field = static_cast<std::size_t>(offset) / sizeof(Cell);
    return Line("credit ", slot, ".",
                field < std::size(kCreditFields) ? kCreditFields[field] : "?");
  }
  return "?";
}

}  // namespace mete::interleave
