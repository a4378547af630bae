#include "amounts.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "mete/units.h"

namespace mete::python {
namespace {

__extension__ using UInt128 = unsigned __int128;

constexpr std::int64_t kNano = 1'000'000'000;
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

PyObject* resource_error = nullptr;  // the classes live as long as the process
PyObject* decimal = nullptr;
PyObject* show = nullptr;  // mete._errors.shown

// value * scale, rounded once, to the nearest integer (ties to even): a product of doubles would
// round twice, and past 2^53 nanoseconds, which is 104 days, lose some. The double is taken apart
// by its bits, which are a 53-bit integer and a power of two. REQUIRES: 0 <= value.
std::optional<std::int64_t> ScaledExactly(double value, std::int64_t scale) {
  constexpr int kFractionBits = 52;
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(value) & ~(std::uint64_t{1} << 63);
  const int power = static_cast<int>(bits >> kFractionBits);
  const std::uint64_t fraction = bits & ((std::uint64_t{1} << kFractionBits) - 1);
  const std::uint64_t integer =
      power == 0 ? fraction : fraction | std::uint64_t{1} << kFractionBits;
  const int exponent = std::max(power, 1) - 1023 - kFractionBits;

  UInt128 product = static_cast<UInt128>(integer) * static_cast<UInt128>(scale);
  if (exponent >= 0) {
    product <<= exponent;  // at most 2^83 * 2^10
  } else if (exponent <= -100) {
    return 0;  // the product is below 2^83
  } else {
    const UInt128 half = static_cast<UInt128>(1) << (-exponent - 1);
    const UInt128 rest = product & (2 * half - 1);
    product >>= -exponent;
    if (rest > half || (rest == half && (product & 1) != 0)) ++product;
  }
  if (product > static_cast<UInt128>(kMost)) return std::nullopt;
  return static_cast<std::int64_t>(product);
}

// The same; nothing at 2^63 and above. A product below 2^40 is off by 2^-13 at most, so where it is
// further than that from a half, its nearest integer is that of the exact one: nearly always, and
// three times as fast.
std::optional<std::int64_t> Scaled(double value, std::int64_t scale) {
  constexpr double kRounder = 0x1.8p52;  // added to it, a double loses its fraction
  const double product = value * static_cast<double>(scale);
  const double rounded = (product + kRounder) - kRounder;
  if (product < 0x1p40 && std::abs(product - rounded) < 0.4998) [[likely]] {
    return static_cast<std::int64_t>(rounded);
  }
  return value < 0x1p63 ? ScaledExactly(value, scale) : std::nullopt;
}

bool Refuse(const Field& field, const char* allowed, PyObject* value) {
  const std::string given = Shown(value);
  if (given.empty()) return false;
  RaiseInvalid(std::string(field.name) + ": " + allowed + ", not " + given);
  return false;
}

// A whole number times `scale`.
bool SetWhole(Amounts& amounts, const Field& field, PyObject* number, std::int64_t scale,
              const char* allowed) {
  int overflow = 0;
  const long long whole = PyLong_AsLongLongAndOverflow(number, &overflow);
  if (whole == -1 && PyErr_Occurred() != nullptr) return false;
  std::int64_t amount = 0;
  if (overflow != 0 || whole < 0 || __builtin_mul_overflow(whole, scale, &amount)) {
    return Refuse(field, allowed, number);
  }
  amounts.Set(field.resource, amount);
  return true;
}

// Seconds, or MiB: any real number. A bool is one to Python, but never meant as one here.
bool SetReal(Amounts& amounts, const Field& field, PyObject* value, std::int64_t scale,
             const char* allowed) {
  if (PyLong_CheckExact(value)) return SetWhole(amounts, field, value, scale, allowed);
  double real = 0;
  if (PyFloat_Check(value)) {
    real = PyFloat_AS_DOUBLE(value);
  } else {
    if (PyBool_Check(value)) return Refuse(field, allowed, value);
    real = PyFloat_AsDouble(value);  // whatever has __float__ or __index__: numpy, Fraction
    if (real == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      return Refuse(field, allowed, value);
    }
  }
  const std::optional<std::int64_t> amount = real >= 0 ? Scaled(real, scale) : std::nullopt;
  if (!amount) return Refuse(field, allowed, value);
  amounts.Set(field.resource, *amount);
  return true;
}

bool SetCount(Amounts& amounts, const Field& field, PyObject* value) {
  constexpr const char* kAllowed = "a whole number, 0 or more and below 2^63, is allowed";
  if (PyLong_CheckExact(value)) return SetWhole(amounts, field, value, 1, kAllowed);
  // 5.0 too: whoever computes counts with floats has lost some before.
  if (PyBool_Check(value) || !PyIndex_Check(value)) return Refuse(field, kAllowed, value);
  PyObject* index = PyNumber_Index(value);
  if (index == nullptr) return false;
  const bool set = SetWhole(amounts, field, index, 1, kAllowed);
  Py_DECREF(index);
  return set;
}

// A float is refused: 0.1 is not the tenth that was written, and money is not rounded silently.
bool SetMoney(Amounts& amounts, const Field& field, PyObject* value) {
  constexpr const char* kAllowed =
      "an amount of 0 or more as str or Decimal, with nine decimal places at most, is allowed";
  PyObject* text = nullptr;
  if (PyUnicode_Check(value)) {
    text = Py_NewRef(value);
  } else if (PyLong_Check(value) && !PyBool_Check(value)) {
    text = PyObject_Str(value);
  } else if (PyObject_IsInstance(value, decimal) == 1) {
    PyObject* plain = PyUnicode_InternFromString("f");
    text = plain != nullptr ? PyObject_Format(value, plain) : nullptr;
    Py_XDECREF(plain);
  } else {
    return Refuse(field, kAllowed, value);
  }
  if (text == nullptr) {  // as for an int of too many digits
    if (PyErr_ExceptionMatches(PyExc_Exception) == 0) return false;
    PyErr_Clear();
    return Refuse(field, kAllowed, value);
  }
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text, &size);
  Result<std::int64_t> amount = Fail(ErrorCode::kInvalidArgument, "");
  if (bytes != nullptr) {
    amount = ParseNanoDecimal(std::string_view(bytes, static_cast<std::size_t>(size)));
  } else {
    PyErr_Clear();  // half of a surrogate pair
  }
  Py_DECREF(text);
  if (!amount || *amount < 0) return Refuse(field, kAllowed, value);
  amounts.Set(field.resource, *amount);
  return true;
}

}  // namespace

