#include "explorer.h"

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "fiber.h"
#include "interleave/atomic.h"
#include "line.h"
#include "state_set.h"

namespace mete::interleave {
namespace {

constexpr int kMain = -1;
constexpr int kMaxDepth = 20'000;  // an execution of thousands of operations is a live lock
constexpr std::uint64_t kMaxStates = 60'000'000;  // half a gigabyte

// What a thread waits for.
enum class Wait : std::uint8_t { kNothing, kMutex, kChange, kEnded };

struct BufferedStore {
  Cell* cell;
  std::uint64_t value;
};

struct Thread {
  std::unique_ptr<Fiber> fiber;
  std::uint64_t seen = 0;  // hash of all that its operations returned since the last boundary
  Wait wait = Wait::kNothing;
  const Cell* mutex = nullptr;
  std::deque<BufferedStore> buffer;
};

// Who has accessed a cell, in any execution so far.
struct CellUse {
  std::uint8_t readers = 0;
  std::uint8_t writers = 0;
  bool shared = false;  // one thread writes it and another one uses it
};

// A decision with more than one outcome, and the one that this execution takes.
struct Choice {
  std::uint8_t taken = 0;
  std::uint8_t count = 0;
};

// An outcome of a scheduling point: a thread goes on, or its oldest buffered store is made visible.
struct Move {
  std::int8_t thread;
  bool drain;
};

class Explorer {
 public:
  Explorer(Program& program, const Bounds& bounds, const Faults& faults);
  Exploration Run();

  std::uint64_t Load(const Cell& cell);
  void Store(Cell& cell, std::uint64_t value, Visible when);
  template <class Change>
  std::uint64_t Modify(const char* what, Cell& cell, Change&& change);
  bool CompareExchangeWeak(Cell& cell, std::uint64_t& expected, std::uint64_t desired);
  std::uint64_t FetchSub(Cell& cell, std::uint64_t amount);
  void Lock(Cell& cell);
  bool TryLock(Cell& cell);
  void Unlock(Cell& cell);
  void LightFence();
  void HeavyFence();
  void Yield();
  void Boundary(std::uint64_t local);

  [[noreturn]] void Violate(std::string what);
  bool tracing() const { return tracing_; }
  bool replaying() const { return next_choice_ < replayed_ && !tracing_; }
  void Trace(std::string line);

 private:
  static void ThreadBody();

  void RunOnce();
  bool Backtrack();
  void Point();
  void PointAt(const Cell& cell, bool writes);
  bool Enabled(const Thread& thread) const;
  int MovesFrom(std::span<Move> moves) const;
  void Apply(Move move);
  bool SeenBefore();
  std::uint64_t StateHash() const;
  int Choose(int count);
  void GoTo(int thread);
  [[noreturn]] void Leave();
  void Observe(std::uint64_t value);
  void Write(int by, Cell& cell, std::uint64_t value);
  void DrainOne(int thread);
  void DrainAll(int thread);
  void TraceOp(const char* what, const Cell& cell, std::uint64_t before, std::uint64_t after);
  Thread& self() { return threads_[static_cast<std::size_t>(current_)]; }

  Program& program_;
  const Bounds bounds_;
  const Faults faults_;
  std::vector<std::byte> image_;
  std::vector<Thread> threads_;
  Fiber main_;
  StateSet states_;
  std::vector<Choice> choices_;
  std::vector<CellUse> uses_;  // of each eight bytes of the program's memory
  bool more_shared_ = false;   // than the exploration has switched at so far

