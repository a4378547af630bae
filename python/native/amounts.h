// Numbers of Python to base units and back.
#pragma once

#include <Python.h>

#include <array>
#include <cstdint>

#include "mete/error.h"
#include "mete/quota.h"

namespace mete::python {

// The names that amounts have in reports, reservations, settlements and receipts; each says its
// unit, and memory_mb is MiB.
struct Field {
  const char* name;
  Resource resource;
};
inline constexpr std::array<Field, kResourceCount> kFields = {{
    {"cpu_seconds", Resource::kCpu},
    {"memory_mb", Resource::kMemory},
    {"tokens", Resource::kTokens},
    {"gpu_memory_mb", Resource::kGpuMemory},
    {"requests", Resource::kRequests},
    {"cost", Resource::kCost},
}};
const Field& FieldOf(Resource resource) noexcept;

// Null, with E2071 set, for a name that is none.
const Field* FindField(PyObject* name);

// Sets the amount of a field from an object that is not None. What is negative, not finite, too
// large, or fractional where it is counted is E2071: false with the Python error set.
bool SetAmount(Amounts& amounts, const Field& field, PyObject* value);

// In the unit of the field's name: a float, an int, or a Decimal. Null with a Python error set.
PyObject* ToPython(Resource resource, std::int64_t amount);

// Makes the ResourceError of an error, and sets it.
void Raise(const Error& error);
void RaiseInvalid(std::string message);
// A value that was refused, in one printable line; empty with a Python error set.
std::string Shown(PyObject* value);

// Where ResourceError and Decimal are. False with a Python error set.
bool FindClasses();

}  // namespace mete::python
