#include "cli/values.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "agent/kernel_limits.h"
#include "base/check.h"
#include "base/quote.h"
#include "mete/quota.h"
#include "mete/units.h"

namespace mete::cli {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

Result<void> Checked(const auto& result) {
  if (!result) return std::unexpected(result.error());
  return {};
}

std::unexpected<Error> Refuse(std::string allowed, std::string_view given) {
  return Fail(ErrorCode::kInvalidArgument,
              "must be " + std::move(allowed) + ", given " + Quoted(given));
}

}  // namespace

Result<std::int64_t> ParseCount(std::string_view text) {
  std::int64_t count = 0;
  const bool digits = !text.empty() && std::ranges::all_of(text, IsDigit);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (!digits || error != std::errc{} || end != text.data() + text.size()) {
    return Refuse("a whole number from 0 to 9223372036854775807", text);
  }
  return count;
}

bool IsId(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::ranges::all_of(text, [](char c) {
    return IsDigit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' ||
           c == ':' || c == '-';
  });
}

Result<void> CheckCount(const Flag&, std::string_view value) { return Checked(ParseCount(value)); }

Result<void> CheckNano(const Flag&, std::string_view value) {
  if (value.starts_with('-')) return Refuse("a decimal number of zero or more", value);
  return Checked(ParseNanoDecimal(value));
}

Result<void> CheckBytes(const Flag&, std::string_view value) {
  // In MiB with nine places, as HTTP has it, more would pass 64 bits.
  constexpr std::int64_t kMost = std::int64_t{8} << 50;
  Result<std::int64_t> bytes = ParseLimitAmount(value, AmountScale::kWhole);
  if (bytes && *bytes > kMost) return Refuse("at most 8Pi", value);
  return Checked(bytes);
}

Result<void> CheckDuration(const Flag&, std::string_view value) {
  return Checked(ParseDuration(value));
}

Result<void> CheckChoice(const Flag& flag, std::string_view value) {
  for (std::string_view rest = flag.value; !rest.empty();) {
    const std::size_t end = std::min(rest.find('|'), rest.size());
    if (rest.substr(0, end) == value) return {};
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  std::string choices = "one of ";
  for (char c : flag.value) c == '|' ? choices += ", " : choices += c;
  return Refuse(std::move(choices), value);
}

Result<void> CheckId(const Flag&, std::string_view value) {
  if (IsId(value)) return {};
  return Refuse("1 to 128 of A-Z, a-z, 0-9, '.', '_', ':' and '-'", value);
}

Result<void> CheckLimit(const Flag& flag, std::string_view value) {
  const std::optional<LimitKind> kind = FindLimit(flag.name);
  METE_CHECK(kind.has_value());
  return Checked(ParseLimitAmount(value, InfoOf(*kind).unit));
}

Result<void> CheckKernelLimit(const Flag& flag, std::string_view value) {
  const LimitKind kind = *FindLimit(flag.name);
  // A negative amount is told the minimum too, and not that zero would do.
  if (Result<Quantity> quantity = Quantity::Parse(value); quantity && quantity->IsNegative()) {
    Result<void> enough = agent::CheckRange(kind, Limit{-1, std::string(value)});
    if (!enough) return enough;
  }
  if (Result<void> ok = CheckLimit(flag, value); !ok) return ok;
  return agent::CheckRange(kind, *ParseLimit(kind, value));
}

Result<void> CheckLimitOrUnlimited(const Flag& flag, std::string_view value) {
  if (value == "unlimited") return {};
  return CheckKernelLimit(flag, value);
}

}  // namespace mete::cli
