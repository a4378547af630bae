// The native half of the package `mete`: the manager, its events and quantities. What people see
// stands in python/mete/; what is here takes and gives plain values and the dataclasses of there.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "amounts.h"
#include "awaitable.h"
#include "engine.h"
#include "mete/units.h"
#include "models.h"

namespace mete::python {
namespace {

using namespace nb::literals;

Duration Nanoseconds(std::int64_t count) { return Duration(count); }

// --- The manager ---

void MakeEngine(Engine* self, const nb::dict& limits, const nb::dict& policies,
                const std::vector<int>& thresholds, std::int64_t soft_grace, std::int64_t window,
                std::int64_t usage_interval, nb::object clock, std::string state_dir,
                const std::string& durability) {
  ManagerConfig config;
  const ResourceLimits given = LimitsFrom(limits, "default_limits.");
  for (const LimitInfo& info : AllLimits()) {
    if (given[info.kind]) config.default_limits[info.kind] = given[info.kind];
  }
  for (const auto& [resource, policy] : PoliciesFrom(policies)) {
    config.policies[static_cast<std::size_t>(resource)] = policy;
  }
  config.thresholds = thresholds;
  config.soft_grace_reported = Nanoseconds(soft_grace);
  config.window = Nanoseconds(window);
  config.usage_report_interval = Nanoseconds(usage_interval);
  config.durability = FindDurability(durability).value_or(config.durability);  // read_config's
  new (self) Engine(std::move(config), std::move(clock), std::move(state_dir));
}

nb::object CreateQuota(Engine& self, const nb::object& scope, const nb::object& id,
                       const nb::dict& limits, const nb::object& parent, const nb::dict& policies,
                       std::optional<std::int64_t> window, bool exist_ok) {
  QuotaOptions options;
  if (!parent.is_none()) options.parent = NameFrom("parent", parent);
  for (const auto& [resource, policy] : PoliciesFrom(policies)) {
    options.policies[static_cast<std::size_t>(resource)] = policy;
  }
  if (window) options.window = Nanoseconds(*window);
  options.exist_ok = exist_ok;
  const Target target = TargetOf(scope, id);
  const ResourceLimits given = LimitsFrom(limits);
  return ModelOf(Need(self.Do([&](ResourceManager& core) {
                   return core.CreateQuota(target, given, options);
                 })),
                 self.clock());
}

nb::object GetQuota(Engine& self, const nb::object& scope, const nb::object& id) {
  ResourceManager& core = self.core();
  return ModelOf(Need(core.GetQuota(TargetOf(scope, id))), core.clock());
}

nb::list ListQuotas(Engine& self, const nb::object& scope) {
  std::optional<QuotaScope> wanted;
  if (!scope.is_none()) {
    wanted = ScopeOf(scope.ptr());
    if (!wanted) throw nb::python_error();
  }
  ResourceManager& core = self.core();
  std::vector<ResourceQuota> quotas;
  const Engine::Busy busy(self);
  {
    const nb::gil_scoped_release unlock;
    quotas = core.ListQuotas(wanted);
  }
  nb::list listed;
  for (const ResourceQuota& quota : quotas) listed.append(ModelOf(quota, core.clock()));
  return listed;
}

nb::object UpdateQuota(Engine& self, const nb::object& scope, const nb::object& id,
                       const nb::dict& limits) {
  const Target target = TargetOf(scope, id);
  const ResourceLimits given = LimitsFrom(limits);
  return ModelOf(
      Need(self.Do([&](ResourceManager& core) { return core.UpdateQuota(target, given); })),
      self.clock());
}

nb::object ResetQuota(Engine& self, const nb::object& scope, const nb::object& id) {
  const Target target = TargetOf(scope, id);
  return ModelOf(Need(self.Do([&](ResourceManager& core) { return core.ResetQuota(target); })),
                 self.clock());
}

void CleanupQuota(Engine& self, const nb::object& scope, const nb::object& id, bool cascade) {
  const Target target = TargetOf(scope, id);
  ResourceManager& core = self.core();
  Result<void> done;
  const Engine::Busy busy(self);
  {
    const nb::gil_scoped_release unlock;
    done = core.CleanupQuota(target, cascade);
  }
  Need(std::move(done));
}

// What is in memory only goes; what is kept in a folder stays there.
void End(Engine& self) {
  if (self.waits()) {
    self.Close();
    return;
  }
  ResourceManager& core = self.core();
  const nb::gil_scoped_release unlock;
  for (const QuotaScope scope : {QuotaScope::kTenant, QuotaScope::kSession, QuotaScope::kAgent}) {
    for (const ResourceQuota& quota : core.ListQuotas(scope)) {
      static_cast<void>(core.CleanupQuota(quota.target, true));  // gone already: as wanted
    }
  }
}

nb::object GetUsage(Engine& self, const nb::object& scope, const nb::object& id) {
  return ModelOf(Need(self.core().GetUsage(TargetOf(scope, id))));
}

// --- Holds: their owner is an object of mete, which ends them ---

HoldId Reserve(Engine& self, const nb::object& scope, const nb::object& id, const nb::dict& amounts,
               std::optional<std::int64_t> ttl) {
  ReserveOptions options;
  if (ttl) options.ttl = Nanoseconds(*ttl);
  const Target target = TargetOf(scope, id);
  const Amounts wanted = AmountsFrom(amounts);
  return Need(self.Do([&](ResourceManager& core) { return core.Reserve(target, wanted, options); }))
      .Detach();
}

nb::object Settle(Engine& self, HoldId hold, const nb::dict& amounts) {
  const Amounts actual = AmountsFrom(amounts);
  return ModelOf(Need(self.Do([&](ResourceManager& core) { return core.Settle(hold, actual); })));
}

// --- Events ---

// A reader that has taken a batch and hands it out one by one.
class Events {
 public:
  explicit Events(EventReader reader) : reader_(std::move(reader)) {}

