#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>

#include "base/quantity_reference.h"
#include "base/quantity_refusal.h"
#include "mete/units.h"

namespace mete {
namespace {

using std::literals::operator""sv;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

// No quantity has this value in any scale: mete's range is the same on both sides of zero.
constexpr std::int64_t kTooLarge = std::numeric_limits<std::int64_t>::min();

struct ValidRow {
  std::string_view text;
  std::int64_t units;
  std::int64_t milli;
  std::int64_t nano;
  std::string_view canonical;
};
constexpr ValidRow kValid[] = {
#include "quantity_valid.inc"
};

constexpr std::size_t kOutOfRange = 0;
struct InvalidRow {
  std::string_view text;
  std::size_t character;
};
constexpr InvalidRow kInvalid[] = {
#include "quantity_invalid.inc"
};

std::int64_t ValueOr(const Result<std::int64_t>& result) { return result.value_or(kTooLarge); }

void ExpectQuantity(std::string_view text, const ValidRow& row) {
  const auto quantity = Quantity::Parse(text);
  ASSERT_TRUE(quantity) << quantity.error().message;
  EXPECT_EQ(quantity->Value(), row.units) << text;
  EXPECT_EQ(ValueOr(quantity->Milli()), row.milli) << text;
  EXPECT_EQ(ValueOr(quantity->Nano()), row.nano) << text;
  EXPECT_EQ(quantity->Canonical(), row.canonical) << text;
  EXPECT_EQ(quantity->text(), text);
  EXPECT_EQ(quantity->IsNegative(), row.units < 0) << text;
  EXPECT_EQ(quantity->IsZero(), row.units == 0) << text;
}

TEST(QuantityTable, Valid) {
  EXPECT_GE(std::size(kValid), 400u);
  for (const ValidRow& row : kValid) ExpectQuantity(row.text, row);
}

TEST(QuantityTable, ValidWithTheSignTurned) {
  const auto turn = [](std::int64_t value) { return value == kTooLarge ? value : -value; };
  for (const ValidRow& row : kValid) {
    std::string text(row.text);
    if (text[0] == '-') {
      text[0] = '+';
    } else {
      text = text[0] == '+' ? "-" + text.substr(1) : "-" + text;
    }
    std::string canonical(row.canonical);
    if (canonical[0] == '-') {
      canonical.erase(0, 1);
    } else if (canonical != "0") {
      canonical.insert(0, 1, '-');
    }
    ExpectQuantity(text, {text, turn(row.units), turn(row.milli), turn(row.nano), canonical});
  }
}

void ExpectRefusal(std::string_view text, std::size_t character) {
  const auto quantity = Quantity::Parse(text);
  ASSERT_FALSE(quantity) << "accepted: " << text;
  EXPECT_EQ(quantity.error().code, ErrorCode::kInvalidArgument);
  const std::string& message = quantity.error().message;
  for (const char c : message) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << "not printable: " << message;
  EXPECT_LT(message.size(), 350u) << message;
  if (character == kOutOfRange) {
    EXPECT_TRUE(message.starts_with("too large for a quantity: ")) << message;
    EXPECT_EQ(FirstWrongByte(text), text.npos) << text;
    return;
  }
  const std::string verb = character > text.size() ? " is missing in " : " is wrong in ";
  EXPECT_TRUE(message.starts_with("not a quantity: ")) << message;
  EXPECT_NE(message.find("; character " + std::to_string(character) + verb), message.npos)
      << message;
}

TEST(QuantityTable, Invalid) {
  EXPECT_GE(std::size(kInvalid), 250u);
  for (const InvalidRow& row : kInvalid) ExpectRefusal(row.text, row.character);
}

TEST(QuantityTable, InvalidBehindAMinusSign) {
  for (const InvalidRow& row : kInvalid) {
    std::string text(row.text);
    const bool has_sign = text.starts_with('-') || text.starts_with('+');
    text.insert(0, 1, '-');
    const std::size_t shifted = row.character == kOutOfRange ? kOutOfRange : row.character + 1;
    ExpectRefusal(text, has_sign ? 2 : shifted);
  }
}

TEST(QuantityTable, AgreesWithTheReference) {
  for (const ValidRow& row : kValid) EXPECT_EQ(Disagreement(row.text), "") << row.text;
  for (const InvalidRow& row : kInvalid) EXPECT_EQ(Disagreement(row.text), "") << row.text;
}

TEST(Quantity, RefusesEveryByteThatDoesNotBelong) {
  for (int byte = 0; byte < 256; ++byte) {
    for (const std::string_view text : {""sv, "1"sv, "1."sv, "1.5"sv, "1G"sv, "1Gi"sv, "1e"sv}) {
      const std::string longer = std::string(text) + static_cast<char>(byte);
      EXPECT_EQ(Disagreement(longer), "") << longer;
    }
  }
}

TEST(Quantity, ReadsAllTextsOfFourBytesLikeTheReference) {
  constexpr std::string_view kBytes = "019.+-eEinumkKMG x";
  for (const char a : kBytes) {
    for (const char b : kBytes) {
      for (const char c : kBytes) {
        for (const char d : kBytes) {
          const char text[] = {a, b, c, d};
          ASSERT_EQ(Disagreement({text, 4}), "") << std::string_view(text, 4);
        }
      }
    }
  }
}

TEST(Quantity, AgreesWithTheReferenceOnRandomTexts) {
  constexpr std::uint64_t kSeed = 20240229;
  std::mt19937_64 random(kSeed);
  int seen[3] = {};
  for (int i = 0; i < 200'000; ++i) {
    const std::string text = RandomQuantityText(random);
    ASSERT_EQ(Disagreement(text), "") << text;
    ++seen[static_cast<int>(ReadByReference(text).verdict)];
  }
  // The texts reach all three answers, each often.
  for (const int count : seen) EXPECT_GT(count, 10'000);
}

// What is printed canonically is read as the same amount, and is its own canonical form; but for a
// binary amount printed without a suffix, which is read as a decimal one.
TEST(Quantity, RoundTripsAMillionAmounts) {
  constexpr std::uint64_t kSeed = 19937;
  std::mt19937_64 random(kSeed);
  constexpr std::string_view kSuffixes[] = {"n", "u",  "m",  "",   "k",  "M",  "G",  "e-9", "e-5",
                                            "e", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e0",  "e7"};
  int kept = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    std::string text = random() % 2 == 0 ? "" : "-";
    text += std::to_string(random() >> (random() % 64));
    if (random() % 2 == 0) text += "." + std::to_string(random() % 1'000'000);
    text += kSuffixes[random() % std::size(kSuffixes)];
    const auto quantity = Quantity::Parse(text);
    if (!quantity) continue;
    ++kept;
    const std::string canonical = quantity->Canonical();
    const auto again = Quantity::Parse(canonical);
    ASSERT_TRUE(again) << text << " -> " << canonical;
    ASSERT_EQ(*again, *quantity) << text << " -> " << canonical;
    const bool lost_binary = text.ends_with('i') && !canonical.ends_with('i');
    ASSERT_TRUE(lost_binary || again->Canonical() == canonical) << text;
  }
  EXPECT_GT(kept, 500'000);
}

TEST(Quantity, IsZeroByDefault) {
  const Quantity zero;
  EXPECT_TRUE(zero.IsZero());
  EXPECT_FALSE(zero.IsNegative());
  EXPECT_EQ(zero.text(), "0");
  EXPECT_EQ(zero.Canonical(), "0");
  EXPECT_EQ(zero, Quantity::Parse("-0.0Ei"));
}

TEST(Quantity, ComparesAmountsAndNotSpellings) {
  const auto of = [](std::string_view text) { return Quantity::Parse(text).value(); };
  EXPECT_EQ(of("1Ki"), of("1024"));
  EXPECT_EQ(of("1"), of("1000m"));
  EXPECT_NE(of("1"), of("1.000000001"));
  EXPECT_LT(of("1M"), of("1Mi"));
  EXPECT_LT(of("-1"), of("-1n"));
  EXPECT_GT(of("9223372036854775807"), of("9223372036854775806.999999999"));
}

TEST(Quantity, KeepsTextsOfAnyLength) {
  std::string text(100'000, '0');
  text += "1.5Gi";
  const auto quantity = Quantity::Parse(text);
  ASSERT_TRUE(quantity);
  EXPECT_EQ(quantity->text(), text);
  EXPECT_EQ(quantity->Value(), 1610612736);
  text.back() = 'x';
  ExpectRefusal(text, text.size());
}

TEST(Quantity, WeighsExponentsAgainstDigitsOfAnyNumber) {
  const std::string zeros(2'000'000, '0');
  EXPECT_EQ(Quantity::Parse("1" + zeros + "e-2000000").value().Value(), 1);
  EXPECT_EQ(Quantity::Parse("0." + zeros + "1e2000001").value().Value(), 1);
  EXPECT_EQ(Quantity::Parse("0." + zeros + "1e1999992").value().Nano(), 1);
  EXPECT_EQ(Quantity::Parse("0." + zeros + "1").value().Nano(), 1);
  EXPECT_FALSE(Quantity::Parse("0." + zeros + "1e2000020"));
}

TEST(Quantity, SaysWhatIsTooLargeForAScale) {
  const auto exa = Quantity::Parse("1E");
  ASSERT_TRUE(exa);
  EXPECT_EQ(exa->Milli().error().ToString(),
            "E2071: too large in thousandths: allowed is at most 9223372036854775.807 in "
            "magnitude, given \"1E\"");
  EXPECT_EQ(exa->Nano().error().ToString(),
            "E2071: too large in billionths: allowed is at most 9223372036.854775807 in magnitude, "
            "given \"1E\"");
}

TEST(Quantity, SaysWhatIsWrong) {
  EXPECT_EQ(Quantity::Parse("2Gib").error().ToString(),
            "E2071: not a quantity: allowed is a number such as 2 or 0.5, then nothing, "
            "n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent such as e3; character 4 is wrong "
            "in \"2Gib\", did you mean 2Gi?");
  EXPECT_EQ(Quantity::Parse("8Ei").error().ToString(),
            "E2071: too large for a quantity: allowed is at most 9223372036854775807 in magnitude, "
            "given \"8Ei\"");
}

TEST(Quantity, KnowsWhatIsMeantByOtherUnitsOfBytes) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"64MB", "64M or 64Mi"}, {"64mb", "64M or 64Mi"}, {"1.5GB", "1.5G or 1.5Gi"},
      {"64MiB", "64Mi"},       {"64mib", "64Mi"},       {"64KB", "64k or 64Ki"},
      {"64kB", "64k or 64Ki"}, {"2Gib", "2Gi"},         {"64B", "64"},
      {"1Eb", "1E or 1Ei"},    {"-1TB", "-1T or -1Ti"},
  };
  for (const auto& [text, hint] : rows) {
    const std::string message = Quantity::Parse(text).error().message;
    EXPECT_TRUE(message.ends_with(std::string(", did you mean ") + hint + "?")) << message;
  }
  for (const char* text : {"B", "64X", "64XB", "64MMB", "64M B", "64MBB", "64nB", "abc", "",
                           "111111111111111111111MB"}) {
    const std::string message = Quantity::Parse(text).error().message;
    EXPECT_EQ(message.find("did you mean"), std::string::npos) << message;
  }
}

TEST(LimitAmount, IsRoundedUpToItsScale) {
  EXPECT_EQ(ParseLimitAmount("2Gi", AmountScale::kWhole), 2147483648);
  EXPECT_EQ(ParseLimitAmount("4G", AmountScale::kWhole), 4000000000);
  EXPECT_EQ(ParseLimitAmount("1.1", AmountScale::kWhole), 2);
  EXPECT_EQ(ParseLimitAmount("1n", AmountScale::kWhole), 1);
  EXPECT_EQ(ParseLimitAmount("0", AmountScale::kWhole), 0);
  EXPECT_EQ(ParseLimitAmount("-0", AmountScale::kWhole), 0);
  EXPECT_EQ(ParseLimitAmount("2", AmountScale::kNano), 2'000'000'000);
  EXPECT_EQ(ParseLimitAmount("500m", AmountScale::kNano), 500'000'000);
  EXPECT_EQ(ParseLimitAmount("1500m", AmountScale::kNano), 1'500'000'000);
  EXPECT_EQ(ParseLimitAmount("0.1n", AmountScale::kNano), 1);
  EXPECT_EQ(ParseLimitAmount("0", AmountScale::kNano), 0);
}

TEST(LimitAmount, IsNeverNegative) {
  for (const std::string_view text : {"-1", "-1n", "-0.1n", "-1E", "-9223372036854775807"}) {
    for (const AmountScale scale : {AmountScale::kWhole, AmountScale::kNano}) {
      const auto amount = ParseLimitAmount(text, scale);
      ASSERT_FALSE(amount) << text;
      EXPECT_EQ(amount.error().message,
                "negative where a limit is meant: allowed is 0 or more, given \"" +
                    std::string(text) + "\"");
    }
  }
}

// The largest int64 stands for "unlimited", which no number may mean by accident.
TEST(LimitAmount, IsBelowTheMarkOfUnlimited) {
  EXPECT_EQ(ParseLimitAmount("9223372036854775806", AmountScale::kWhole), kMax - 1);
  EXPECT_EQ(ParseLimitAmount("9223372036.854775806", AmountScale::kNano), kMax - 1);
  for (const std::string_view text :
       {"9223372036854775807", "9223372036854775806.1", "9223372036854775808", "8Ei", "1e99"}) {
    EXPECT_EQ(ParseLimitAmount(text, AmountScale::kWhole).error().code, ErrorCode::kInvalidArgument)
        << text;
  }
  for (const std::string_view text :
       {"9223372036.854775807", "9223372036.8547758061", "9223372036.854775808", "1E", "8Ei"}) {
    EXPECT_EQ(ParseLimitAmount(text, AmountScale::kNano).error().code, ErrorCode::kInvalidArgument)
        << text;
  }
}

TEST(LimitAmount, IsAQuantity) {
  for (const AmountScale scale : {AmountScale::kWhole, AmountScale::kNano}) {
    EXPECT_EQ(ParseLimitAmount("2Gib", scale).error().message,
              Quantity::Parse("2Gib").error().message);
    EXPECT_FALSE(ParseLimitAmount("", scale));
  }
}

}  // namespace
}  // namespace mete
