#include "awaitable.h"

#include <cstddef>

#include "receipt.h"

namespace mete::python {
namespace {

PyTypeObject* done_type = nullptr;

struct Done {
  PyObject_HEAD PyObject* value;  // or
  PyObject* error;
  PyObject* what;
  bool awaited;
};

Done* AsDone(PyObject* self) { return reinterpret_cast<Done*>(self); }

PyObject* DoneSelf(PyObject* self) { return Py_NewRef(self); }

PySendResult DoneSend(PyObject* self, PyObject*, PyObject** result) {
  Done* done = AsDone(self);
  done->awaited = true;
  if (done->error != nullptr) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(done->error)), done->error);
    *result = nullptr;
    return PYGEN_ERROR;
  }
  *result = Py_NewRef(done->value);
  return PYGEN_RETURN;
}

PyObject* DoneNext(PyObject* self) {
  PyObject* value = nullptr;
  if (DoneSend(self, nullptr, &value) == PYGEN_RETURN) {
    StopWith(value);
    Py_DECREF(value);
  }
  return nullptr;
}

PyObject* DoneSendMethod(PyObject* self, PyObject*) { return DoneNext(self); }

// Who never looked at a failure is told, as Python tells of a coroutine that was never awaited.
void WarnOf(Done* done) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "%U failed and was not awaited: %S", done->what,
                       done->error) < 0) {
    PyErr_WriteUnraisable(nullptr);
  }
  PyErr_Restore(type, value, traceback);
}

void DoneDealloc(PyObject* self) {
  Done* done = AsDone(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (done->error != nullptr && !done->awaited) WarnOf(done);
  Py_CLEAR(done->value);
  Py_CLEAR(done->error);
  Py_CLEAR(done->what);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

int DoneTraverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(AsDone(self)->value);
  Py_VISIT(AsDone(self)->error);
  return 0;
}

int DoneClear(PyObject* self) {
  Py_CLEAR(AsDone(self)->value);
  Py_CLEAR(AsDone(self)->error);
  return 0;
}

PyMethodDef done_methods[] = {
    {"send", DoneSendMethod, METH_O, "As a coroutine's."},
    {"throw", ThrowInto, METH_VARARGS, "As a coroutine's: raises what it is given."},
    {"close", CloseNothing, METH_NOARGS, "As a coroutine's."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot done_slots[] = {
    {Py_tp_doc, const_cast<char*>("An answer that is there: await fetches it, or raises.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(DoneDealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(DoneTraverse)},
    {Py_tp_clear, reinterpret_cast<void*>(DoneClear)},
    {Py_tp_iter, reinterpret_cast<void*>(DoneSelf)},
    {Py_tp_iternext, reinterpret_cast<void*>(DoneNext)},
    {Py_am_await, reinterpret_cast<void*>(DoneSelf)},
    {Py_am_send, reinterpret_cast<void*>(DoneSend)},
    {Py_tp_methods, done_methods},
    {0, nullptr},
};

PyType_Spec done_spec = {
    "mete._native.Done", static_cast<int>(sizeof(Done)), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, done_slots};

}  // namespace

void StopWith(PyObject* value) {
  // Made here, since PyErr_SetObject would unpack a tuple.
  PyObject* stop = PyObject_CallOneArg(PyExc_StopIteration, value);
  if (stop == nullptr) return;
  PyErr_SetObject(PyExc_StopIteration, stop);
  Py_DECREF(stop);
}

PyObject* ThrowInto(PyObject*, PyObject* arguments) {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  if (!PyArg_UnpackTuple(arguments, "throw", 1, 3, &type, &value, &traceback)) return nullptr;
  if (PyExceptionInstance_Check(type)) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(type)), type);
  } else if (PyExceptionClass_Check(type)) {
    PyErr_SetObject(type, value == Py_None ? nullptr : value);
  } else {
    PyErr_SetString(PyExc_TypeError, "throw: an exception is allowed");
  }
  return nullptr;
}

PyObject* CloseNothing(PyObject*, PyObject*) { Py_RETURN_NONE; }

PyObject* NewDone(PyObject* value, PyObject* error, PyObject* what) {
  Done* done = PyObject_GC_New(Done, done_type);
  if (done == nullptr) {
    Py_XDECREF(value);
    Py_XDECREF(error);
    return nullptr;
  }
  done->value = value;
  done->error = error;
  done->what = Py_NewRef(what);
  done->awaited = false;
  PyObject_GC_Track(reinterpret_cast<PyObject*>(done));
  return reinterpret_cast<PyObject*>(done);
}

PyObject* NewDoneFromError(PyObject* what) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return NewDone(nullptr, value, what);
}

bool AddAwaitables(PyObject* module) {
  done_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&done_spec));
  return done_type != nullptr && PyModule_AddType(module, done_type) == 0 && AddReceipt(module);
}

}  // namespace mete::python
