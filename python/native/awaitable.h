// Answers that can be awaited although they are there already.
//
// An operation does its work in the call; `await` only fetches what came of it. So there is no
// coroutine to make, to run and to throw away, which would cost more than the operation itself.
// Both types have what an asyncio task needs of a coroutine (send, throw, close): create_task,
// gather, wait_for and asyncio.run take them.
//
// They are types of the C interface of Python, not of nanobind, which keeps a table of the objects
// it makes: one more look-up at birth and at death.
#pragma once

#include <Python.h>

#include "mete/resource_manager.h"

namespace mete::python {

// Makes the types and adds them to the module. False with a Python error set.
bool AddAwaitables(PyObject* module);

// An answer that is a value, or an error that is raised when it is awaited; one that nobody awaited
// is a RuntimeWarning. Takes over the references to both, of which one is null. `what` names the
// call for that warning: a str.
PyObject* NewDone(PyObject* value, PyObject* error, PyObject* what);
// The same of the Python error that is set; clears it.
PyObject* NewDoneFromError(PyObject* what);

// What a report answers, which is its own awaitable. Null with a Python error set.
PyObject* NewReceipt(const Receipt& receipt);

}  // namespace mete::python
