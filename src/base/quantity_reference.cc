#include "base/quantity_reference.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/quantity_refusal.h"
#include "mete/units.h"

namespace mete {
namespace {

constexpr std::string_view kMostUnits = "9223372036854775807";
constexpr std::array<std::string_view, 10> kDecimals = {"n", "u", "m", "",  "k",
                                                        "M", "G", "T", "P", "E"};
constexpr std::array<std::string_view, 6> kBinaries = {"Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};

bool AllDigits(std::string_view text) {
  return text.find_first_not_of("0123456789") == text.npos && !text.empty();
}

// Magnitudes: digits without leading zeros, so that zero is empty.
std::string Trim(std::string digits) {
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
  return digits;
}

std::string TimesTwo(const std::string& digits) {
  std::string out(digits.size() + 1, '0');
  int carry = 0;
  for (std::size_t i = digits.size(); i-- > 0;) {
    const int doubled = (digits[i] - '0') * 2 + carry;
    out[i + 1] = static_cast<char>('0' + doubled % 10);
    carry = doubled / 10;
  }
  out[0] = static_cast<char>('0' + carry);
  return Trim(out);
}

std::string PlusOne(std::string digits) {
  std::size_t i = digits.size();
  while (i > 0 && digits[i - 1] == '9') digits[--i] = '0';
  if (i == 0) return "1" + digits;
  ++digits[i - 1];
  return digits;
}

// The quotient, and whether nothing was left.
std::pair<std::string, bool> Divide(const std::string& digits, int divisor) {
  std::string out;
  int rest = 0;
  for (const char c : digits) {
    rest = rest * 10 + (c - '0');
    out += static_cast<char>('0' + rest / divisor);
    rest %= divisor;
  }
  return {Trim(out), rest == 0};
}

// Divides by 10^places, away from zero.
std::string Drop(std::string digits, std::size_t places) {
  if (digits.size() < places) digits.insert(0, places - digits.size(), '0');
  const std::string rest = Trim(digits.substr(digits.size() - places));
  digits = Trim(digits.substr(0, digits.size() - places));
  return rest.empty() ? digits : PlusOne(digits);
}

bool AtMost(const std::string& digits, std::string_view most) {
  return digits.size() != most.size() ? digits.size() < most.size() : digits <= most;
}

struct Parts {
  std::string sign, whole, fraction, suffix;
};

Parts Split(std::string_view text) {
  Parts parts;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    parts.sign = text.substr(0, 1);
    text.remove_prefix(1);
  }
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view number = text.substr(0, end);
  const std::size_t point = std::min(number.find('.'), number.size());
  parts.whole = number.substr(0, point);
  if (point < number.size()) parts.fraction = number.substr(point + 1);
  parts.suffix = text.substr(end);
  return parts;
}

bool IsExponent(std::string_view suffix) {
  if (suffix.empty() || (suffix[0] != 'e' && suffix[0] != 'E')) return false;
  suffix.remove_prefix(1);
  if (!suffix.empty() && (suffix[0] == '+' || suffix[0] == '-')) suffix.remove_prefix(1);
  return AllDigits(suffix);
}

bool IsWellFormed(std::string_view text) {
  const Parts parts = Split(text);
  return AllDigits(parts.whole + parts.fraction) &&
         (std::ranges::count(kDecimals, parts.suffix) +
                  std::ranges::count(kBinaries, parts.suffix) >
              0 ||
          IsExponent(parts.suffix));
}

std::size_t FirstWrong(std::string_view text) {
  // Whatever can be completed at all can be completed by a digit, or by an i after K.
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const std::string begin(text.substr(0, length));
    if (!IsWellFormed(begin) && !IsWellFormed(begin + "0") && !IsWellFormed(begin + "i")) {
      return length - 1;
    }
  }
  return text.size();
}

// Exponents beyond this make every amount zero, one billionth or too large.
constexpr long kFar = 100000;

long PowerOfTen(const std::string& suffix) {
  for (std::size_t i = 0; i < kDecimals.size(); ++i) {
    if (kDecimals[i] == suffix) return 3 * static_cast<long>(i) - 9;
  }
  if (!IsExponent(suffix)) return 0;
  const bool negative = suffix[1] == '-';
  const std::string digits = Trim(suffix.substr(suffix[1] == '-' || suffix[1] == '+' ? 2 : 1));
  const long power = digits.empty() ? 0 : digits.size() > 5 ? kFar : std::stol(digits);
  return negative ? -power : power;
}

std::string CanonicalOf(const std::string& nano, const std::string& suffix) {
  if (nano.empty()) return "0";
  std::string rest = nano;
  if (std::ranges::count(kBinaries, suffix) > 0 && nano.size() > 9 && nano.ends_with("000000000")) {
    rest.resize(rest.size() - 9);
    if (!AtMost(rest, "1023")) {
      std::size_t power = 0;
      for (auto next = Divide(rest, 1024); next.second; next = Divide(rest, 1024)) {
        rest = next.first;
        ++power;
      }
      return power == 0 ? rest : rest.append(kBinaries[power - 1]);
    }
    rest = nano;
  }
  std::size_t power = 0;
  for (; rest.ends_with("000"); rest.resize(rest.size() - 3)) ++power;
  if (!IsExponent(suffix)) return rest.append(kDecimals[power]);
  return power == 3 ? rest : rest + "e" + std::to_string(3 * static_cast<long>(power) - 9);
}

}  // namespace

