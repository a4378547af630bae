#include <array>
#include <cstddef>
#include <string>

#include "base/quote.h"
#include "mete/units.h"

namespace mete {
namespace {

__extension__ using UInt128 = unsigned __int128;

struct TimeUnit {
  std::string_view name;
  std::uint64_t nano;
};
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::size_t kSeconds = 3;  // index of "s"
constexpr std::array<TimeUnit, 7> kTimeUnits = {{{"d", 86400 * kSecond},
                                                 {"h", 3600 * kSecond},
                                                 {"m", 60 * kSecond},
                                                 {"s", kSecond},
                                                 {"ms", 1'000'000},
                                                 {"us", 1'000},
                                                 {"ns", 1}}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

Error NotADuration(std::string_view text, std::size_t wrong) {
  std::string message =
      "not a time span: allowed are numbers with d h m s ms us ns, the longest first, as in 2s, "
      "500ms or 1h30m, or a number of seconds; character ";
  message += std::to_string(wrong + 1);
  message += wrong == text.size() ? " is missing in " : " is wrong in ";
  message += Quoted(text, wrong);
  return Error{ErrorCode::kInvalidArgument, std::move(message)};
}

Error TooLong(std::string_view text) {
  return Error{
      ErrorCode::kInvalidArgument,
      "too long a time span: allowed is at most 106751d23h47m16.854775807s, given " + Quoted(text)};
}

Error TooFine(std::string_view text) {
  return Error{ErrorCode::kInvalidArgument,
               "too fine a time span: allowed is down to a nanosecond, given " + Quoted(text)};
}

std::string_view DigitsFrom(std::string_view text, std::size_t at) {
  std::size_t end = at;
  while (end < text.size() && IsDigit(text[end])) ++end;
  return text.substr(at, end - at);
}

// The nanoseconds in `0.fraction` of a unit; false if they are not a whole number.
bool FractionOf(std::string_view fraction, std::uint64_t unit, std::uint64_t* nano) {
  fraction = fraction.substr(0, fraction.find_last_not_of('0') + 1);
  // A day has 5^11 and 2^16 among its nanoseconds, so more than 16 places never come out even.
  if (fraction.size() > 16) return false;
  std::uint64_t mantissa = 0;
  std::uint64_t divisor = 1;
  for (const char c : fraction) {
    mantissa = mantissa * 10 + static_cast<std::uint64_t>(c - '0');
    divisor *= 10;
  }
  const UInt128 product = UInt128{mantissa} * unit;
  *nano = static_cast<std::uint64_t>(product / divisor);
  return product % divisor == 0;
}

}  // namespace

Result<Duration> ParseDuration(std::string_view text) {
  std::uint64_t total = 0;
  bool too_long = false;
  bool too_fine = false;
  std::size_t next_unit = 0;  // units before this one are used up
  std::size_t at = 0;
  do {
    const std::string_view whole = DigitsFrom(text, at);
    at += whole.size();
    const bool point = at < text.size() && text[at] == '.';
    const std::string_view fraction = point ? DigitsFrom(text, at + 1) : std::string_view();
    at += fraction.size() + (point ? 1 : 0);
    if (whole.empty() && fraction.empty()) return std::unexpected(NotADuration(text, at));

    std::size_t name_end = at;
    while (name_end < text.size() && text[name_end] >= 'a' && text[name_end] <= 'z') ++name_end;
    std::size_t unit = next_unit;
    if (at == text.size() && next_unit == 0) {
      unit = kSeconds;
    } else {
      const std::string_view name = text.substr(at, name_end - at);
      while (unit < kTimeUnits.size() && kTimeUnits[unit].name != name) ++unit;
      if (unit == kTimeUnits.size()) return std::unexpected(NotADuration(text, at));
    }
    next_unit = unit + 1;
    at = name_end;
    if (point && at < text.size()) return std::unexpected(NotADuration(text, at));

    std::uint64_t count = 0;
    for (const char c : whole) {
      too_long |= __builtin_mul_overflow(count, std::uint64_t{10}, &count);
      too_long |= __builtin_add_overflow(count, static_cast<std::uint64_t>(c - '0'), &count);
    }
    std::uint64_t part = 0;
    too_fine |= !FractionOf(fraction, kTimeUnits[unit].nano, &part);
    too_long |= __builtin_add_overflow(total, part, &total);
    too_long |= __builtin_mul_overflow(count, kTimeUnits[unit].nano, &count);
    too_long |= __builtin_add_overflow(total, count, &total);
  } while (at < text.size());

  if (too_long || total > static_cast<std::uint64_t>(Duration::max().count())) {
    return std::unexpected(TooLong(text));
  }
  if (too_fine) return std::unexpected(TooFine(text));
  return Duration(static_cast<std::int64_t>(total));
}

std::string FormatDuration(Duration span) {
  auto rest = static_cast<std::uint64_t>(span.count());
  std::string out;
  if (span.count() < 0) out = "-", rest = 0 - rest;
  if (rest == 0) return "0s";

  std::size_t unit = 0;
  for (; unit < kSeconds; ++unit) {
    if (const std::uint64_t count = rest / kTimeUnits[unit].nano; count != 0) {
      out += std::to_string(count).append(kTimeUnits[unit].name);
      rest %= kTimeUnits[unit].nano;
    }
  }
  if (rest == 0) return out;
  // Less than a minute remains: seconds behind a longer unit, else the unit that it fills.
  if (out.empty() || out == "-") {
    while (rest < kTimeUnits[unit].nano) ++unit;
  }
  const std::uint64_t size = kTimeUnits[unit].nano;
  out += std::to_string(rest / size);
  if (const std::uint64_t fraction = rest % size; fraction != 0) {
    std::string places = std::to_string(size + fraction);  // the leading one keeps the zeros
    places[0] = '.';
    out += places.substr(0, places.find_last_not_of('0') + 1);
  }
  return out.append(kTimeUnits[unit].name);
}

}  // namespace mete
