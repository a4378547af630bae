// report_usage, in both forms: the one call that is made all the time, and therefore reads its
// arguments itself. An interned keyword is found by its address.
#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>

#include "amounts.h"
#include "awaitable.h"
#include "engine.h"

namespace mete::python {
namespace {

enum Argument : std::size_t {
  kAgentId,
  kFirstAmount,
  kScope = kFirstAmount + kResourceCount,
  kKey,
};
constexpr std::size_t kArguments = kKey + 1;
constexpr std::size_t kPositional = 4;  // agent_id, cpu_seconds, memory_mb, tokens

struct Call {
  std::array<PyObject*, kArguments> given{};  // null: not given
  Target target = "";
};

// The interned names of the arguments, in their order.
const std::array<PyObject*, kArguments>& Names() {
  static const std::array<PyObject*, kArguments> names = [] {
    std::array<PyObject*, kArguments> made{};
    made[kAgentId] = PyUnicode_InternFromString("agent_id");
    for (std::size_t i = 0; i < kFields.size(); ++i) {
      made[kFirstAmount + i] = PyUnicode_InternFromString(kFields[i].name);
    }
    made[kScope] = PyUnicode_InternFromString("scope");
    made[kKey] = PyUnicode_InternFromString("idempotency_key");
    return made;
  }();
  return names;
}

std::size_t FindArgument(PyObject* name) {
  const auto& names = Names();
  for (std::size_t i = 0; i < kArguments; ++i) {
    if (names[i] == name) return i;
  }
  for (std::size_t i = 0; i < kArguments; ++i) {
    if (PyUnicode_Compare(names[i], name) == 0) return i;
  }
  return kArguments;
}

// False with a TypeError set, as for any function that is called wrongly.
bool ReadCall(Call& call, PyObject* const* arguments, Py_ssize_t count, PyObject* keywords) {
  if (count > static_cast<Py_ssize_t>(kPositional)) {
    PyErr_Format(PyExc_TypeError, "report_usage() takes at most %zu positional arguments",
                 kPositional);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) call.given[static_cast<std::size_t>(i)] = arguments[i];
  const Py_ssize_t named = keywords != nullptr ? PyTuple_GET_SIZE(keywords) : 0;
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(keywords, i);
    const std::size_t at = FindArgument(name);
    if (at == kArguments) {
      PyErr_Format(PyExc_TypeError, "report_usage() got an unexpected keyword argument %R", name);
      return false;
    }
    if (call.given[at] != nullptr) {
      PyErr_Format(PyExc_TypeError, "report_usage() got multiple values for argument %R", name);
      return false;
    }
    call.given[at] = arguments[count + i];
  }
  if (call.given[kAgentId] == nullptr) {
    PyErr_SetString(PyExc_TypeError, "report_usage() missing required argument 'agent_id'");
    return false;
  }
  return true;
}

// False with a ResourceError set. A function of its own, so that the target is in memory before it
// is copied into the call of the manager: written and read at once, it would stall the processor.
[[gnu::noinline]] bool ReadTarget(Call& call) {
  if (call.given[kScope] != nullptr) {
    const std::optional<QuotaScope> found = ScopeOf(call.given[kScope]);
    if (!found) return false;
    call.target.scope = *found;
  }
  PyObject* id = call.given[kAgentId];
  if (PyUnicode_Check(id) && PyUnicode_IS_COMPACT_ASCII(id)) {
    call.target.id = {reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(id)),
                      static_cast<std::size_t>(PyUnicode_GET_LENGTH(id))};
    return true;
  }
  try {
    call.target.id = IdOf(call.target.scope, id);
    return true;
  } catch (nb::python_error& error) {
    error.restore();
    return false;
  }
}

// The idempotency key, or empty. False with a ResourceError set.
bool ReadKey(const Call& call, std::string_view* key) {
  PyObject* given = call.given[kKey];
  if (given == nullptr || given == Py_None) return true;
  try {
    *key = TextOf("idempotency_key", given);
  } catch (nb::python_error& error) {
    error.restore();
    return false;
  }
  if (!key->empty()) return true;
  RaiseInvalid("idempotency_key: 1 to 255 bytes are allowed, not an empty text");
  return false;
}

// The receipt, or null with the Python error set.
PyObject* Record(PyObject* self, Call& call) {
  if (!nb::inst_ready(self)) {
    PyErr_SetString(PyExc_RuntimeError, "ResourceManager.__init__ was not called");
    return nullptr;
  }
  auto* engine = nb::inst_ptr<Engine>(self);
  if (!ReadTarget(call)) return nullptr;
  Amounts amounts;
  for (std::size_t i = 0; i < kFields.size(); ++i) {
    PyObject* value = call.given[kFirstAmount + i];
    if (value == nullptr || value == Py_None) continue;
    if (!SetAmount(amounts, kFields[i], value)) return nullptr;
  }
  ResourceManager* core = engine->Use();
  if (core == nullptr) return nullptr;
  std::string_view key;
  if (!ReadKey(call, &key)) return nullptr;
  const Result<Receipt> receipt = [&] {
    if (key.empty() && !engine->waits()) return core->ReportUsage(call.target, amounts);
    const Engine::Busy busy(*engine);
    const nb::gil_scoped_release unlock;
    return core->ReportUsage(call.target, amounts, ReportOptions{.key = key});
  }();
  if (receipt) return NewReceipt(*receipt);
  Raise(receipt.error());
  return nullptr;
}

PyObject* Report(PyObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* keywords) {
  Call call;
  return ReadCall(call, arguments, count, keywords) ? Record(self, call) : nullptr;
}

PyObject* ReportAwaited(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                        PyObject* keywords) {
  static PyObject* name = PyUnicode_InternFromString("report_usage");
  Call call;
  if (!ReadCall(call, arguments, count, keywords)) return nullptr;
  PyObject* receipt = Record(self, call);
  return receipt != nullptr ? receipt : NewDoneFromError(name);
}

PyCFunction AsFunction(_PyCFunctionFastWithKeywords function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace

PyMethodDef report_methods[] = {
    {"report", AsFunction(Report), METH_FASTCALL | METH_KEYWORDS,
     "Records what was used, and returns the receipt."},
    {"report_awaited", AsFunction(ReportAwaited), METH_FASTCALL | METH_KEYWORDS,
     "Records what was used at once; await gives the receipt, or raises."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace mete::python