  // At most `most` events whose kind is in `kinds`, a bit for each; the others are dropped here,
  // before they become objects.
  nb::list Take(std::size_t most, std::uint32_t kinds) {
    nb::list taken;
    for (std::size_t count = 0; count < most;) {
      EventReader::Batch batch;
      {
        const nb::gil_scoped_release unlock;
        batch = reader_.Take(most - count);
      }
      if (batch.events.empty()) break;
      missed_ += batch.missed;
      for (const Event& event : batch.events) {
        if ((kinds >> static_cast<int>(event.kind) & 1) == 0) continue;
        taken.append(ModelOf(event, std::exchange(missed_, 0)));
        ++count;
      }
    }
    return taken;
  }

  bool Wait(double seconds) {
    const nb::gil_scoped_release unlock;
    constexpr double kLongest = 3e9;
    return reader_.Wait(std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(std::min(std::max(seconds, 0.0), kLongest))));
  }

 private:
  EventReader reader_;
  std::uint64_t missed_ = 0;
};

// --- Quantities ---

Quantity ParseQuantity(const nb::object& text) {
  Result<Quantity> parsed = Quantity::Parse(TextOf("quantity", text));
  if (!parsed) {
    RaiseInvalid("quantity: " + parsed.error().message);
    throw nb::python_error();
  }
  return *std::move(parsed);
}

Quantity ParsePositive(const char* what, const nb::object& text) {
  Result<Quantity> parsed = Quantity::Parse(TextOf(what, text));
  if (!parsed || parsed->IsNegative()) {
    RaiseInvalid(std::string(what) + ": " +
                 (parsed ? "0 or more is allowed, not " + parsed->text() : parsed.error().message));
    throw nb::python_error();
  }
  return *std::move(parsed);
}

double InBillionths(const Quantity& quantity) {
  const Result<std::int64_t> nano = quantity.Nano();
  return nano ? static_cast<double>(*nano) / 1e9 : static_cast<double>(quantity.Value());
}

double ParseCpu(const nb::object& text) { return InBillionths(ParsePositive("cpu", text)); }

// Ki, Mi, Gi count MiB of 2^20 bytes; everything else counts MB of 10^6: "2Gi" is 2048, "4G" 4000.
double ParseMemoryMb(const nb::object& text) {
  const Quantity quantity = ParsePositive("memory", text);
  const std::string& entered = quantity.text();
  const bool binary = !entered.empty() && entered.back() == 'i';
  return static_cast<double>(quantity.Value()) / (binary ? 1 << 20 : 1'000'000);
}

// --- Binding ---

int TraverseEngine(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<Engine>(self)->Traverse(visit, arg) : 0;
}

int ClearEngine(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<Engine>(self)->Clear();
  return 0;
}

PyType_Slot engine_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(TraverseEngine)},
    {Py_tp_clear, reinterpret_cast<void*>(ClearEngine)},
    {Py_tp_methods, report_methods},
    {0, nullptr},
};

