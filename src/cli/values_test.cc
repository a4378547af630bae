#include "cli/values.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mete::cli {
namespace {

TEST(ParseCount, TakesWholeNumbersOnly) {
  const std::vector<std::pair<const char*, std::int64_t>> good = {
      {"0", 0}, {"1", 1}, {"007", 7}, {"1500", 1500}, {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, expected] : good) {
    Result<std::int64_t> count = ParseCount(text);
    ASSERT_TRUE(count) << text;
    EXPECT_EQ(*count, expected);
  }
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "1.0", "1e3", "1k", "0x1", "1_000",
                           "9223372036854775808", "99999999999999999999", "one"}) {
    EXPECT_FALSE(ParseCount(text)) << text;
  }
}

void Expect(ValueCheck check, const Flag& flag, std::vector<const char*> good,
            std::vector<const char*> bad) {
  for (const char* value : good) {
    Result<void> ok = check(flag, value);
    EXPECT_TRUE(ok) << flag.name << " " << value << ": " << ok.error().message;
  }
  for (const char* value : bad) {
    Result<void> ok = check(flag, value);
    ASSERT_FALSE(ok) << flag.name << " " << value;
    EXPECT_EQ(ok.error().code, ErrorCode::kInvalidArgument) << value;
    // The value is in the message: after it, the caller only adds the flag.
    EXPECT_NE(ok.error().message.find(value), std::string::npos) << ok.error().message;
    EXPECT_EQ(ok.error().message.find('\n'), std::string::npos) << ok.error().message;
  }
}

TEST(Checks, DecideByTheValue) {
  Expect(CheckCount, {}, {"0", "5"}, {"", "-5", "5k"});
  Expect(CheckNano, {}, {"0", "0.25", "9223372036.854775807"},
         {"", "-0.25", "0.0000000001", "9223372036.854775808", "NaN", "1e3"});
  Expect(CheckDuration, {}, {"0", "2s", "500ms", "1h30m"}, {"", "-2s", "2x", "2 s"});
  Expect(CheckBytes, {}, {"0", "512Mi", "1.5Gi", "8Pi"},
         {"", "512MB", "-1Mi", "9Pi", "9007199254740993"});
  Expect(CheckId, {}, {"a", "Agent_1.x:y-z", "0"}, {"", "a b", "a/b", "a*b", "a%41"});
}

TEST(Checks, AnIdHasAtMost128Bytes) {
  EXPECT_TRUE(IsId(std::string(128, 'a')));
  EXPECT_FALSE(IsId(std::string(129, 'a')));
  EXPECT_FALSE(CheckId({}, std::string(129, 'a')));
  EXPECT_FALSE(IsId(std::string_view("a\0b", 3)));
}

TEST(Checks, AChoiceIsOneOfTheWordsThatHelpShows) {
  const Flag flag = {"on-memory", "terminate|suspend|warn", ""};
  Expect(CheckChoice, flag, {"terminate", "suspend", "warn"},
         {"", "Terminate", "susp", "terminate|suspend", "|", "warnn"});
  EXPECT_EQ(CheckChoice(flag, "stop").error().message,
            "must be one of terminate, suspend, warn, given \"stop\"");
}

TEST(Checks, ALimitIsReadByTheNameOfItsFlag) {
  Expect(CheckLimit, {"memory", "BYTES", ""}, {"256Mi", "0", "1e9"},
         {"", "2Gib", "-1", "unlimited", "9223372036854775807"});
  Expect(CheckLimit, {"tokens-per-hour", "N", ""}, {"20000", "20k"}, {"", "20K", "lots"});
  Expect(CheckKernelLimit, {"memory", "BYTES", ""}, {"1Mi", "2Gi"}, {"1", "0", "1048575", "-5Mi"});
  EXPECT_EQ(CheckKernelLimit({"memory", "BYTES", ""}, "-5Mi").error().message,
            "less than the kernel can hold, allowed: at least 1Mi, given: -5Mi");
  EXPECT_NE(CheckKernelLimit({"tokens-per-hour", "N", ""}, "-5").error().message.find("0 or more"),
            std::string::npos);
  Expect(CheckKernelLimit, {"cpu", "CORES", ""}, {"10m", "2"}, {"9m", "0", "-1"});
  Expect(CheckLimitOrUnlimited, {"cpu", "CORES", ""}, {"500m", "2", "unlimited"},
         {"", "Unlimited", "two"});
}

}  // namespace
}  // namespace mete::cli
