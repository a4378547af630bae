#include <array>
#include <cstddef>
#include <string>

#include "base/quote.h"
#include "mete/units.h"

namespace mete {
namespace {

__extension__ using UInt128 = unsigned __int128;

std::uint64_t MagnitudeOf(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  return value < 0 ? 0 - bits : bits;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

Error NotADecimal(std::string_view text, std::size_t wrong) {
  std::string message =
      "not a decimal number: allowed are digits with at most one point, as in 12 or 0.25; "
      "character ";
  message += std::to_string(wrong + 1);
  message += wrong == text.size() ? " is missing in " : " is wrong in ";
  message += Quoted(text, wrong);
  return Error{ErrorCode::kInvalidArgument, std::move(message)};
}

}  // namespace

std::string FormatBytes(std::int64_t bytes) {
  constexpr std::array<std::string_view, 7> kUnits = {"B",   "KiB", "MiB", "GiB",
                                                      "TiB", "PiB", "EiB"};
  const std::uint64_t magnitude = MagnitudeOf(bytes);
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && magnitude >> (10 * (unit + 1)) != 0) ++unit;

  const auto tenths_in = [magnitude](std::size_t power) {
    const UInt128 size = UInt128{1} << (10 * power);
    return static_cast<std::uint64_t>((UInt128{magnitude} * 10 + size / 2) / size);
  };
  // 1023.95 KiB and more would print as 1024.0 KiB.
  if (tenths_in(unit) >= 10240) ++unit;

  std::string out = bytes < 0 ? "-" : "";
  const std::uint64_t tenths = tenths_in(unit);
  out += std::to_string(tenths / 10);
  if ((magnitude & ((std::uint64_t{1} << (10 * unit)) - 1)) != 0) {
    (out += '.') += std::to_string(tenths % 10);
  }
  return (out += ' ').append(kUnits[unit]);
}

Result<std::int64_t> ParseNanoDecimal(std::string_view text) {
  constexpr std::size_t kPlaces = 9;
  std::size_t at = 0;
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) ++at;

  // Magnitudes up to 2^63: the least int64 has one that the greatest has not.
  const std::uint64_t most = (std::uint64_t{1} << 63) - (negative ? 0 : 1);
  std::uint64_t nano = 0;
  std::size_t digits = 0;
  std::size_t places = 0;
  bool point = false;
  bool too_fine = false;
  bool too_large = false;
  const auto append = [&](unsigned digit) {
    too_large |= __builtin_mul_overflow(nano, std::uint64_t{10}, &nano);
    too_large |= __builtin_add_overflow(nano, std::uint64_t{digit}, &nano);
  };
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '.' && !point) {
      point = true;
    } else if (!IsDigit(c)) {
      return std::unexpected(NotADecimal(text, at));
    } else {
      ++digits;
      if (places == kPlaces) {
        too_fine |= c != '0';
      } else {
        places += point ? 1 : 0;
        append(static_cast<unsigned>(c - '0'));
      }
    }
  }
  if (digits == 0) return std::unexpected(NotADecimal(text, at));
  for (; places < kPlaces; ++places) append(0);
  if (too_large || nano > most) {
    return Fail(
        ErrorCode::kInvalidArgument,
        "too large: allowed is at most 9223372036.854775807 in magnitude, given " + Quoted(text));
  }
  if (too_fine) {
    return Fail(ErrorCode::kInvalidArgument,
                "too fine: allowed are nine decimal places, given " + Quoted(text));
  }
  return static_cast<std::int64_t>(negative ? 0 - nano : nano);
}

std::string FormatNanoDecimal(std::int64_t nano) {
  constexpr std::uint64_t kNanoPerUnit = 1'000'000'000;
  const std::uint64_t magnitude = MagnitudeOf(nano);
  std::string out = nano < 0 ? "-" : "";
  out += std::to_string(magnitude / kNanoPerUnit);
  if (const std::uint64_t fraction = magnitude % kNanoPerUnit; fraction != 0) {
    // The leading one keeps the zeros after the point.
    std::string places = std::to_string(kNanoPerUnit + fraction);
    places[0] = '.';
    out += places.substr(0, places.find_last_not_of('0') + 1);
  }
  return out;
}

}  // namespace mete
