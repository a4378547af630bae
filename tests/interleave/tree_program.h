// Programs over a tree of budgets for the interleaving checker, and what must hold in each of their
// executions.
//
//    tenant - session - leaf a
//                     - leaf b
//
// After every operation on a cell:
//   - a charge that is granted leaves no node above the limit that held while it ran;
//   - no node counts less than what was granted and not given back, and none less than nothing;
//   - an edge that is raised becomes pending, and only TakeEdges takes it.
// Whenever no operation is under way:
//   - each node counts exactly what was granted, held and stocked;
//   - its watch word is what its use and its limit call for: no edge is lost, none is stuck;
//   - its peak is no less than what was used at such a moment.
// At the end:
//   - each grant fitted the limit, whatever else happened at the time;
//   - each refusal was justified by what had been granted, unless another refusal passed through
//     the node that refused, while it was under way.
#pragma once

#include <array>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "explorer.h"
#include "mete/budget.h"
#include "mete/credit.h"

namespace mete::interleave {

enum Node : std::int8_t { kTenant, kSession, kLeafA, kLeafB };
inline constexpr int kNodes = 4;

enum class Do : std::uint8_t {
  kTryCharge,
  kCharge,
  kUncharge,
  kReserve,  // into `slot`
  kSettle,   // what `slot` holds, with `amount`
  kRelease,
  kSetLimit,
  kRoll,
  kTakeEdges,
  kResetPeak,
  kSpend,     // TryCharge on the credit `slot`
  kGiveBack,  // Uncharge on it
  kFlush,
  kNewCredit,  // on `node`, of the quantum `amount`
  kEndCredit,
};

struct Op {
  Do what;
  Node node = kLeafA;
  std::int64_t amount = 0;
  int slot = 0;
  bool if_granted = false;  // only if the thread's operation before it was granted
};

struct Scenario {
  std::string name;
  BudgetKind kind = BudgetKind::kLevel;
  std::array<std::int64_t, kNodes> limits = {kNoLimit, kNoLimit, kNoLimit, kNoLimit};
  std::vector<int> thresholds = {80, 95};
  std::vector<Op> setup = {};  // by one thread, beforehand; its edges are taken
  std::vector<std::vector<Op>> threads = {};
  Bounds bounds = {};
};

// For GoogleTest.
inline void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

class TreeProgram : public Program {
 public:
  static constexpr int kMaxOps = 4;  // of one thread
  static constexpr int kMaxHolds = 4;
  static constexpr int kMaxCredits = 3;

  explicit TreeProgram(const Scenario& scenario);

  int threads() const override { return static_cast<int>(scenario_.threads.size()); }
  std::span<std::byte> memory() override;
  void Thread(int thread) override;
  void Changed(int thread, const void* cell, std::uint64_t before, std::uint64_t after) override;
  void Finished() override;
  std::string NameOf(const void* cell) const override;

 private:
  enum class State : std::uint8_t { kAhead, kRunning, kGranted, kRefused, kSkipped };

  // How one operation of the scenario went; part of the explored state.
  struct Record {
    std::uint16_t before = 0;  // the operations that had ended when it began, one bit each
    State state = State::kAhead;
    std::int8_t refused_at = -1;
    std::uint8_t undone = 0;  // the nodes that it had charged before it was refused, one bit each
    bool for_limit = false;
    std::uint8_t turn = 0;    // SetLimit: the how many-th limit it stored
    std::int64_t amount = 0;  // settle, release: what was held; roll: what it returned
  };
  struct Sums {
    std::int64_t used = 0, held = 0;
  };
  struct Range {
    std::int64_t low, high;
  };

  // All of it zero where no object stands, so that equal states have equal bytes.
  struct alignas(128) Memory {
    alignas(128) std::byte tenant[sizeof(SharedBudget)];
    alignas(128) std::byte session[sizeof(SharedBudget)];
    alignas(8) std::byte leaves[2][sizeof(Budget)];
    alignas(8) std::byte holds[kMaxHolds][sizeof(Hold)];
    std::array<Record, kMaxThreads * kMaxOps> log;
    std::array<std::int64_t, kNodes> quiet_peak;
    std::array<bool, kMaxCredits> has_credit;
    std::uint8_t limits_set;
    // Last, so that programs without credit can leave it out.
    alignas(64) std::byte credits[kMaxCredits][sizeof(Credit)];
  };

  void RunSetup();
  bool Perform(const Op& op, Record& record);
  bool PerformOnCredit(const Op& op, Record& record);
  bool Note(Record& record, const Charged& charged);
  void NoteRefusal(Record& record, const Refusal& refusal);
  void Begin(int id);
  void End(int id, bool granted);
  void ForgetOrder(int id);

  const Op& OpOf(int id) const { return ops_[static_cast<std::size_t>(id)]; }
  Record& RecordOf(int id) { return memory_.log[static_cast<std::size_t>(id)]; }
  const Record& RecordOf(int id) const { return memory_.log[static_cast<std::size_t>(id)]; }
  Budget& NodeAt(int node);
  Hold& HoldAt(int slot);
  Credit& CreditAt(int slot);
  std::int64_t CreditUnder(int node);

  bool Before(int first, int second) const;
  bool Overlap(int one, int other) const;
  bool Running() const;
  int RunningOn(int thread) const;
  Sums EffectOn(int id, int node) const;
  Sums ExpectedOf(int node) const;
  std::int64_t LeastOf(int node) const;
  std::int64_t MostOf(int node);
  Range LimitsDuring(int id, int node) const;

  void NoteUndo(int thread, int node, std::uint64_t less);
  void CheckCharged(int thread, int node, std::int64_t before, std::int64_t after);
  void CheckWatch(int thread, int node, std::uint64_t before, std::uint64_t after);
  void CheckQuiet();
  void CheckQuietWatch(int node);
  void CheckGranted(int id);
  void CheckRefused(int id);
  bool MayBeSpurious(int id) const;
  std::string Describe(int id) const;

  Scenario scenario_;
  std::array<Op, kMaxThreads * kMaxOps> ops_{};  // by id
  std::vector<int> ids_;                         // of all operations
  bool uses_credit_ = false;
  std::size_t memory_size_ = sizeof(Memory);
  std::array<Sums, kNodes> base_;
  std::array<std::int64_t, kNodes> least_limit_;
  Memory memory_{};
};

}  // namespace mete::interleave
