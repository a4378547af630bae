// Values of options that several commands share: checks for the tables, and the conversions that
// belong to them.
#pragma once

#include <cstdint>
#include <string_view>

#include "cli/flags.h"
#include "mete/error.h"

namespace mete::cli {

// A whole number from 0 to INT64_MAX, digits only.
Result<std::int64_t> ParseCount(std::string_view text);

Result<void> CheckCount(const Flag& flag, std::string_view value);
// A decimal number >= 0 with at most nine places: "0.25". Its amount: ParseNanoDecimal (units.h).
Result<void> CheckNano(const Flag& flag, std::string_view value);
// A number of bytes up to 8Pi, as a quantity: "512Mi".
Result<void> CheckBytes(const Flag& flag, std::string_view value);
// "500ms", "2s", "1h30m". Its amount: ParseDuration (units.h).
Result<void> CheckDuration(const Flag& flag, std::string_view value);
// One of the words that the flag's `value` lists: "suspend|terminate".
Result<void> CheckChoice(const Flag& flag, std::string_view value);
// What may name an agent, a session or a tenant: [A-Za-z0-9._:-]{1,128}.
Result<void> CheckId(const Flag& flag, std::string_view value);
// The flag's name is that of a limit ("tokens-per-hour"); the value is its quantity.
Result<void> CheckLimit(const Flag& flag, std::string_view value);
// The same, and not less than the kernel can hold.
Result<void> CheckKernelLimit(const Flag& flag, std::string_view value);
// The same, or "unlimited".
Result<void> CheckLimitOrUnlimited(const Flag& flag, std::string_view value);

bool IsId(std::string_view text);

}  // namespace mete::cli
