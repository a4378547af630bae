// Reading quantities, and printing them canonically.
//
// One pass: digits into a 64-bit mantissa, the suffix as a power of ten and a shift, then one
// multiplication into 128 bits. That covers what people write: up to 19 digits, decimal suffixes up
// to G and all binary ones, up to nine decimal places. All else goes to SlowAmount, which is exact
// for any length. What is wrong with a refused text is found out afterwards, in
// quantity_refusal.cc.
#include <array>
#include <cstddef>
#include <limits>

#include "base/quantity_refusal.h"
#include "base/quote.h"
#include "mete/units.h"

namespace mete {
namespace {

__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

constexpr std::int64_t kNanoPlaces = 9;
constexpr std::uint64_t kNanoPerUnit = 1'000'000'000;
constexpr std::uint64_t kMaxUnits = std::numeric_limits<std::int64_t>::max();
constexpr UInt128 kMaxNano = UInt128{kMaxUnits} * kNanoPerUnit;

// 10^19 is the largest power of ten in 64 bits, and any 19 digits fit there.
constexpr int kFastDigits = 19;
constexpr auto kPowersOfTen = [] {
  std::array<std::uint64_t, kFastDigits + 1> powers{};
  std::uint64_t power = 1;
  for (auto& entry : powers) entry = power, power *= 10;
  return powers;
}();

// What a letter means alone, as a power of ten of nano, and before an i, as a power of two.
struct Letter {
  std::uint8_t power;
  bool alone;  // may stand alone; n has power 0, so that cannot tell
  std::uint8_t shift;
};
constexpr auto kLetters = [] {
  std::array<Letter, 256> letters{};
  const auto set = [&letters](char c, std::uint8_t power, bool alone, std::uint8_t shift) {
    letters[static_cast<unsigned char>(c)] = {power, alone, shift};
  };
  set('n', 0, true, 0), set('u', 3, true, 0), set('m', 6, true, 0), set('k', 12, true, 0);
  set('K', 0, false, 10), set('M', 15, true, 20), set('G', 18, true, 30);
  set('T', 21, true, 40), set('P', 24, true, 50), set('E', 27, true, 60);
  return letters;
}();

bool IsDigit(char c) { return static_cast<unsigned char>(c - '0') < 10; }
std::uint64_t DigitOf(char c) { return static_cast<std::uint64_t>(c - '0'); }

// The digits of a number, with at most one point among them.
struct Number {
  std::uint64_t mantissa = 0;  // meaningless beyond kFastDigits digits
  std::size_t digits = 0;
  std::size_t places = 0;  // digits after the point
  std::size_t length = 0;  // bytes, with the point
};

Number ReadNumber(const char* const start, const char* const end) {
  const char* at = start;
  Number number;
  for (; at != end && IsDigit(*at); ++at) number.mantissa = number.mantissa * 10 + DigitOf(*at);
  number.digits = static_cast<std::size_t>(at - start);
  if (at != end && *at == '.') {
    const char* const point = at++;
    for (; at != end && IsDigit(*at); ++at) number.mantissa = number.mantissa * 10 + DigitOf(*at);
    number.places = static_cast<std::size_t>(at - point - 1);
    number.digits += number.places;
  }
  number.length = static_cast<std::size_t>(at - start);
  return number;
}

// Exact for any number of digits, the first of which counts 10^power units. Decimal places are
// held in limbs of nine digits, so that the first limb is the billionths and the rest decides the
// rounding.
//
// Eight limbs are enough: with a suffix of 2^60 the amounts that are whole billionths are multiples
// of 10^-69 before it, so of digits beyond 72 places only "is any not zero" matters.
bool SlowAmount(std::string_view number, std::int64_t first, unsigned shift, UInt128* nano) {
  constexpr std::int64_t kLimbs = 8;
  constexpr std::int64_t kLimbDigits = 9;
  std::array<std::uint64_t, kLimbs> limbs{};
  std::uint64_t units = 0;
  bool beyond = false;

  for (const char c : number) {
    if (c == '.') continue;
    const std::int64_t power = first--;
    if (c == '0') continue;
    if (power >= kFastDigits) return false;
    if (power >= 0) {
      std::uint64_t added = kPowersOfTen[static_cast<std::size_t>(power)];
      if (__builtin_mul_overflow(added, DigitOf(c), &added)) return false;
      if (__builtin_add_overflow(units, added, &units)) return false;
    } else if (const std::int64_t place = -power - 1; place < kLimbs * kLimbDigits) {
      const std::int64_t within = kLimbDigits - 1 - place % kLimbDigits;
      limbs[static_cast<std::size_t>(place / kLimbDigits)] +=
          DigitOf(c) * kPowersOfTen[static_cast<std::size_t>(within)];
    } else {
      beyond = true;
    }
  }

  for (unsigned shifted = 0; shifted < shift; shifted += 10) {
    std::uint64_t carry = 0;
    for (std::size_t i = kLimbs; i-- > 0;) {
      const std::uint64_t limb = limbs[i] * 1024 + carry;
      limbs[i] = limb % kNanoPerUnit;
      carry = limb / kNanoPerUnit;
    }
    if (units > kMaxUnits / 1024) return false;
    units = units * 1024 + carry;
  }

  for (std::size_t i = 1; i < kLimbs; ++i) beyond |= limbs[i] != 0;
  *nano = UInt128{units} * kNanoPerUnit + limbs[0] + (beyond ? 1 : 0);
  return *nano <= kMaxNano;
}

// `[+-] digits` up to the end. Saturates far beyond any exponent that digits could make up for.
bool ReadExponent(const char* at, const char* end, std::int64_t* exponent) {
  const bool negative = at != end && *at == '-';
  if (at != end && (*at == '-' || *at == '+')) ++at;
  if (at == end) return false;
  std::int64_t value = 0;
  for (; at != end; ++at) {
    if (!IsDigit(*at)) return false;
    constexpr std::int64_t kFar = 100'000'000'000'000'000;
    if (value < kFar) value = value * 10 + static_cast<std::int64_t>(DigitOf(*at));
  }
  *exponent = negative ? -value : value;
  return true;
}

struct Suffix {
  std::int64_t power = kNanoPlaces;  // of ten, for nano
  unsigned shift = 0;                // power of two
  Quantity::Family family = Quantity::Family::kDecimal;
};

bool ReadSuffix(const char* at, const char* end, Suffix* suffix) {
  if (at == end) return true;
  const Letter letter = kLetters[static_cast<unsigned char>(*at)];
  if (end - at == 1) {
    suffix->power = letter.power;
    return letter.alone;
  }
  if (end - at == 2 && at[1] == 'i') {
    suffix->shift = letter.shift;
    suffix->family = Quantity::Family::kBinary;
    return letter.shift != 0;
  }
  if ((*at != 'e' && *at != 'E') || !ReadExponent(at + 1, end, &suffix->power)) return false;
  suffix->power += kNanoPlaces;
  suffix->family = Quantity::Family::kExponent;
  return true;
}

// False if the text is not a quantity, or too large for one.
bool ReadAmount(std::string_view text, Int128* nano, Quantity::Family* family) {
  const char* start = text.data();
  const char* const end = start + text.size();
  const bool negative = start != end && *start == '-';
  if (negative || (start != end && *start == '+')) ++start;

  const Number number = ReadNumber(start, end);
  Suffix suffix;
  if (number.digits == 0 || !ReadSuffix(start + number.length, end, &suffix)) return false;

  UInt128 magnitude = 0;
  const std::int64_t power = suffix.power - static_cast<std::int64_t>(number.places);
  if (number.digits <= kFastDigits && power >= 0 && power <= kFastDigits) [[likely]] {
    magnitude = UInt128{number.mantissa} * kPowersOfTen[static_cast<std::size_t>(power)];
    if (magnitude > kMaxNano >> suffix.shift) return false;
    magnitude <<= suffix.shift;
  } else {
    const std::int64_t first = power - kNanoPlaces + static_cast<std::int64_t>(number.digits) - 1;
    if (!SlowAmount({start, number.length}, first, suffix.shift, &magnitude)) return false;
  }
  *nano = negative ? -static_cast<Int128>(magnitude) : static_cast<Int128>(magnitude);
  *family = suffix.family;
  return true;
}

}  // namespace

Result<Quantity> Quantity::Parse(std::string_view text) {
  // The text is copied first: the processor then reads the digits while it still copies.
  Result<Quantity> result;
  result->text_.assign(text);
  if (!ReadAmount(text, &result->nano_, &result->family_)) [[unlikely]] {
    result = std::unexpected(QuantityRefusal(text));
  }
  return result;
}

namespace {

UInt128 MagnitudeOf(Int128 value) {
  return value < 0 ? -static_cast<UInt128>(value) : static_cast<UInt128>(value);
}

// Rounds away from zero. REQUIRES: the quotient fits.
std::int64_t DivideAway(Int128 nano, std::uint64_t divisor) {
  const UInt128 magnitude = MagnitudeOf(nano);
  const auto quotient = static_cast<std::int64_t>((magnitude + (divisor - 1)) / divisor);
  return nano < 0 ? -quotient : quotient;
}

void AppendDigits(UInt128 value, std::string& out) {
  constexpr std::uint64_t kHalf = 1'000'000'000'000'000'000;
  if (value < kHalf) {
    out += std::to_string(static_cast<std::uint64_t>(value));
    return;
  }
  out += std::to_string(static_cast<std::uint64_t>(value / kHalf));
  const std::string low = std::to_string(static_cast<std::uint64_t>(value % kHalf));
  out.append(18 - low.size(), '0') += low;
}

std::string BinaryText(bool negative, std::uint64_t units) {
  constexpr std::array<std::string_view, 7> kBinarySuffixes = {"",   "Ki", "Mi", "Gi",
                                                               "Ti", "Pi", "Ei"};
  std::size_t power = 0;
  for (; units % 1024 == 0; units /= 1024) ++power;
  return (negative ? "-" : "") + std::to_string(units).append(kBinarySuffixes[power]);
}

}  // namespace

std::int64_t Quantity::Value() const noexcept { return DivideAway(nano_, kNanoPerUnit); }

Result<std::int64_t> Quantity::Milli() const {
  constexpr std::uint64_t kNanoPerMilli = 1'000'000;
  if (MagnitudeOf(nano_) > UInt128{kMaxUnits} * kNanoPerMilli) {
    return Fail(ErrorCode::kInvalidArgument,
                "too large in thousandths: allowed is at most 9223372036854775.807 in magnitude, "
                "given " +
                    Quoted(text_));
  }
  return DivideAway(nano_, kNanoPerMilli);
}

Result<std::int64_t> Quantity::Nano() const {
  if (MagnitudeOf(nano_) > kMaxUnits) {
    return Fail(ErrorCode::kInvalidArgument,
                "too large in billionths: allowed is at most 9223372036.854775807 in magnitude, "
                "given " +
                    Quoted(text_));
  }
  return static_cast<std::int64_t>(nano_);
}

std::string Quantity::Canonical() const {
  if (nano_ == 0) return "0";
  const bool negative = nano_ < 0;
  UInt128 mantissa = MagnitudeOf(nano_);
  if (family_ == Family::kBinary && mantissa % kNanoPerUnit == 0 &&
      mantissa >= UInt128{1024} * kNanoPerUnit) {
    return BinaryText(negative, static_cast<std::uint64_t>(mantissa / kNanoPerUnit));
  }
  int exponent = -9;
  for (; mantissa % 1000 == 0; mantissa /= 1000) exponent += 3;

  std::string out = negative ? "-" : "";
  AppendDigits(mantissa, out);
  if (family_ == Family::kExponent) {
    if (exponent != 0) (out += 'e') += std::to_string(exponent);
  } else if (exponent != 0) {
    out += "num kMGTPE"[(exponent + 9) / 3];
  }
  return out;
}

Result<std::int64_t> ParseLimitAmount(std::string_view text, AmountScale scale) {
  auto quantity = Quantity::Parse(text);
  if (!quantity) return std::unexpected(std::move(quantity.error()));
  if (quantity->IsNegative()) {
    return Fail(ErrorCode::kInvalidArgument,
                "negative where a limit is meant: allowed is 0 or more, given " + Quoted(text));
  }
  constexpr auto kUnlimitedMark = static_cast<std::int64_t>(kMaxUnits);
  if (scale == AmountScale::kWhole) {
    if (quantity->Value() != kUnlimitedMark) return quantity->Value();
    return Fail(
        ErrorCode::kInvalidArgument,
        "too large for a limit: allowed is at most 9223372036854775806, given " + Quoted(text));
  }
  if (const auto nano = quantity->Nano(); nano && *nano != kUnlimitedMark) return nano;
  return Fail(
      ErrorCode::kInvalidArgument,
      "too large for a limit: allowed is at most 9223372036.854775806, given " + Quoted(text));
}

std::string CanonicalBytes(std::int64_t bytes) {
  const auto magnitude = static_cast<std::uint64_t>(MagnitudeOf(bytes));
  if (magnitude < 1024) return std::to_string(bytes);
  return BinaryText(bytes < 0, magnitude);
}

}  // namespace mete
