#include "receipt.h"

#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <string>

#include "amounts.h"
#include "awaitable.h"
#include "mete/resource_manager.h"

namespace mete::python {
namespace {

PyTypeObject* receipt_type = nullptr;

struct ReceiptObject {
  PyObject_HEAD Receipt receipt;
};
static_assert(std::is_trivially_destructible_v<Receipt>);

const Receipt& Of(PyObject* self) { return reinterpret_cast<ReceiptObject*>(self)->receipt; }

PyObject* Self(PyObject* self) { return Py_NewRef(self); }

PySendResult Send(PyObject* self, PyObject*, PyObject** result) {
  *result = Py_NewRef(self);
  return PYGEN_RETURN;
}

PyObject* Next(PyObject* self) {
  StopWith(self);
  return nullptr;
}

PyObject* SendMethod(PyObject* self, PyObject*) { return Next(self); }

template <bool Receipt::* Member>
PyObject* GetFlag(PyObject* self, void*) {
  return PyBool_FromLong(Of(self).*Member);
}

template <ResourceSet Receipt::* Member>
PyObject* GetNames(PyObject* self, void*) {
  PyObject* names = PyFrozenSet_New(nullptr);
  for (const Field& field : kFields) {
    if (names == nullptr || !(Of(self).*Member).Has(field.resource)) continue;
    PyObject* name = PyUnicode_InternFromString(field.name);
    if (name == nullptr || PySet_Add(names, name) < 0) Py_CLEAR(names);
    Py_XDECREF(name);
  }
  return names;
}

template <std::array<std::int64_t, kResourceCount> Receipt::* Member>
PyObject* GetAmounts(PyObject* self, void*) {
  const Receipt& receipt = Of(self);
  PyObject* amounts = PyDict_New();
  for (const Field& field : kFields) {
    if (amounts == nullptr || !receipt.recorded.Has(field.resource)) continue;
    const std::int64_t amount = (receipt.*Member)[static_cast<std::size_t>(field.resource)];
    constexpr bool kIsUse = Member == &Receipt::used;  // never unlimited, though it may be as much
    PyObject* value =
        !kIsUse && amount == kUnlimited ? Py_NewRef(Py_None) : ToPython(field.resource, amount);
    if (value == nullptr || PyDict_SetItemString(amounts, field.name, value) < 0) {
      Py_CLEAR(amounts);
    }
    Py_XDECREF(value);
  }
  return amounts;
}

PyObject* GetRetryAfter(PyObject* self, void*) {
  return PyFloat_FromDouble(std::chrono::duration<double>(Of(self).retry_after).count());
}

// The field of a name, if this report was about it; null with a Python error set.
const Field* FindRecorded(PyObject* self, PyObject* name) {
  const Field* field = FindField(name);
  if (field == nullptr || Of(self).recorded.Has(field->resource)) return field;
  RaiseInvalid(std::string(field->name) + ": only what was reported is allowed");
  return nullptr;
}

PyObject* Load(PyObject* self, PyObject* name) {
  const Field* field = FindRecorded(self, name);
  return field != nullptr ? PyFloat_FromDouble(Of(self).load(field->resource)) : nullptr;
}

// In the unit of the field.
double InUnit(Resource resource, double base) {
  if (resource == Resource::kMemory || resource == Resource::kGpuMemory) return base / (1 << 20);
  return resource == Resource::kCpu || resource == Resource::kCost ? base / 1e9 : base;
}

PyObject* Rate(PyObject* self, PyObject* name) {
  const Field* field = FindRecorded(self, name);
  if (field == nullptr) return nullptr;
  return PyFloat_FromDouble(InUnit(field->resource, Of(self).rate_per_second(field->resource)));
}

PyObject* TimeToExhaustion(PyObject* self, PyObject* name) {
  const Field* field = FindRecorded(self, name);
  if (field == nullptr) return nullptr;
  const std::optional<Duration> time = Of(self).time_to_exhaustion(field->resource);
  if (!time) Py_RETURN_NONE;
  return PyFloat_FromDouble(std::chrono::duration<double>(*time).count());
}

PyObject* Repr(PyObject* self) {
  PyObject* used = GetAmounts<&Receipt::used>(self, nullptr);
  PyObject* rest = GetAmounts<&Receipt::remaining>(self, nullptr);
  PyObject* repr = nullptr;
  if (used != nullptr && rest != nullptr) {
    const Receipt& receipt = Of(self);
    repr = PyUnicode_FromFormat(
        "Receipt(used=%R, remaining=%R%s%s%s)", used, rest, receipt.suspended ? ", suspended" : "",
        receipt.throttled ? ", throttled" : "", receipt.terminated ? ", terminated" : "");
  }
  Py_XDECREF(used);
  Py_XDECREF(rest);
  return repr;
}

PyMethodDef methods[] = {
    {"send", SendMethod, METH_O, "As a coroutine's."},
    {"throw", ThrowInto, METH_VARARGS, "As a coroutine's: raises what it is given."},
    {"close", CloseNothing, METH_NOARGS, "As a coroutine's."},
    {"load", Load, METH_O, "Used over limit, under the tightest limit; 0.0 where unlimited."},
    {"rate_per_second", Rate, METH_O, "Used per second of the window."},
    {"time_to_exhaustion", TimeToExhaustion, METH_O,
     "Seconds that the rest lasts at that rate; None where it does not end."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef members[] = {
    {"recorded", GetNames<&Receipt::recorded>, nullptr, "The names of what was counted.", nullptr},
    {"measured", GetNames<&Receipt::measured>, nullptr,
     "The names of what was not counted, being measured from outside.", nullptr},
    {"suspended", GetFlag<&Receipt::suspended>, nullptr, "The target is suspended.", nullptr},
    {"throttled", GetFlag<&Receipt::throttled>, nullptr, "The target is throttled.", nullptr},
    {"terminated", GetFlag<&Receipt::terminated>, nullptr, "The target is to end.", nullptr},
    {"action_pending", GetFlag<&Receipt::action_pending>, nullptr,
     "This report made a policy ask for something new.", nullptr},
    {"replayed", GetFlag<&Receipt::replayed>, nullptr,
     "Its idempotency key was used before: nothing was counted again.", nullptr},
    {"durable", GetFlag<&Receipt::durable>, nullptr,
     "False while the state_dir cannot be written; then it is counted in memory.", nullptr},
    {"retry_after", GetRetryAfter, nullptr, "Seconds until the next request fits.", nullptr},
    {"used", GetAmounts<&Receipt::used>, nullptr, "Used in the main window, by name.", nullptr},
    {"limit", GetAmounts<&Receipt::limit>, nullptr,
     "Of all limits on the path the one that leaves the least, by name; None: unlimited.", nullptr},
    {"remaining", GetAmounts<&Receipt::remaining>, nullptr,
     "What is left under the tightest limit, by name; None: unlimited.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

void Dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("What a report answers. Awaiting it gives itself.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(Repr)},
    {Py_tp_iter, reinterpret_cast<void*>(Self)},
    {Py_tp_iternext, reinterpret_cast<void*>(Next)},
    {Py_am_await, reinterpret_cast<void*>(Self)},
    {Py_am_send, reinterpret_cast<void*>(Send)},
    {Py_tp_methods, methods},
    {Py_tp_getset, members},
    {0, nullptr},
};

PyType_Spec spec = {"mete.Receipt", static_cast<int>(sizeof(ReceiptObject)), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

PyObject* NewReceipt(const Receipt& receipt) {
  ReceiptObject* made = PyObject_New(ReceiptObject, receipt_type);
  if (made == nullptr) return nullptr;
  new (&made->receipt) Receipt(receipt);
  return reinterpret_cast<PyObject*>(made);
}

bool AddReceipt(PyObject* module) {
  receipt_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return receipt_type != nullptr && PyModule_AddType(module, receipt_type) == 0;
}

}  // namespace mete::python