void BindActions(nb::class_<Engine>& engine) {
  engine
      .def(
          "native_suspend",
          [](Engine& self, const nb::object& scope, const nb::object& id) {
            const Target target = TargetOf(scope, id);
            Need(self.Do([&](ResourceManager& core) { return core.Suspend(target); }));
          },
          "scope"_a.none(), "id"_a.none())
      .def("native_resume",
           [](Engine& self, const nb::object& scope, const nb::object& id, bool override_causes) {
             const Target target = TargetOf(scope, id);
             Need(self.Do(
                 [&](ResourceManager& core) { return core.Resume(target, override_causes); }));
           })
      .def(
          "native_terminate",
          [](Engine& self, const nb::object& scope, const nb::object& id) {
            const Target target = TargetOf(scope, id);
            Need(self.Do([&](ResourceManager& core) { return core.Terminate(target); }));
          },
          "scope"_a.none(), "id"_a.none())
      .def("native_is_throttled",
           [](Engine& self, const nb::object& scope, const nb::object& id) {
             return Need(self.core().IsThrottled(TargetOf(scope, id)));
           })
      .def(
          "native_clear_throttle",
          [](Engine& self, const nb::object& scope, const nb::object& id) {
            const Target target = TargetOf(scope, id);
            Need(self.Do([&](ResourceManager& core) { return core.ClearThrottle(target); }));
          },
          "scope"_a.none(), "id"_a.none())
      .def("native_advance",
           [](Engine& self) {
             ResourceManager& core = self.core();
             const Engine::Busy busy(self);
             const nb::gil_scoped_release unlock;
             core.Advance();
           })
      .def(
          "native_events",
          [](Engine& self, std::optional<std::uint64_t> after) {
            ResourceManager& core = self.core();
            return Events(after ? core.EventsAfter(*after) : core.Events());
          },
          "after"_a.none())
      .def("native_take_intents",
           [](Engine& self, std::size_t most) { return self.core().TakeIntents(most); })
      .def(
          "native_finish_intent",
          [](Engine& self, const Intent& intent, std::optional<std::string> failure) {
            Result<void> result;
            if (failure) {
              result = Fail(intent.verb == Verb::kTerminate ? ErrorCode::kTerminateFailed
                                                            : ErrorCode::kSuspendFailed,
                            *std::move(failure));
            }
            if (!self.is_closed()) self.core().FinishIntent(intent, result);
          },
          "intent"_a, "failure"_a.none())
      .def("native_open", &Engine::Open)
      .def("native_close", &Engine::Close)
      .def("native_start", &Engine::Start, "perform"_a.none(), "wake"_a)
      .def("native_stop", &Engine::Stop);
}

void BindEngine(nb::module_& module) {
  nb::class_<Engine> engine(module, "Engine", nb::type_slots(engine_slots));
  engine
      .def("__init__", &MakeEngine, "default_limits"_a, "policies"_a, "thresholds"_a,
           "soft_grace_ns"_a, "window_ns"_a, "usage_interval_ns"_a, "clock"_a.none(), "state_dir"_a,
           "durability"_a)
      .def("native_create", &CreateQuota, "scope"_a.none(), "id"_a.none(), "limits"_a,
           "parent"_a.none(), "policies"_a, "window_ns"_a.none(), "exist_ok"_a)
      .def("native_get", &GetQuota, "scope"_a.none(), "id"_a.none())
      .def("native_list", &ListQuotas, "scope"_a.none())
      .def("native_update", &UpdateQuota, "scope"_a.none(), "id"_a.none(), "limits"_a)
      .def("native_reset", &ResetQuota, "scope"_a.none(), "id"_a.none())
      .def("native_cleanup", &CleanupQuota, "scope"_a.none(), "id"_a.none(), "cascade"_a)
      .def("native_end", &End)
      .def("native_usage", &GetUsage, "scope"_a.none(), "id"_a.none())
      .def("native_reserve", &Reserve, "scope"_a.none(), "id"_a.none(), "amounts"_a,
           "ttl_ns"_a.none())
      .def("native_settle", &Settle)
      .def("native_release",
           [](Engine& self, HoldId hold) {
             Need(self.Do([&](ResourceManager& core) { return core.Release(hold); }));
           })
      .def("native_abandon", [](Engine& self, HoldId hold) {
        if (self.is_closed()) return;  // the hold ends by its time to live
        if (self.Use() != nullptr) {
          self.Do([&](ResourceManager& core) { core.Abandon(hold); });
        } else {
          PyErr_Clear();  // of a process that this one was forked from, or a broken clock
        }
      });
  BindActions(engine);
}