  // Of the present execution.
  int current_ = kMain;
  std::size_t next_choice_ = 0;
  std::size_t replayed_ = 0;  // choices before this one are the previous execution's
  int preemptions_ = 0;
  int weak_failures_ = 0;
  int subtractions_ = 0;
  int depth_ = 0;
  bool chosen_ = false;  // a thread begins: it was chosen for its first operation already
  bool tracing_ = false;
  Exploration result_;
};

Explorer* g_explorer = nullptr;

// ---------------------------------------------------------------- the search

Explorer::Explorer(Program& program, const Bounds& bounds, const Faults& faults)
    : program_(program), bounds_(bounds), faults_(faults) {
  const std::span<std::byte> memory = program.memory();
  image_.assign(memory.begin(), memory.end());
  uses_.resize(memory.size() / sizeof(Cell));
  threads_.resize(static_cast<std::size_t>(program.threads()));
  for (Thread& thread : threads_) thread.fiber = std::make_unique<Fiber>(&Explorer::ThreadBody);
}

Exploration Explorer::Run() {
  g_explorer = this;
  for (;;) {
    RunOnce();
    if (std::exchange(more_shared_, false)) {
      states_ = {};
      choices_.clear();
      result_ = {};
      continue;
    }
    ++result_.executions;
    result_.depth = std::max(result_.depth, depth_);
    if (states_.size() > kMaxStates) {
      result_.violation = "the exploration is too large: choose a smaller program or bound";
    }
    if (!result_.violation.empty() || !Backtrack()) break;
  }
  if (!result_.violation.empty() && !choices_.empty()) {
    // Once more, to write down what happens.
    tracing_ = true;
    RunOnce();
  }
  result_.states = states_.size();
  g_explorer = nullptr;
  std::ranges::copy(image_, program_.memory().begin());
  return result_;
}

bool Explorer::Backtrack() {
  while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().count) {
    choices_.pop_back();
  }
  if (choices_.empty()) return false;
  ++choices_.back().taken;
  return true;
}

void Explorer::RunOnce() {
  std::ranges::copy(image_, program_.memory().begin());
  for (Thread& thread : threads_) {
    thread.fiber->Start();
    thread.seen = 0;
    thread.wait = Wait::kNothing;
    thread.buffer.clear();
  }
  current_ = kMain;
  next_choice_ = 0;
  replayed_ = choices_.size();
  preemptions_ = weak_failures_ = subtractions_ = depth_ = 0;
  Point();  // comes back when the execution is over
  current_ = kMain;
}

void Explorer::ThreadBody() {
  Explorer& explorer = *g_explorer;
  explorer.chosen_ = true;
  explorer.program_.Thread(explorer.current_);
  explorer.chosen_ = false;
  explorer.self().wait = Wait::kEnded;
  explorer.Point();
  explorer.Violate("a thread that had ended went on");
}

bool Explorer::Enabled(const Thread& thread) const {
  switch (thread.wait) {
    case Wait::kNothing: return true;
    case Wait::kMutex: return thread.mutex->value == 0;
    case Wait::kChange:
    case Wait::kEnded: return false;
  }
  return false;
}

// The thread that runs comes first, so that the first execution of all is one without preemptions.
int Explorer::MovesFrom(std::span<Move> moves) const {
  int count = 0;
  const auto add = [&](int thread, bool drain) {
    moves[static_cast<std::size_t>(count++)] = {static_cast<std::int8_t>(thread), drain};
  };
  const bool goes_on = current_ != kMain && Enabled(threads_[static_cast<std::size_t>(current_)]);
  if (goes_on) add(current_, false);
  const bool may_switch =
      !goes_on || bounds_.preemptions == Bounds::kAny || preemptions_ < bounds_.preemptions;
  for (int i = 0; i < static_cast<int>(threads_.size()); ++i) {
    const Thread& thread = threads_[static_cast<std::size_t>(i)];
    if (may_switch && i != current_ && Enabled(thread)) add(i, false);
  }
  for (int i = 0; i < static_cast<int>(threads_.size()); ++i) {
    if (!threads_[static_cast<std::size_t>(i)].buffer.empty()) add(i, true);
  }
  return count;
}

// Before every operation: decides who goes on, and returns when the caller does.
void Explorer::Point() {
  if (std::exchange(chosen_, false)) return;
  for (;;) {
    std::array<Move, 2 * Program::kMaxThreads> moves;
    const int count = MovesFrom(moves);
    if (count == 0) {
      for (const Thread& thread : threads_) {
        if (thread.wait != Wait::kEnded) Violate("deadlock: every thread waits for another");
      }
      program_.Finished();
      Leave();
    }
    if (count > 1 && next_choice_ >= replayed_ && !tracing_ && SeenBefore()) Leave();
    const Move move = moves[static_cast<std::size_t>(Choose(count))];
    if (move.drain) {
      DrainOne(move.thread);
      continue;
    }
    if (move.thread == current_) return;
    if (current_ != kMain && Enabled(self())) ++preemptions_;
    GoTo(move.thread);
    return;  // chosen by another thread's point, or the execution is over and this is main
  }
}

// Before an operation on a cell. One that no other thread writes, or that this thread alone uses,
// commutes with all that the others do, so that switching before it adds nothing to switching
// before the next one; which cells these are turns out on the way, and then the search starts over.
void Explorer::PointAt(const Cell& cell, bool writes) {
  const auto* start = reinterpret_cast<const Cell*>(program_.memory().data());
  CellUse& use = uses_[static_cast<std::size_t>(&cell - start)];
  const auto self = static_cast<std::uint8_t>(1u << current_);
  (writes ? use.writers : use.readers) |= self;
  const unsigned others = ~unsigned{self};
  if (!use.shared &&
      ((use.writers & others) != 0 || ((use.writers & self) != 0 && (use.readers & others) != 0))) {
    use.shared = more_shared_ = true;
  }
  if (use.shared) Point();
}

void Explorer::GoTo(int thread) {
  Fiber& from = current_ == kMain ? main_ : *self().fiber;
  current_ = thread;
  Fiber::Switch(from, thread == kMain ? main_ : *self().fiber);
}

void Explorer::Leave() {
  GoTo(kMain);
  std::abort();  // the fiber is started afresh, never resumed
}

int Explorer::Choose(int count) {
  if (count == 1) return 0;
  if (next_choice_ == choices_.size()) {
    choices_.push_back({.taken = 0, .count = static_cast<std::uint8_t>(count)});
  }
  return choices_[next_choice_++].taken;
}

bool Explorer::SeenBefore() {
  // With a bound, a state that was reached with fewer preemptions covers one with more.
  const bool bounded = bounds_.preemptions != Bounds::kAny;
  return !states_.Add(StateHash(), bounded ? preemptions_ : 0);
}

std::uint64_t Explorer::StateHash() const {
  Hash hash;
  hash.Add(program_.memory());
  for (const Thread& thread : threads_) {
    hash.Add(thread.seen);
    hash.Add(static_cast<std::uint64_t>(thread.wait) << 8 | thread.buffer.size());
    for (const BufferedStore& store : thread.buffer) {
      hash.Add(reinterpret_cast<std::uintptr_t>(store.cell));
      hash.Add(store.value);
    }
  }
  hash.Add(static_cast<std::uint64_t>(weak_failures_) << 32 |
           static_cast<std::uint64_t>(subtractions_ < faults_.drop_subtraction
                                          ? subtractions_
                                          : faults_.drop_subtraction));
  // Who runs matters only where interrupting it costs.
  if (bounds_.preemptions != Bounds::kAny) hash.Add(static_cast<std::uint64_t>(current_ + 1));
  return hash.value();
}

// ---------------------------------------------------------------- the operations

void Explorer::Observe(std::uint64_t value) {
  chosen_ = false;
  Hash hash(self().seen);
  hash.Add(value);
  self().seen = hash.value();
  if (++depth_ > kMaxDepth) Violate("live lock: an execution without end");
}

void Explorer::Write(int by, Cell& cell, std::uint64_t value) {
  const std::uint64_t before = std::exchange(cell.value, value);
  if (before == value) return;
  for (Thread& thread : threads_) {
    if (thread.wait == Wait::kChange) thread.wait = Wait::kNothing;
  }
  program_.Changed(by, &cell, before, value);
}

void Explorer::DrainOne(int thread) {
  auto& buffer = threads_[static_cast<std::size_t>(thread)].buffer;
  const BufferedStore store = buffer.front();
  buffer.pop_front();
  if (tracing_) {
    Trace(Line("T", thread + 1, "'s store to ", program_.NameOf(store.cell),
               " becomes visible: ", static_cast<std::int64_t>(store.value)));
  }
  Write(thread, *store.cell, store.value);
}

void Explorer::DrainAll(int thread) {
  while (!threads_[static_cast<std::size_t>(thread)].buffer.empty()) DrainOne(thread);
}

std::uint64_t Explorer::Load(const Cell& cell) {
  PointAt(cell, false);
  std::uint64_t value = cell.value;
  for (const BufferedStore& store : self().buffer) {
    if (store.cell == &cell) value = store.value;
  }
  TraceOp("reads", cell, value, value);
  Observe(value);
  return value;
}

void Explorer::Store(Cell& cell, std::uint64_t value, Visible when) {
  PointAt(cell, true);
  TraceOp(when == Visible::kLater && bounds_.store_buffers ? "buffers" : "stores", cell, value,
          value);
  if (when == Visible::kLater && bounds_.store_buffers) {
    self().buffer.push_back({&cell, value});
  } else {
    DrainAll(current_);
    Write(current_, cell, value);
  }
  Observe(0);
}

template <class Change>
std::uint64_t Explorer::Modify(const char* what, Cell& cell, Change&& change) {
  PointAt(cell, true);
  DrainAll(current_);
  const std::uint64_t before = cell.value;
  const std::uint64_t after = change(before);
  TraceOp(what, cell, before, after);
  Write(current_, cell, after);
  Observe(before);
  return before;
}

bool Explorer::CompareExchangeWeak(Cell& cell, std::uint64_t& expected, std::uint64_t desired) {
  PointAt(cell, true);
  DrainAll(current_);
  const std::uint64_t before = cell.value;
  bool done = before == expected;
  if (done && weak_failures_ < bounds_.weak_failures && Choose(2) == 1) {
    ++weak_failures_;
    done = false;
  }
  std::uint64_t after = done ? desired : before;
  if (!done && faults_.unchecked_cas) {
    done = true;
    after = before + (desired - expected);
  }
  TraceOp(done ? "swaps" : "fails to swap", cell, before, after);
  if (done) Write(current_, cell, after);
  Observe(before << 1 | (done ? 1 : 0));
  expected = before;
  return done;
}

std::uint64_t Explorer::FetchSub(Cell& cell, std::uint64_t amount) {
  return Modify("subtracts", cell, [&](std::uint64_t before) {
    return ++subtractions_ == faults_.drop_subtraction ? before : before - amount;
  });
}

void Explorer::Lock(Cell& cell) {
  self().wait = Wait::kMutex;
  self().mutex = &cell;
  Point();
  self().wait = Wait::kNothing;
  DrainAll(current_);
  TraceOp("locks", cell, 0, 1);
  Write(current_, cell, static_cast<std::uint64_t>(current_) + 1);
  // What the mutex guards is read without atomics, so all of it counts as seen.
  Hash hash;
  hash.Add(program_.memory());
  Observe(hash.value());
}

bool Explorer::TryLock(Cell& cell) {
  PointAt(cell, true);
  DrainAll(current_);
  const bool done = cell.value == 0;
  TraceOp(done ? "locks" : "fails to lock", cell, 0, 1);
  Hash hash;
  if (done) {
    Write(current_, cell, static_cast<std::uint64_t>(current_) + 1);
    hash.Add(program_.memory());
  }
  Observe(hash.value());
  return done;
}

void Explorer::Unlock(Cell& cell) {
  PointAt(cell, true);
  DrainAll(current_);
  TraceOp("unlocks", cell, 1, 0);
  Write(current_, cell, 0);
  Observe(0);
}

// Orders the compiler only, and one execution has no other order than its own.
void Explorer::LightFence() {}

void Explorer::HeavyFence() {
  Point();
  DrainAll(current_);
  if (tracing_) Trace(Line("T", current_ + 1, "   fences every thread"));
  for (int i = 0; !faults_.weak_fence && i < static_cast<int>(threads_.size()); ++i) DrainAll(i);
  Observe(0);
}

// Waits until something changes: trying again before that would see the same.
void Explorer::Yield() {
  self().wait = Wait::kChange;
  Point();
  Observe(0);
}

void Explorer::Boundary(std::uint64_t local) {
  Point();
  self().seen = local;
  ++depth_;
}

// ---------------------------------------------------------------- reporting

void Explorer::Violate(std::string what) {
  if (tracing_) Trace(Line("violation: ", what));
  // No memory may stay behind on this fiber's stack, as it would where strings swap theirs.
  std::string().swap(result_.violation);
  result_.violation = std::move(what);
  Leave();
}

void Explorer::Trace(std::string line) { result_.schedule += Line("  ", line, "\n"); }

void Explorer::TraceOp(const char* what, const Cell& cell, std::uint64_t before,
                       std::uint64_t after) {
  if (!tracing_) return;
  std::string line = Line("T", current_ + 1, "   ", what, " ", program_.NameOf(&cell), " ",
                          static_cast<std::int64_t>(before));
  if (after != before) line += Line(" -> ", static_cast<std::int64_t>(after));
  Trace(std::move(line));
}

int g_plain = 0;  // how many PlainAccess exist

bool Exploring() { return g_explorer != nullptr && g_plain == 0; }

void CheckFailedInside(const char* condition, const char* file, int line) {
  if (g_explorer != nullptr) {
    interleave::Violate(Line("check failed: ", condition, " (", file, ":", line, ")"));
  }
}

}  // namespace