const Field& FieldOf(Resource resource) noexcept {
  for (const Field& field : kFields) {
    if (field.resource == resource) return field;
  }
  return kFields[0];
}

const Field* FindField(PyObject* name) {
  for (const Field& field : kFields) {
    if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, field.name) == 0) {
      return &field;
    }
  }
  std::string allowed;
  for (const Field& field : kFields)
    allowed += std::string(allowed.empty() ? "" : ", ") + field.name;
  const std::string given = Shown(name);
  if (!given.empty()) RaiseInvalid("amount: " + allowed + " are allowed, not " + given);
  return nullptr;
}

bool SetAmount(Amounts& amounts, const Field& field, PyObject* value) {
  switch (field.resource) {
    case Resource::kCpu:
      return SetReal(amounts, field, value, kNano,
                     "seconds, 0 or more and below 2^63 ns, are allowed");
    case Resource::kMemory:
    case Resource::kGpuMemory:
      return SetReal(amounts, field, value, kMiB,
                     "MiB, 0 or more and below 2^63 bytes, are allowed");
    case Resource::kTokens:
    case Resource::kRequests: return SetCount(amounts, field, value);
    case Resource::kCost: return SetMoney(amounts, field, value);
  }
  return false;
}

PyObject* ToPython(Resource resource, std::int64_t amount) {
  switch (resource) {
    case Resource::kCpu:  // As long double, which holds every int64: so it is rounded once, to the
                          // nearest.
      return PyFloat_FromDouble(static_cast<double>(static_cast<long double>(amount) / kNano));
    case Resource::kMemory:
    case Resource::kGpuMemory: return PyFloat_FromDouble(static_cast<double>(amount) / kMiB);
    case Resource::kTokens:
    case Resource::kRequests: return PyLong_FromLongLong(amount);
    case Resource::kCost:
      return PyObject_CallFunction(decimal, "s", FormatNanoDecimal(amount).c_str());
  }
  Py_RETURN_NONE;
}

void Raise(const Error& error) {
  PyObject* instance =
      PyObject_CallFunction(resource_error, "ssd", ErrorCodeName(error.code), error.message.c_str(),
                            std::chrono::duration<double>(error.retry_after).count());
  if (instance == nullptr) return;
  PyErr_SetObject(resource_error, instance);
  Py_DECREF(instance);
}

void RaiseInvalid(std::string message) {
  Raise(Error{ErrorCode::kInvalidArgument, std::move(message)});
}

std::string Shown(PyObject* value) {
  PyObject* shown = PyObject_CallOneArg(show, value);
  const char* text = shown != nullptr ? PyUnicode_AsUTF8(shown) : nullptr;
  std::string given = text != nullptr ? text : "";
  Py_XDECREF(shown);
  return given;
}

bool FindClasses() {
  PyObject* errors = PyImport_ImportModule("mete._errors");
  if (errors == nullptr) return false;
  resource_error = PyObject_GetAttrString(errors, "ResourceError");
  show = PyObject_GetAttrString(errors, "shown");
  Py_DECREF(errors);
  PyObject* module = PyImport_ImportModule("decimal");
  if (module == nullptr) return false;
  decimal = PyObject_GetAttrString(module, "Decimal");
  Py_DECREF(module);
  return resource_error != nullptr && show != nullptr && decimal != nullptr;
}

}  // namespace mete::python
