// Reading quantities.
//
// One pass: digits into a 64-bit mantissa, the suffix as a power of ten or a shift, then one
// multiplication into 128 bits. That covers what people write (up to 19 digits, and up to nine
// decimal places before a binary suffix). Anything longer goes to SlowAmount, which is exact for
// any length. What is wrong with a refused text is found out afterwards, in quantity_refusal.cc.
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

// What a suffix letter means alone (a power of ten) and before an i (a power of two). Zero in both
// fields is "nothing", so the power of ten is kept with an offset.
struct Letter {
  static constexpr int kOffset = 16;
  std::uint8_t decimal;
  std::uint8_t binary;
};
constexpr auto kLetters = [] {
  std::array<Letter, 256> letters{};
  const auto set = [&letters](char c, int decimal, std::uint8_t binary) {
    letters[static_cast<unsigned char>(c)] = {static_cast<std::uint8_t>(decimal + Letter::kOffset),
                                              binary};
  };
  set('n', -9, 0), set('u', -6, 0), set('m', -3, 0), set('k', 3, 0);
  set('M', 6, 20), set('G', 9, 30), set('T', 12, 40), set('P', 15, 50), set('E', 18, 60);
  letters['K'].binary = 10;
  return letters;
}();

bool IsDigit(char c) { return static_cast<unsigned char>(c - '0') < 10; }
std::uint64_t DigitOf(char c) { return static_cast<std::uint64_t>(c - '0'); }

struct Scanned {
  std::string_view whole;      // digits before the point
  std::string_view fraction;   // digits after it
  std::uint64_t mantissa = 0;  // of both; meaningless beyond kFastDigits of them
  std::int64_t exponent = 0;   // power of ten
  unsigned shift = 0;          // power of two
};