Exploration Explore(Program& program, const Bounds& bounds, const Faults& faults) {
  const CheckHandler old = SetCheckHandler(&CheckFailedInside);
  Exploration result = Explorer(program, bounds, faults).Run();
  SetCheckHandler(old);
  return result;
}

PlainAccess::PlainAccess() { ++g_plain; }
PlainAccess::~PlainAccess() { --g_plain; }

void Boundary(std::uint64_t local) { g_explorer->Boundary(local); }
void Violate(std::string what) {
  g_plain = 0;  // nothing on this fiber's stack is destroyed
  g_explorer->Violate(std::move(what));
}
bool Replaying() { return g_explorer != nullptr && g_explorer->replaying(); }
bool Tracing() { return g_explorer != nullptr && g_explorer->tracing(); }
void Trace(std::string line) {
  if (Tracing()) g_explorer->Trace(std::move(line));
}

// Outside an exploration there is one thread, and operations are plain.

std::uint64_t Load(const Cell& cell) { return Exploring() ? g_explorer->Load(cell) : cell.value; }

void Store(Cell& cell, std::uint64_t value, Visible when) {
  if (Exploring()) return g_explorer->Store(cell, value, when);
  cell.value = value;
}

std::uint64_t Exchange(Cell& cell, std::uint64_t value) {
  if (!Exploring()) return std::exchange(cell.value, value);
  return g_explorer->Modify("exchanges", cell, [&](std::uint64_t) { return value; });
}

