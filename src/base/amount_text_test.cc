#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>

#include "mete/units.h"

namespace mete {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kKi = 1024;
constexpr std::int64_t kMi = 1024 * kKi;
constexpr std::int64_t kGi = 1024 * kMi;

TEST(FormatBytes, RoundsToATenthAndKeepsWhatIsExact) {
  const struct {
    std::int64_t bytes;
    std::string_view text;
  } rows[] = {
      {0, "0 B"},
      {1, "1 B"},
      {1023, "1023 B"},
      {kKi, "1 KiB"},
      {kKi + 1, "1.0 KiB"},
      {kKi + 51, "1.0 KiB"},
      {kKi + 52, "1.1 KiB"},
      {kKi + 512, "1.5 KiB"},
      {1023 * kKi, "1023 KiB"},
      {1023 * kKi + 972, "1023.9 KiB"},
      {1023 * kKi + 973, "1.0 MiB"},
      {kMi - 1, "1.0 MiB"},
      {kMi, "1 MiB"},
      {47395635, "45.2 MiB"},
      {256 * kMi, "256 MiB"},
      {kGi - 1, "1.0 GiB"},
      {kGi, "1 GiB"},
      {kGi + kGi / 2, "1.5 GiB"},
      {1024 * kGi, "1 TiB"},
      {kMi * kGi, "1 PiB"},
      {kGi * kGi, "1 EiB"},
      {kMax, "8.0 EiB"},
      {kMin, "-8 EiB"},
      {-1, "-1 B"},
      {-kKi - 512, "-1.5 KiB"},
  };
  for (const auto& row : rows) EXPECT_EQ(FormatBytes(row.bytes), row.text) << row.bytes;
}

TEST(CanonicalBytes, IsTheCanonicalQuantity) {
  EXPECT_EQ(CanonicalBytes(0), "0");
  EXPECT_EQ(CanonicalBytes(1023), "1023");
  EXPECT_EQ(CanonicalBytes(1024), "1Ki");
  EXPECT_EQ(CanonicalBytes(1025), "1025");
  EXPECT_EQ(CanonicalBytes(256 * kMi), "256Mi");
  EXPECT_EQ(CanonicalBytes(1536 * kMi), "1536Mi");
  EXPECT_EQ(CanonicalBytes(kMax), "9223372036854775807");
  EXPECT_EQ(CanonicalBytes(kMin), "-8Ei");
  EXPECT_EQ(CanonicalBytes(-kKi), "-1Ki");
  for (std::int64_t bytes = 1; bytes > 0 && bytes < kMax / 3; bytes *= 3) {
    EXPECT_EQ(Quantity::Parse(CanonicalBytes(bytes)).value().Value(), bytes);
  }
}

TEST(NanoDecimal, ReadsExactly) {
  const struct {
    std::string_view text;
    std::int64_t nano;
  } rows[] = {
      {"0", 0},
      {"-0", 0},
      {"0.25", 250'000'000},
      {"+0.25", 250'000'000},
      {"-0.25", -250'000'000},
      {".25", 250'000'000},
      {"12", 12'000'000'000},
      {"12.", 12'000'000'000},
      {"007", 7'000'000'000},
      {"0.000000001", 1},
      {"0.0000000010000", 1},
      {"1.100000000000000000000000000000", 1'100'000'000},
      {"9223372036.854775807", kMax},
      {"-9223372036.854775808", kMin},
      {"-9223372036.854775807", -kMax},
      {"000000000000000000000009223372036.854775807", kMax},
  };
  for (const auto& row : rows) {
    const auto nano = ParseNanoDecimal(row.text);
    ASSERT_TRUE(nano) << nano.error().message;
    EXPECT_EQ(*nano, row.nano) << row.text;
  }
}

TEST(NanoDecimal, RefusesWhatIsNoDecimal) {
  const struct {
    std::string_view text;
    std::string_view end;
  } rows[] = {
      {"", "character 1 is missing in \"\""},
      {"-", "character 2 is missing in \"-\""},
      {".", "character 2 is missing in \".\""},
      {"--1", "character 2 is wrong in \"--1\""},
      {"1.2.3", "character 4 is wrong in \"1.2.3\""},
      {"1e3", "character 2 is wrong in \"1e3\""},
      {"1m", "character 2 is wrong in \"1m\""},
      {"NaN", "character 1 is wrong in \"NaN\""},
      {"1,5", "character 2 is wrong in \"1,5\""},
      {"1 ", "character 2 is wrong in \"1 \""},
      {"1\n", "character 2 is wrong in \"1\\x0a\""},
      {{"1\0", 2}, "character 2 is wrong in \"1\\x00\""},
      {"$1", "character 1 is wrong in \"$1\""},
  };
  for (const auto& row : rows) {
    const auto nano = ParseNanoDecimal(row.text);
    ASSERT_FALSE(nano) << row.text;
    EXPECT_EQ(nano.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(nano.error().message.starts_with("not a decimal number: ")) << row.text;
    EXPECT_TRUE(nano.error().message.ends_with(row.end)) << nano.error().message;
  }
}

TEST(NanoDecimal, RefusesWhatDoesNotFit) {
  for (const std::string_view text :
       {"9223372036.854775808", "-9223372036.854775809", "9223372037", "18446744073.709551616",
        "18446744073.709551617", "99999999999999999999999"}) {
    const auto nano = ParseNanoDecimal(text);
    ASSERT_FALSE(nano) << text;
  }
  EXPECT_EQ(ParseNanoDecimal("9223372036.854775808").error().message,
            "too large: allowed is at most 9223372036.854775807 in magnitude, given "
            "\"9223372036.854775808\"");
  for (const std::string_view text : {"0.0000000001", "0.00000000000000000001", "-1.0000000005"}) {
    const auto nano = ParseNanoDecimal(text);
    ASSERT_FALSE(nano) << text;
    EXPECT_EQ(nano.error().message,
              "too fine: allowed are nine decimal places, given \"" + std::string(text) + "\"");
  }
}

TEST(NanoDecimal, PrintsTheShortestExactText) {
  EXPECT_EQ(FormatNanoDecimal(0), "0");
  EXPECT_EQ(FormatNanoDecimal(250'000'000), "0.25");
  EXPECT_EQ(FormatNanoDecimal(-250'000'000), "-0.25");
  EXPECT_EQ(FormatNanoDecimal(1), "0.000000001");
  EXPECT_EQ(FormatNanoDecimal(1'000'000'000), "1");
  EXPECT_EQ(FormatNanoDecimal(10'050'000'000), "10.05");
  EXPECT_EQ(FormatNanoDecimal(kMax), "9223372036.854775807");
  EXPECT_EQ(FormatNanoDecimal(kMin), "-9223372036.854775808");
}

TEST(NanoDecimal, RoundTrips) {
  constexpr std::uint64_t kSeed = 25;
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < 100'000; ++i) {
    const auto nano = static_cast<std::int64_t>(random()) >> (random() % 64);
    ASSERT_EQ(ParseNanoDecimal(FormatNanoDecimal(nano)), nano);
  }
}

}  // namespace
}  // namespace mete