void BindValues(nb::module_& module) {
  nb::class_<Intent>(module, "Intent")
      .def_prop_ro("verb", [](const Intent& intent) { return std::string(NameOf(intent.verb)); })
      .def_prop_ro("agent_id", [](const Intent& intent) { return intent.target.id; })
      .def_prop_ro("account", [](const Intent& intent) { return TextOfName(intent.account); })
      .def_prop_ro("limit",
                   [](const Intent& intent) -> std::optional<std::string> {
                     if (!intent.limit) return std::nullopt;
                     return std::string(InfoOf(*intent.limit).name);
                   })
      .def_ro("attempt", &Intent::attempt);
  nb::class_<Events>(module, "Events")
      .def("take", &Events::Take, "most"_a, "kinds"_a)
      .def("wait", &Events::Wait, "seconds"_a);
  nb::class_<Quantity>(module, "Quantity", "An exact amount, and the text it came from.")
      .def(
          "__init__",
          [](Quantity* self, const nb::object& text) { new (self) Quantity(ParseQuantity(text)); },
          "text"_a.none())
      .def_prop_ro("value", &Quantity::Value, "In whole units, rounded away from zero.")
      .def_prop_ro(
          "milli", [](const Quantity& self) { return Need(self.Milli()); },
          "In thousandths, rounded away from zero.")
      .def_prop_ro("canonical", &Quantity::Canonical, "The one spelling of this amount.")
      .def("__str__", &Quantity::text)
      .def("__repr__", [](const Quantity& self) { return "Quantity('" + self.text() + "')"; })
      .def("__hash__", [](const Quantity& self) { return nb::hash(nb::int_(self.Value())); })
      .def(
          "__eq__", [](const Quantity& a, const Quantity& b) { return a == b; }, nb::is_operator())
      .def(
          "__lt__", [](const Quantity& a, const Quantity& b) { return a < b; }, nb::is_operator())
      .def(
          "__le__", [](const Quantity& a, const Quantity& b) { return a <= b; }, nb::is_operator())
      .def(
          "__gt__", [](const Quantity& a, const Quantity& b) { return a > b; }, nb::is_operator())
      .def(
          "__ge__", [](const Quantity& a, const Quantity& b) { return a >= b; }, nb::is_operator());
  module.def("parse_cpu", &ParseCpu, "text"_a.none(), "\"500m\" is 0.5 cores.");
  module.def("parse_memory_mb", &ParseMemoryMb, "text"_a.none(),
             "\"2Gi\" is 2048 (of 2^20 bytes), \"4G\" is 4000 (of 10^6).");
  module.def("wait_for_ends", &Engine::WaitForEnds);
  module.def("event_kinds", [] {
    std::vector<std::string> names;
    for (int kind = 0; kind <= static_cast<int>(EventKind::kStoreRecovered); ++kind) {
      names.emplace_back(NameOf(static_cast<EventKind>(kind)));
    }
    return names;
  });
  module.def(
      "done",
      [](nb::object value, nb::object error, nb::str what) {
        const bool failed = !error.is_none();
        return nb::steal(NewDone(failed ? nullptr : value.release().ptr(),
                                 failed ? error.release().ptr() : nullptr, what.ptr()));
      },
      "value"_a.none(), "error"_a.none(), "what"_a);
}

}  // namespace
}  // namespace mete::python

NB_MODULE(_native, module) {
  // Objects that live until the interpreter ends are no leak.
  nanobind::set_leak_warnings(false);
  if (!mete::python::FindClasses() || !mete::python::AddAwaitables(module.ptr())) {
    throw nanobind::python_error();
  }
  mete::python::BindValues(module);
  mete::python::BindEngine(module);
}
