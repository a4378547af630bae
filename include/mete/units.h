// Amounts as people write them, and the int64 base units that mete counts in.
//
// A quantity is what Kubernetes calls one: a decimal number and a suffix, "500m", "2Gi", "1e3".
// It is read exactly, without floating point; what is finer than a billionth is rounded away from
// zero, so that asking for a little never becomes nothing. docs/quantities.md has the grammar.
//
// Every refusal is E2071. Its message says what is allowed, shows the text (escaped and shortened)
// and counts the characters up to the first that could not be part of any valid text. It does not
// name the field, which only the caller knows.
//
// Thread safety: free functions hold no state; values are like std::string.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "mete/clock.h"
#include "mete/error.h"

namespace mete {

// An exact amount of at most 2^63-1 whole units in magnitude, with nine decimal places, and the
// text it came from. Kubernetes caps binary amounts beyond that silently; mete refuses them.
class Quantity {
 public:
  // The three ways to write a suffix: k, Ki and e3.
  enum class Family : std::uint8_t { kDecimal, kBinary, kExponent };

  // Zero, entered as "0".
  Quantity() = default;

  // Accepts `[+-] number suffix` and nothing else: no spaces, no empty text, no trailing NUL.
  // Cost: tens of nanoseconds; allocates only to keep a text of more than 15 characters.
  static Result<Quantity> Parse(std::string_view text);

  // As it was entered: "1.5Gi".
  const std::string& text() const noexcept { return text_; }

  // In whole units, rounded away from zero: 1 for "100m", -1 for "-100m". Always fits.
  std::int64_t Value() const noexcept;

  // In thousandths, rounded away from zero, and in billionths, exact. E2071 beyond int64, which
  // "1E" is in both.
  Result<std::int64_t> Milli() const;
  Result<std::int64_t> Nano() const;

  // The one spelling of this amount in its family (binary, decimal or exponent): no fraction, no
  // precision lost, the largest suffix. "1536Mi" for "1.5Gi", "1500m" for "1.5". A binary amount
  // below 1024, or with a fraction, is printed with decimal suffixes.
  std::string Canonical() const;

  bool IsNegative() const noexcept { return nano_ < 0; }
  bool IsZero() const noexcept { return nano_ == 0; }

  // Compares amounts, not spellings: "1Ki" equals "1024".
  friend bool operator==(const Quantity& a, const Quantity& b) noexcept {
    return a.nano_ == b.nano_;
  }
  friend std::strong_ordering operator<=>(const Quantity& a, const Quantity& b) noexcept {
    return a.nano_ <=> b.nano_;
  }

 private:
  __extension__ using Int128 = __int128;

  // Whole units times 10^9: at most 2^93, so 64 bits would not do.
  Int128 nano_ = 0;
  std::string text_ = "0";
  Family family_ = Family::kDecimal;
};

// What an int64 amount counts: whole units (bytes, tokens) or billionths of one (CPU time, money).
enum class AmountScale : std::uint8_t { kWhole, kNano };

// The amount of a limit: a quantity that is not negative, rounded up to the scale. The largest
// int64 is refused like everything above it, because mete marks "unlimited" with it.
Result<std::int64_t> ParseLimitAmount(std::string_view text, AmountScale scale);

// "256Mi": the canonical quantity of a number of bytes.
std::string CanonicalBytes(std::int64_t bytes);

// For people: "45.2 MiB", rounded to the nearest tenth; "256 MiB" and "12 B" where exact.
std::string FormatBytes(std::int64_t bytes);

// Billionths as a plain decimal number, exact both ways: 250000000 is "0.25". Reading takes
// `[+-] number` and refuses more than nine decimal places that matter, rather than rounding.
Result<std::int64_t> ParseNanoDecimal(std::string_view text);
std::string FormatNanoDecimal(std::int64_t nano);

// A time span of zero or more: numbers with d, h, m, s, ms, us or ns, from the longest to the
// shortest ("1h30m", "500ms"); only the last may have a fraction ("1.5s"). A number alone is
// seconds. What is finer than a nanosecond is refused.
Result<Duration> ParseDuration(std::string_view text);

// Exact: reading it gives the same span. "1h30m", "1m2.5s", "500ms", "0s"; '-' before a negative.
std::string FormatDuration(Duration span);

}  // namespace mete
