// The manager as the Python package has it: mete::ResourceManager and what Python adds to it, which
// is a clock that may be a Python callable, an enforcer that calls Python, and a life that may end
// anywhere: by the garbage collector, on the manager's own thread, in a forked child.
//
// The interpreter lock and the manager's locks: whoever holds one of the manager's never waits for
// the interpreter's. So the clock of a Python callable is read before an operation, not in it, and
// the callbacks run where the manager holds no lock. The hot path keeps the interpreter lock; what
// can take long gives it up, and with a state folder that is everything that changes something,
// since it may wait for a disk. Such a folder can be closed while other threads are in a call: who
// gave up the interpreter lock is counted, and waited for.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mete/resource_manager.h"
#include "server/state.h"

namespace mete::python {

namespace nb = nanobind;

// A clock that stands still between two readings of a Python callable.
class CallableClock final : public Clock {
 public:
  explicit CallableClock(nb::object callable);

  Time Now() const override { return Time(Duration(now_.load(std::memory_order_relaxed))); }
  WallTime WallNow() const override { return wall_at_zero_ + Duration(now_.load()); }

  // Calls the callable. False with a Python error set. REQUIRES: the interpreter lock.
  bool Read();
  PyObject* callable() const { return callable_.ptr(); }
  void Drop() { callable_.reset(); }

 private:
  nb::object callable_;
  std::atomic<std::int64_t> now_{0};
  WallTime wall_at_zero_;
};

class CallingEnforcer;

class Engine {
 public:
  // `state_folder`: where the accounts are kept; empty: in memory.
  Engine(ManagerConfig config, nb::object clock, std::string state_folder);
  ~Engine();
  Engine(const Engine&) = delete;

  // Null, with a Python error set, in a child that was forked from the manager's process: its locks
  // and threads are those of the parent. Reads the clock.
  ResourceManager* Use();
  // The same, but throws the Python error.
  ResourceManager& core();

  // Whether a call may wait for a disk.
  bool waits() const { return !state_folder_.empty(); }
  // Around a call without the interpreter lock; made and ended with it.
  class Busy {
   public:
    explicit Busy(Engine& engine) : engine_(engine) { ++engine_.busy_; }
    ~Busy() {
      if (--engine_.busy_ == 0) engine_.busy_.notify_all();
    }
    Busy(const Busy&) = delete;

   private:
    Engine& engine_;
  };
  // A call of the manager, without the interpreter lock where it may wait. The function touches
  // nothing of Python.
  template <class Function>
  auto Do(Function&& function) {
    ResourceManager& manager = core();
    if (!waits()) return function(manager);
    const Busy busy(*this);
    const nb::gil_scoped_release unlock;
    return function(manager);
  }

  // Opens the state folder, if there is one and it is not open. E2080: another process has it.
  void Open();
  // Writes what is left to write and frees it; from then on a call is a RuntimeError. Nothing
  // without a state folder. REQUIRES: not on the manager's thread.
  void Close();

  const ManagerConfig& config() const { return config_; }
  const Clock& clock() const {
    return clock_ ? static_cast<const Clock&>(*clock_) : SystemClock::Instance();
  }
  bool is_closed() const { return manager_ == nullptr; }

  // `perform` (or None) is called with each intent, and returns None or why it failed, and `wake`
  // without arguments, both on the manager's thread. Without `perform` whoever is woken takes the
  // intents.
  void Start(nb::object perform, nb::object wake);
  // REQUIRES: not on the manager's thread.
  void Stop();

  // Managers whose last reference fell in a callback end on a thread of their own; the interpreter
  // must not go before.
  static void WaitForEnds();

  int Traverse(visitproc visit, void* arg);
  void Clear();

 private:
  ManagerConfig config_;
  std::unique_ptr<CallableClock> clock_;
  std::unique_ptr<CallingEnforcer> enforcer_;
  std::unique_ptr<nb::object> wake_;  // stays where it is when the rest moves
  std::string state_folder_;
  std::unique_ptr<server::OwnedState> state_;  // or, without a folder:
  std::unique_ptr<ResourceManager> own_;
  ResourceManager* manager_ = nullptr;  // of the one of both
  std::atomic<int> busy_{0};
  std::uint64_t process_;  // which one, counted by forks
  bool started_ = false;
};

// The text of a str. E2071 naming the argument for anything else. Valid as long as the object.
std::string_view TextOf(const char* argument, nb::handle object);
// Null with the Python error set.
std::optional<QuotaScope> ScopeOf(PyObject* scope);
// Named in an error as the core names it: "session id".
std::string_view IdOf(QuotaScope scope, nb::handle id);
Target TargetOf(nb::handle scope, nb::handle id);

// The value, or the ResourceError thrown.
[[noreturn]] void Throw(const Error& error);
template <class T>
T Need(Result<T> result) {
  if (!result) Throw(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// Engine.report and Engine.report_awaited, as methods of the C interface.
extern PyMethodDef report_methods[];

}  // namespace mete::python