// Exact for any number of digits. Decimal places are held in limbs of nine digits, so that the
// first limb is the billionths and the rest decides the rounding.
//
// Eight limbs are enough: with a suffix of 2^60 the amounts that are whole billionths are multiples
// of 10^-69 before it, so of digits beyond 72 places only "is any not zero" matters.
bool SlowAmount(const Scanned& scanned, UInt128* nano) {
  constexpr std::int64_t kLimbs = 8;
  constexpr std::int64_t kLimbDigits = 9;
  std::array<std::uint64_t, kLimbs> limbs{};
  std::uint64_t units = 0;
  bool beyond = false;

  std::int64_t weight = static_cast<std::int64_t>(scanned.whole.size()) + scanned.exponent - 1;
  for (const std::string_view part : {scanned.whole, scanned.fraction}) {
    for (const char c : part) {
      const std::int64_t place = -weight - 1;
      if (c == '0') {
        // Counts for nothing at any place.
      } else if (weight >= kFastDigits) {
        return false;
      } else if (weight >= 0) {
        const std::uint64_t power = kPowersOfTen[static_cast<std::size_t>(weight)];
        std::uint64_t added = 0;
        if (__builtin_mul_overflow(DigitOf(c), power, &added)) return false;
        if (__builtin_add_overflow(units, added, &units)) return false;
      } else if (place < kLimbs * kLimbDigits) {
        const std::int64_t power = kLimbDigits - 1 - place % kLimbDigits;
        limbs[static_cast<std::size_t>(place / kLimbDigits)] +=
            DigitOf(c) * kPowersOfTen[static_cast<std::size_t>(power)];
      } else {
        beyond = true;
      }
      --weight;
    }
  }

  for (unsigned shifted = 0; shifted < scanned.shift; shifted += 10) {
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

bool DecimalAmount(std::uint64_t mantissa, std::int64_t exponent, UInt128* nano) {
  if (exponent >= 0) {
    if (exponent > 18) return mantissa == 0;
    std::uint64_t units = 0;
    if (__builtin_mul_overflow(mantissa, kPowersOfTen[static_cast<std::size_t>(exponent)], &units))
      return false;
    *nano = UInt128{units} * kNanoPerUnit;
    return units <= kMaxUnits;
  }
  if (exponent >= -9) {
    *nano = UInt128{mantissa} * kPowersOfTen[static_cast<std::size_t>(exponent + 9)];
    return true;  // below 10^19 * 10^8
  }
  if (exponent < -9 - kFastDigits) {
    *nano = mantissa == 0 ? 0 : 1;
    return true;
  }
  const std::uint64_t divisor = kPowersOfTen[static_cast<std::size_t>(-9 - exponent)];
  *nano = mantissa / divisor + (mantissa % divisor != 0 ? 1 : 0);
  return true;
}

bool AmountOf(const Scanned& scanned, UInt128* nano) {
  const std::size_t places = scanned.fraction.size();
  if (scanned.whole.size() + places > kFastDigits) return SlowAmount(scanned, nano);
  if (scanned.shift == 0) {
    return DecimalAmount(scanned.mantissa, scanned.exponent - static_cast<std::int64_t>(places),
                         nano);
  }
  if (places > 9) return SlowAmount(scanned, nano);
  const UInt128 before = UInt128{scanned.mantissa} * kPowersOfTen[9 - places];
  *nano = before << scanned.shift;
  return before <= kMaxNano >> scanned.shift;
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

}  // namespace

class Quantity::Parsed {
 public:
  // False: not a quantity, or too large for one.
  bool Read(std::string_view text) noexcept;

  Int128 nano = 0;
  Family family = Family::kDecimal;
};

inline bool Quantity::Parsed::Read(std::string_view text) noexcept {
  const char* at = text.data();
  const char* const end = at + text.size();
  const bool negative = at != end && *at == '-';
  if (at != end && (*at == '-' || *at == '+')) ++at;

  Scanned scanned;
  const char* start = at;
  for (; at != end && IsDigit(*at); ++at) scanned.mantissa = scanned.mantissa * 10 + DigitOf(*at);
  scanned.whole = {start, static_cast<std::size_t>(at - start)};
  if (at != end && *at == '.') {
    start = ++at;
    for (; at != end && IsDigit(*at); ++at) scanned.mantissa = scanned.mantissa * 10 + DigitOf(*at);
    scanned.fraction = {start, static_cast<std::size_t>(at - start)};
  }
  if (scanned.whole.empty() && scanned.fraction.empty()) return false;

  if (at != end) {
    const Letter letter = kLetters[static_cast<unsigned char>(*at)];
    if (end - at == 1) {
      if (letter.decimal == 0) return false;
      scanned.exponent = letter.decimal - Letter::kOffset;
    } else if (end - at == 2 && at[1] == 'i') {
      if (letter.binary == 0) return false;
      scanned.shift = letter.binary;
      family = Family::kBinary;
    } else {
      if (*at != 'e' && *at != 'E') return false;
      if (!ReadExponent(at + 1, end, &scanned.exponent)) return false;
      family = Family::kExponent;
    }
  }

  UInt128 magnitude = 0;
  if (!AmountOf(scanned, &magnitude)) return false;
  nano = negative ? -static_cast<Int128>(magnitude) : static_cast<Int128>(magnitude);
  return true;
}

Quantity::Quantity(const Parsed& parsed, std::string_view text)
    : nano_(parsed.nano), text_(text), family_(parsed.family) {}

Result<Quantity> Quantity::Parse(std::string_view text) {
  Parsed parsed;
  if (!parsed.Read(text)) [[unlikely]]
    return std::unexpected(QuantityRefusal(text));
  return Result<Quantity>(std::in_place, parsed, text);
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
  constexpr std::array<std::string_view, 7> kSuffixes = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  std::size_t power = 0;
  for (; units % 1024 == 0; units /= 1024) ++power;
  return (negative ? "-" : "") + std::to_string(units).append(kSuffixes[power]);
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