ReferenceQuantity ReadByReference(std::string_view text) {
  using Verdict = ReferenceQuantity::Verdict;
  ReferenceQuantity out;
  if (!IsWellFormed(text)) {
    out.wrong = FirstWrong(text);
    return out;
  }
  const Parts parts = Split(text);
  std::string digits = Trim(parts.whole + parts.fraction);
  if (const auto* found = std::ranges::find(kBinaries, parts.suffix); found != kBinaries.end()) {
    for (long i = 0; i < 10 * (found - kBinaries.begin() + 1); ++i) digits = TimesTwo(digits);
  }
  const long power = PowerOfTen(parts.suffix) + 9 - static_cast<long>(parts.fraction.size());
  if (!digits.empty() && power > 0) digits.append(static_cast<std::size_t>(power), '0');
  if (power < 0) digits = Drop(digits, static_cast<std::size_t>(-power));

  out.verdict =
      AtMost(digits, std::string(kMostUnits) + "000000000") ? Verdict::kGood : Verdict::kTooLarge;
  const auto with_sign = [&parts](const std::string& magnitude) {
    if (magnitude.empty() || magnitude == "0") return std::string("0");
    return parts.sign == "-" ? "-" + magnitude : magnitude;
  };
  out.nano = with_sign(digits);
  out.milli = with_sign(Drop(digits, 6));
  out.units = with_sign(Drop(digits, 9));
  if (out.verdict == Verdict::kGood) out.canonical = with_sign(CanonicalOf(digits, parts.suffix));
  return out;
}

std::string Disagreement(std::string_view text) {
  using Verdict = ReferenceQuantity::Verdict;
  const ReferenceQuantity reference = ReadByReference(text);
  const auto quantity = Quantity::Parse(text);
  if (quantity.has_value() != (reference.verdict == Verdict::kGood)) return "accepted by one alone";
  if (!quantity) {
    if (quantity.error().code != ErrorCode::kInvalidArgument) return "wrong code";
    return FirstWrongByte(text) == reference.wrong ? "" : "wrong character";
  }
  const auto in_scale = [](const Result<std::int64_t>& amount, const std::string& expected) {
    const std::string_view magnitude =
        std::string_view(expected).substr(expected[0] == '-' ? 1 : 0);
    if (!amount) return !AtMost(std::string(magnitude), kMostUnits);
    return std::to_string(*amount) == expected;
  };
  if (!in_scale(quantity->Value(), reference.units)) return "units";
  if (!in_scale(quantity->Milli(), reference.milli)) return "milli";
  if (!in_scale(quantity->Nano(), reference.nano)) return "nano";
  if (quantity->Canonical() != reference.canonical) return "canonical";
  if (quantity->text() != text) return "text";
  const auto again = Quantity::Parse(quantity->Canonical());
  if (!again || *again != *quantity) return "canonical is another amount";
  return "";
}

std::string RandomQuantityText(std::mt19937_64& random) {
  const auto below = [&random](std::uint64_t n) { return static_cast<std::size_t>(random() % n); };
  const auto digits = [&](std::size_t count) {
    std::string out;
    const bool sparse = below(4) == 0;
    for (std::size_t i = 0; i < count; ++i) {
      out += sparse && below(3) > 0 ? '0' : static_cast<char>('0' + below(10));
    }
    return out;
  };
  const auto length = [&] { return below(8) == 0 ? below(90) : below(12); };

  std::string text;
  if (below(3) == 0) text += below(2) == 0 ? '-' : '+';
  text += digits(length());
  if (below(2) == 0) (text += '.') += digits(length());
  const std::size_t kind = below(8);
  if (kind < 3) text += kDecimals[below(kDecimals.size())];
  if (kind >= 3 && kind < 6) text += kBinaries[below(kBinaries.size())];
  if (kind == 6) {
    text += below(2) == 0 ? 'e' : 'E';
    if (below(2) == 0) text += below(2) == 0 ? '-' : '+';
    text += std::to_string(below(below(4) == 0 ? 100 : 20));
  }
  if (below(6) == 0) {
    constexpr std::string_view kBytes("0123456789..+-eEiiinumkKMGTP _,\n\0xN", 35);
    const char byte = below(8) == 0 ? static_cast<char>(below(256)) : kBytes[below(kBytes.size())];
    const std::size_t at = below(text.size() + 1);
    if (below(3) == 0 || at == text.size()) {
      text.insert(at, 1, byte);
    } else if (below(2) == 0) {
      text[at] = byte;
    } else {
      text.erase(at, 1);
    }
  }
  return text;
}

}  // namespace mete
