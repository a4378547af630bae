// Feeds bytes to the readers of amounts and time spans.
//
// What must hold: a quantity is what the slow second reading of the tests says, to the character
// where it goes wrong; what is printed is read back as the same.
#include <cstdint>
#include <limits>
#include <string_view>

#include "base/check.h"
#include "base/quantity_reference.h"
#include "mete/units.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
  // The second reading takes quadratic time, and longer texts have no other paths.
  constexpr std::size_t kLongest = 256;
  if (length > kLongest) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), length);

  METE_CHECK(mete::Disagreement(text).empty());
  for (const auto scale : {mete::AmountScale::kWhole, mete::AmountScale::kNano}) {
    const auto limit = mete::ParseLimitAmount(text, scale);
    METE_CHECK(!limit || *limit >= 0);
  }
  if (const auto nano = mete::ParseNanoDecimal(text)) {
    METE_CHECK(mete::ParseNanoDecimal(mete::FormatNanoDecimal(*nano)) == *nano);
    // Every decimal is a quantity; of all int64 only the least has no negative.
    const auto quantity = mete::Quantity::Parse(text);
    METE_CHECK(quantity);
    METE_CHECK(*nano == std::numeric_limits<std::int64_t>::min() || quantity->Nano() == *nano);
  }
  if (const auto span = mete::ParseDuration(text)) {
    METE_CHECK(span->count() >= 0);
    METE_CHECK(mete::ParseDuration(mete::FormatDuration(*span)) == *span);
  }
  return 0;
}
