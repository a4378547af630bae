#include "engine.h"

#include <pthread.h>

#include <cmath>
#include <stdexcept>
#include <thread>
#include <utility>

#include "amounts.h"
#include "mete/store.h"

namespace mete::python {
namespace {

std::atomic<std::uint64_t> forks{0};

thread_local int callbacks_here = 0;

std::atomic<int> ends{0};  // threads that end a manager

// Around a call from the manager's thread into Python.
class Callback {
 public:
  Callback() { ++callbacks_here; }
  ~Callback() { --callbacks_here; }

 private:
  nb::gil_scoped_acquire lock_;
};

std::string TakeErrorText() {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  std::string text = type != nullptr ? reinterpret_cast<PyTypeObject*>(type)->tp_name : "unknown";
  PyObject* shown = value != nullptr ? PyObject_Str(value) : nullptr;
  const char* bytes = shown != nullptr ? PyUnicode_AsUTF8(shown) : nullptr;
  if (bytes != nullptr && *bytes != '\0') text += std::string(": ") + bytes;
  if (bytes == nullptr) PyErr_Clear();
  Py_XDECREF(shown);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
  return text;
}

}  // namespace

// Carries out intents by calling Python, on the manager's thread.
class CallingEnforcer final : public Enforcer {
 public:
  explicit CallingEnforcer(nb::object perform) : perform_(std::move(perform)) {}

  Result<void> Suspend(const Intent& intent) override { return Call(intent); }
  Result<void> Resume(const Intent& intent) override { return Call(intent); }
  Result<void> Throttle(const Intent& intent) override { return Call(intent); }
  Result<void> ClearThrottle(const Intent& intent) override { return Call(intent); }
  Result<void> Terminate(const Intent& intent) override { return Call(intent); }

  PyObject* perform() const { return perform_.ptr(); }
  void Drop() { perform_.reset(); }

 private:
  Result<void> Call(const Intent& intent) {
    const ErrorCode code =
        intent.verb == Verb::kTerminate ? ErrorCode::kTerminateFailed : ErrorCode::kSuspendFailed;
    if (!nb::is_alive()) return Fail(code, "the interpreter has ended");
    const Callback callback;
    nb::object perform = perform_;
    if (!perform.is_valid()) return {};
    PyObject* argument = nb::cast(intent).release().ptr();
    PyObject* result = PyObject_CallOneArg(perform.ptr(), argument);
    Py_DECREF(argument);
    if (result == nullptr) return Fail(code, TakeErrorText());
    const char* failure = PyUnicode_Check(result) ? PyUnicode_AsUTF8(result) : nullptr;
    Result<void> done;
    if (failure != nullptr) done = Fail(code, failure);
    Py_DECREF(result);
    return done;
  }