bool CompareExchangeWeak(Cell& cell, std::uint64_t& expected, std::uint64_t desired) {
  if (Exploring()) return g_explorer->CompareExchangeWeak(cell, expected, desired);
  const bool done = cell.value == expected;
  expected = std::exchange(cell.value, done ? desired : cell.value);
  return done;
}

std::uint64_t FetchAdd(Cell& cell, std::uint64_t amount) {
  if (!Exploring()) return std::exchange(cell.value, cell.value + amount);
  return g_explorer->Modify("adds to", cell, [&](std::uint64_t before) { return before + amount; });
}

std::uint64_t FetchSub(Cell& cell, std::uint64_t amount) {
  if (!Exploring()) return std::exchange(cell.value, cell.value - amount);
  return g_explorer->FetchSub(cell, amount);
}

std::uint64_t FetchAnd(Cell& cell, std::uint64_t mask) {
  if (!Exploring()) return std::exchange(cell.value, cell.value & mask);
  return g_explorer->Modify("masks", cell, [&](std::uint64_t before) { return before & mask; });
}

void Lock(Cell& cell) {
  if (Exploring()) return g_explorer->Lock(cell);
  METE_CHECK(cell.value == 0);
  cell.value = 1;
}

bool TryLock(Cell& cell) {
  if (Exploring()) return g_explorer->TryLock(cell);
  return std::exchange(cell.value, 1) == 0;
}

void Unlock(Cell& cell) {
  if (Exploring()) return g_explorer->Unlock(cell);
  cell.value = 0;
}

void LightFence() {
  if (Exploring()) g_explorer->LightFence();
}
void HeavyFence() {
  if (Exploring()) g_explorer->HeavyFence();
}
void Yield() {
  if (Exploring()) g_explorer->Yield();
}

}  // namespace mete::interleave
