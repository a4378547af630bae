// The interleaving checker: runs a small program of two or three threads in every order that its
// atomic operations (interleave/atomic.h) allow, within bounds, and reports the first order in
// which a check fails.
//
// The search is depth first: each execution replays the choices of the one before up to the last
// that has an alternative. A state is the program's memory, what each thread has seen since its
// last Boundary (its only hidden state, since threads are deterministic), the store buffers, and
// what is left of the bounds; an execution that comes to a state seen before ends there, because
// everything that can follow from it is being explored already. States are kept as 61-bit hashes:
// among ten million, two differing ones collide with a probability below one in forty thousand.
//
// What it does not show: reorderings beyond those of store buffers (x86); the race tests run under
// ThreadSanitizer, which knows the C++ memory model, for that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace mete::interleave {

struct Bounds {
  static constexpr int kAny = -1;
  // How often a thread that could go on is interrupted; kAny: all interleavings.
  int preemptions = 3;
  // How often compare_exchange_weak fails although it need not, in one execution.
  int weak_failures = 0;
  // Plain stores become visible as late as x86 allows, at every possible moment.
  bool store_buffers = false;
};

// Wrongs that a test seeds, to see that the checker finds them.
struct Faults {
  int drop_subtraction = 0;    // the n-th fetch_sub of an execution does nothing
  bool unchecked_cas = false;  // compare-and-swap adds, whatever it was to replace
  bool weak_fence = false;     // HeavyFence leaves the other threads' store buffers alone
};

struct Exploration {
  std::uint64_t executions = 0;
  std::uint64_t states = 0;
  int depth = 0;          // the most operations in one execution
  std::string violation;  // empty: none
  std::string schedule;   // of the violation, one line per operation
};

class Program {
 public:
  static constexpr int kMaxThreads = 4;

  virtual ~Program() = default;
  virtual int threads() const = 0;
  // All that the threads share. Each execution begins with what it holds when Explore is called.
  virtual std::span<std::byte> memory() = 0;
  virtual void Thread(int thread) = 0;
  // A cell has changed, while `thread` was at it; not a point to switch at.
  virtual void Changed(int thread, const void* cell, std::uint64_t before, std::uint64_t after) = 0;
  // All threads have ended.
  virtual void Finished() = 0;
  virtual std::string NameOf(const void* cell) const = 0;
};

// One at a time in a process.
Exploration Explore(Program& program, const Bounds& bounds, const Faults& faults = {});

// For the program's threads.

// Between two operations of a thread: others may go on. From here the thread's hidden state is
// `local` alone.
void Boundary(std::uint64_t local);

// A check has failed: ends the exploration.
[[noreturn]] void Violate(std::string what);

// Whether the execution is still where the one before it was: what was checked there holds.
bool Replaying();

// While one exists, atomic operations act at once and are no point to switch at: for checks.
class PlainAccess {
 public:
  PlainAccess();
  ~PlainAccess();
  PlainAccess(const PlainAccess&) = delete;
  PlainAccess& operator=(const PlainAccess&) = delete;
};

// Adds a line to the schedule, when one is being written.
bool Tracing();
void Trace(std::string line);

}  // namespace mete::interleave
