// The Receipt of Python, and what it shares with the other awaitable.
#pragma once

#include <Python.h>

namespace mete::python {

bool AddReceipt(PyObject* module);

// Raises StopIteration(value): how an iterator, and with it an awaitable, returns a value.
void StopWith(PyObject* value);

// throw(exception) and close() of an awaitable that never suspends.
PyObject* ThrowInto(PyObject* self, PyObject* arguments);
PyObject* CloseNothing(PyObject* self, PyObject*);

}  // namespace mete::python