  nb::object perform_;
};

CallableClock::CallableClock(nb::object callable) : callable_(std::move(callable)) {
  if (!Read()) throw nb::python_error();
  wall_at_zero_ = SystemClock().WallNow() - Duration(now_.load());
}

bool CallableClock::Read() {
  if (!callable_.is_valid()) return true;
  PyObject* seconds = PyObject_CallNoArgs(callable_.ptr());
  if (seconds == nullptr) return false;
  const double value = PyFloat_AsDouble(seconds);
  Py_DECREF(seconds);
  if (value == -1 && PyErr_Occurred() != nullptr) return false;
  if (!(std::abs(value) < 9e9)) {  // 285 years, what int64 nanoseconds hold
    RaiseInvalid("clock: seconds below 9e9 are allowed, not " + std::to_string(value));
    return false;
  }
  // Time does not go back for anyone; threads may read in another order than they store.
  const auto now = static_cast<std::int64_t>(std::llround(value * 1e9));
  std::int64_t last = now_.load(std::memory_order_relaxed);
  while (last < now && !now_.compare_exchange_weak(last, now, std::memory_order_relaxed)) {
  }
  return true;
}

Engine::Engine(ManagerConfig config, nb::object clock, std::string state_folder)
    : config_(std::move(config)), state_folder_(std::move(state_folder)), process_(forks.load()) {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(registered);
  if (!clock.is_none()) clock_ = std::make_unique<CallableClock>(std::move(clock));
  if (!state_folder_.empty()) {
    Open();
    return;
  }
  own_ =
      Need(clock_ ? ResourceManager::Create(config_, *clock_) : ResourceManager::Create(config_));
  manager_ = own_.get();
}

void Engine::Open() {
  if (manager_ != nullptr) return;
  server::StateConfig config;
  config.folder = state_folder_;
  config.manager = config_;
  if (clock_ != nullptr) config.clock = clock_.get();
  config.open_store = [](const std::string& folder) { return OpenStore(folder); };
  config.advances = clock_ == nullptr;
  Result<server::OpenedState> opened;
  {
    const nb::gil_scoped_release unlock;
    opened = server::OpenState(config);
  }
  if (opened && !opened->owned) {
    opened = Fail(ErrorCode::kInUse,
                  "state_dir: " + opened->owner +
                      "; end that process, or reach its accounts with `mete .. --state-dir`");
  }
  state_ = Need(std::move(opened)).owned;
  manager_ = &state_->manager();
}

void Engine::Close() {
  if (state_ == nullptr || process_ != forks.load(std::memory_order_relaxed)) return;
  Stop();
  if (state_ == nullptr) return;  // another thread closed it meanwhile
  manager_ = nullptr;
  std::unique_ptr<server::OwnedState> state = std::move(state_);
  const nb::gil_scoped_release unlock;
  for (int busy; (busy = busy_.load()) != 0;) busy_.wait(busy);
  state.reset();
}

Engine::~Engine() {
  if (process_ != forks.load(std::memory_order_relaxed)) {
    static_cast<void>(own_.release());  // its threads are not here to be joined
    static_cast<void>(state_.release());
    static_cast<void>(clock_.release());
    return;
  }
  if (callbacks_here > 0) {  // the last reference fell in a callback: a thread cannot join itself
    ends.fetch_add(1);
    std::thread([manager = std::move(own_), state = std::move(state_), clock = std::move(clock_),
                 enforcer = std::move(enforcer_), wake = std::move(wake_)]() mutable {
      manager.reset();
      state.reset();
      {
        const nb::gil_scoped_acquire lock;
        wake.reset();
        enforcer.reset();
        clock.reset();
      }
      ends.fetch_sub(1);
      ends.notify_all();
    }).detach();
    return;
  }
  {
    const nb::gil_scoped_release unlock;
    own_.reset();
    state_.reset();
  }
}

void Engine::WaitForEnds() {
  const nb::gil_scoped_release unlock;
  for (int left = ends.load(); left != 0; left = ends.load()) ends.wait(left);
}

ResourceManager* Engine::Use() {
  if (process_ != forks.load(std::memory_order_relaxed)) {
    PyErr_SetString(PyExc_RuntimeError,
                    "this ResourceManager belongs to the process that this one was forked from; "
                    "make one here");
    return nullptr;
  }
  if (manager_ == nullptr) {
    PyErr_SetString(PyExc_RuntimeError,
                    "this ResourceManager was cleaned up; initialize() opens its state_dir again");
    return nullptr;
  }
  if (clock_ != nullptr && !clock_->Read()) return nullptr;
  return manager_;
}

ResourceManager& Engine::core() {
  ResourceManager* manager = Use();
  if (manager == nullptr) throw nb::python_error();
  return *manager;
}

void Engine::Start(nb::object perform, nb::object wake) {
  Stop();
  ResourceManager& manager = core();
  wake_ = std::make_unique<nb::object>(std::move(wake));
  enforcer_ = perform.is_none() ? nullptr : std::make_unique<CallingEnforcer>(std::move(perform));
  started_ = true;
  manager.Start(enforcer_.get(), [held = wake_.get()] {
    if (!nb::is_alive()) return;
    const Callback callback;
    const nb::object called = *held;
    if (!called.is_valid()) return;
    PyObject* result = PyObject_CallNoArgs(called.ptr());
    if (result == nullptr) PyErr_WriteUnraisable(called.ptr());
    Py_XDECREF(result);
  });
}

void Engine::Stop() {
  if (!started_ || process_ != forks.load(std::memory_order_relaxed)) return;
  if (callbacks_here > 0) {
    throw std::runtime_error(
        "a callback of a manager cannot start or stop one: they could wait "
        "for each other");
  }
  started_ = false;
  {
    const nb::gil_scoped_release unlock;
    manager_->Stop();
  }
  enforcer_.reset();
  wake_.reset();
}

int Engine::Traverse(visitproc visit, void* arg) {
  if (clock_ != nullptr) Py_VISIT(clock_->callable());
  if (enforcer_ != nullptr) Py_VISIT(enforcer_->perform());
  if (wake_ != nullptr) Py_VISIT(wake_->ptr());
  return 0;
}

void Engine::Clear() {
  if (clock_ != nullptr) clock_->Drop();
  if (enforcer_ != nullptr) enforcer_->Drop();
  if (wake_ != nullptr) wake_->reset();
}

std::string_view TextOf(const char* argument, nb::handle object) {
  Py_ssize_t size = 0;
  const char* text = nullptr;
  if (PyUnicode_Check(object.ptr())) {
    text = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
    if (text == nullptr) PyErr_Clear();
  }
  if (text == nullptr) {
    RaiseInvalid(std::string(argument) + ": text that UTF-8 can say is allowed, not " +
                 (PyUnicode_Check(object.ptr()) ? "half of a surrogate pair"
                                                : Py_TYPE(object.ptr())->tp_name));
    throw nb::python_error();
  }
  return {text, static_cast<std::size_t>(size)};
}

std::optional<QuotaScope> ScopeOf(PyObject* scope) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_Check(scope) ? PyUnicode_AsUTF8AndSize(scope, &size) : nullptr;
  if (text != nullptr) {
    const auto found = FindScope({text, static_cast<std::size_t>(size)});
    if (found) return found;
  }
  PyErr_Clear();
  const std::string given = Shown(scope);
  if (!given.empty()) RaiseInvalid("scope: agent, session and tenant are allowed, not " + given);
  return std::nullopt;
}

std::string_view IdOf(QuotaScope scope, nb::handle id) {
  return TextOf((std::string(NameOf(scope)) + " id").c_str(), id);
}

Target TargetOf(nb::handle scope, nb::handle id) {
  const std::optional<QuotaScope> found = ScopeOf(scope.ptr());
  if (!found) throw nb::python_error();
  return Target(*found, IdOf(*found, id));
}

void Throw(const Error& error) {
  Raise(error);
  throw nb::python_error();
}

}  // namespace mete::python
