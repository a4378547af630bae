#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "mete/units.h"

namespace mete {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(ParseDuration, ReadsSpans) {
  const struct {
    std::string_view text;
    std::int64_t nano;
  } rows[] = {
      {"0", 0},
      {"0s", 0},
      {"0ns", 0},
      {"2s", 2 * kSecond},
      {"02s", 2 * kSecond},
      {"500ms", kSecond / 2},
      {"250us", 250'000},
      {"7ns", 7},
      {"5m", 300 * kSecond},
      {"1h", 3600 * kSecond},
      {"1d", 86400 * kSecond},
      {"30", 30 * kSecond},
      {"1.5", 1'500'000'000},
      {".5", kSecond / 2},
      {"1.", kSecond},
      {"1.5s", 1'500'000'000},
      {"1.s", kSecond},
      {".5h", 1800 * kSecond},
      {"0.5ms", 500'000},
      {"0.001us", 1},
      {"1h30m", 5400 * kSecond},
      {"1d2h3m4s5ms6us7ns", 93784'005'006'007},
      {"1m2.5s", 62'500'000'000},
      {"90m", 5400 * kSecond},
      {"1s1ns", kSecond + 1},
      {"1.000000001", kSecond + 1},
      {"1.0000000010000", kSecond + 1},
      {"0.00000000000125d", 108},
      {"9223372036.854775807s", 9223372036'854'775'807},
      {"106751d23h47m16.854775807s", 9223372036'854'775'807},
      {"9223372036854775807ns", 9223372036'854'775'807},
  };
  for (const auto& row : rows) {
    const auto span = ParseDuration(row.text);
    ASSERT_TRUE(span) << span.error().message;
    EXPECT_EQ(span->count(), row.nano) << row.text;
  }
}

TEST(ParseDuration, RefusesWhatIsNoSpan) {
  const struct {
    std::string_view text;
    std::string_view end;
  } rows[] = {
      {"", "character 1 is missing in \"\""},
      {".", "character 2 is missing in \".\""},
      {"s", "character 1 is wrong in \"s\""},
      {".s", "character 2 is wrong in \".s\""},
      {"-1s", "character 1 is wrong in \"-1s\""},
      {"+1s", "character 1 is wrong in \"+1s\""},
      {"5x", "character 2 is wrong in \"5x\""},
      {"5S", "character 2 is wrong in \"5S\""},
      {"5M", "character 2 is wrong in \"5M\""},
      {"5sec", "character 2 is wrong in \"5sec\""},
      {"5 s", "character 2 is wrong in \"5 s\""},
      {"5s ", "character 3 is wrong in \"5s \""},
      {"5s\n", "character 3 is wrong in \"5s\\x0a\""},
      {{"5s\0", 3}, "character 3 is wrong in \"5s\\x00\""},
      {{"5\0", 2}, "character 2 is wrong in \"5\\x00\""},
      {"1h5", "character 4 is missing in \"1h5\""},
      {"1h5h", "character 4 is wrong in \"1h5h\""},
      {"1s5m", "character 4 is wrong in \"1s5m\""},
      {"1ns1ns", "character 5 is wrong in \"1ns1ns\""},
      {"1ns1", "character 5 is missing in \"1ns1\""},
      {"1.5h30m", "character 5 is wrong in \"1.5h30m\""},
      {"1..5s", "character 3 is wrong in \"1..5s\""},
      {"1.5.5", "character 4 is wrong in \"1.5.5\""},
      {"1e3", "character 2 is wrong in \"1e3\""},
      {"NaN", "character 1 is wrong in \"NaN\""},
      {"1,5s", "character 2 is wrong in \"1,5s\""},
      {"forever", "character 1 is wrong in \"forever\""},
  };
  for (const auto& row : rows) {
    const auto span = ParseDuration(row.text);
    ASSERT_FALSE(span) << row.text;
    EXPECT_EQ(span.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(span.error().message.starts_with("not a time span: allowed are ")) << row.text;
    EXPECT_TRUE(span.error().message.ends_with(row.end)) << span.error().message;
  }
}

TEST(ParseDuration, RefusesWhatDoesNotFit) {
  for (const std::string_view text :
       {"9223372036854775808ns", "9223372036.854775808s", "106751d23h47m16.854775808s", "106752d",
        "18446744073709551616ns", "18446744073709551617ns", "99999999999999999999999d",
        "9223372036s855ms"}) {
    const auto span = ParseDuration(text);
    ASSERT_FALSE(span) << text;
    EXPECT_TRUE(span.error().message.starts_with("too long a time span: ")) << text;
  }
  for (const std::string_view text :
       {"0.5ns", "0.0000000001", "1.00000000000000000001h", "0.0000000000000125d"}) {
    const auto span = ParseDuration(text);
    ASSERT_FALSE(span) << text;
    EXPECT_TRUE(span.error().message.starts_with("too fine a time span: ")) << text;
  }
}

TEST(FormatDuration, PrintsTheLongestUnitsFirst) {
  const struct {
    std::int64_t nano;
    std::string_view text;
  } rows[] = {
      {0, "0s"},
      {1, "1ns"},
      {999, "999ns"},
      {1000, "1us"},
      {1500, "1.5us"},
      {1'000'001, "1.000001ms"},
      {kSecond / 2, "500ms"},
      {kSecond, "1s"},
      {2 * kSecond, "2s"},
      {59'999'999'999, "59.999999999s"},
      {60 * kSecond, "1m"},
      {62'500'000'000, "1m2.5s"},
      {60 * kSecond + 1, "1m0.000000001s"},
      {60 * kSecond + 5'000'000, "1m0.005s"},
      {5400 * kSecond, "1h30m"},
      {3601 * kSecond, "1h1s"},
      {86400 * kSecond, "1d"},
      {86401 * kSecond, "1d1s"},
      {-kSecond / 2, "-500ms"},
      {-60 * kSecond - 1, "-1m0.000000001s"},
      {INT64_MAX, "106751d23h47m16.854775807s"},
      {INT64_MIN, "-106751d23h47m16.854775808s"},
  };
  for (const auto& row : rows) EXPECT_EQ(FormatDuration(Duration(row.nano)), row.text);
}

TEST(FormatDuration, RoundTrips) {
  constexpr std::uint64_t kSeed = 86400;
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < 100'000; ++i) {
    const Duration span(static_cast<std::int64_t>(random() >> (1 + random() % 63)));
    const auto again = ParseDuration(FormatDuration(span));
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_EQ(*again, span) << FormatDuration(span);
  }
}

}  // namespace
}  // namespace mete
