// The manager as the Python package has it: mete::ResourceManager and what Python adds to it, which
// is a clock that may be a Python callable, an enforcer that calls Python, and a life that may end
// anywhere: by the garbage collector, on the manager's own thread, in a forked child.
//
// The interpreter lock and the manager's locks: whoever holds one of the manager's never waits for
// the interpreter's. So the clock of a Python callable is read before an operation, not in it, and
// the callbacks run where the manager holds no lock. The hot path keeps the interpreter lock; what
// can take long gives it up.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mete/resource_manager.h"

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
  Engine(ManagerConfig config, nb::object clock);
  ~Engine();
  Engine(const Engine&) = delete;

  // Null, with a Python error set, in a child that was forked from the manager's process: its locks
  // and threads are those of the parent. Reads the clock.
  ResourceManager* Use();
  // The same, but throws the Python error.
  ResourceManager& core();

  const ManagerConfig& config() const { return config_; }

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
  std::unique_ptr<ResourceManager> manager_;
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
