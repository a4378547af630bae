#include "cli/flags.h"

#include <gtest/gtest.h>

#include "cli/values.h"

namespace mete::cli {
namespace {

Result<void> Refuse(const Flag&, std::string_view) {
  return Fail(ErrorCode::kInvalidArgument, "must be better");
}

constexpr Flag kTable[] = {
    {"tokens", "N", "", CheckCount},
    {"tokens-per-hour", "N", "", CheckLimit},
    {"name", "TEXT", "", nullptr, false, "title called"},
    {"label", "TEXT", "", nullptr, /*repeats=*/true},
    {"bad", "TEXT", "", Refuse},
    {"json", "", ""},
};

Result<Flags> Parse(std::vector<const char*> arguments, bool end_at_operand = false) {
  // Flags keep views of the arguments, which are literals; the vector of pointers may go.
  return Flags::Parse({kTable, end_at_operand}, arguments);
}

TEST(Flags, TakesBothSpellings) {
  for (std::vector<const char*> arguments :
       {std::vector<const char*>{"--tokens", "5", "--json", "--name", "x"},
        std::vector<const char*>{"--name=x", "--tokens=5", "--json"}}) {
    Result<Flags> flags = Parse(arguments);
    ASSERT_TRUE(flags) << flags.error().message;
    EXPECT_EQ(flags->Get("tokens"), "5");
    EXPECT_EQ(flags->Get("name"), "x");
    EXPECT_TRUE(flags->Has("json"));
    EXPECT_FALSE(flags->Has("label"));
    EXPECT_EQ(flags->Get("label"), std::nullopt);
    EXPECT_TRUE(flags->operands().empty());
  }
}

TEST(Flags, OperandsAndOptionsMayMix) {
  Result<Flags> flags = Parse({"a", "--json", "b", "-", "--", "--tokens", "-c"});
  ASSERT_TRUE(flags);
  EXPECT_TRUE(flags->Has("json"));
  EXPECT_FALSE(flags->Has("tokens"));
  EXPECT_EQ(flags->operands(), (std::vector<std::string_view>{"a", "b", "-", "--tokens", "-c"}));
}

TEST(Flags, EndAtTheFirstOperandWhereTheRestIsAProgram) {
  const std::vector<std::vector<const char*>> rows = {
      {"--tokens", "5", "--", "ls", "--json", "--", "-l"},
      {"--tokens", "5", "ls", "--json", "--", "-l"},
  };
  for (const auto& arguments : rows) {
    Result<Flags> flags = Parse(arguments, true);
    ASSERT_TRUE(flags);
    EXPECT_FALSE(flags->Has("json"));
    EXPECT_EQ(flags->operands(), (std::vector<std::string_view>{"ls", "--json", "--", "-l"}));
    std::vector<char*> argv = flags->OperandArgv();
    ASSERT_EQ(argv.size(), 5U);
    EXPECT_STREQ(argv[0], "ls");
    EXPECT_STREQ(argv[3], "-l");
    EXPECT_EQ(argv[4], nullptr);
  }
}

TEST(Flags, ValuesMayLookOdd) {
  Result<Flags> flags = Parse({"--name", "-x", "--label=--json", "--label", "", "--label==="});
  ASSERT_TRUE(flags) << flags.error().message;
  EXPECT_EQ(flags->Get("name"), "-x");
  EXPECT_EQ(flags->GetAll("label"), (std::vector<std::string_view>{"--json", "", "=="}));
  EXPECT_EQ(flags->Get("label"), "==");
  EXPECT_FALSE(flags->Has("json"));
}

TEST(Flags, HelpEndsParsingWithoutAnError) {
  for (const char* help : {"--help", "-h"}) {
    Result<Flags> flags = Parse({"--json", help, "--nonsense"});
    ASSERT_TRUE(flags);
    EXPECT_TRUE(flags->help_wanted());
  }
  EXPECT_FALSE(Parse({"--", "--help"})->help_wanted());
  EXPECT_FALSE(Parse({"ls", "--help"}, true)->help_wanted());
}

struct Refusal {
  std::vector<const char*> arguments;
  const char* message;
};

TEST(Flags, RefusesInOneLineThatNamesTheFlag) {
  const std::vector<Refusal> rows = {
      {{"--tokens"}, "--tokens needs a value: --tokens N"},
      {{"--tokens", "--json"}, "--tokens needs a value: --tokens N"},
      {{"--tokens", "--"}, "--tokens needs a value: --tokens N"},
      {{"--tokens", "5x"},
       "--tokens: must be a whole number from 0 to 9223372036854775807, given \"5x\""},
      {{"--tokens="}, "--tokens: must be a whole number from 0 to 9223372036854775807, given \"\""},
      {{"--tokens", "-5"},
       "--tokens: must be a whole number from 0 to 9223372036854775807, given \"-5\""},
      {{"--tokens", "1", "--tokens=2"}, "--tokens is given twice"},
      {{"--bad", "x"}, "--bad: must be better, given \"x\""},
      {{"--json", "--json"}, "--json is given twice"},
      {{"--json=1"}, "--json takes no value, given \"1\""},
      {{"--json="}, "--json takes no value, given \"\""},
      {{"--tokns", "5"}, "unknown option \"--tokns\", did you mean --tokens?"},
      {{"--tokens-per-huor=5"},
       "unknown option \"--tokens-per-huor\", did you mean --tokens-per-hour?"},
      {{"--tok", "5"}, "unknown option \"--tok\", did you mean --tokens?"},
      {{"--JSON"},
       "unknown option \"--JSON\", allowed: --tokens, --tokens-per-hour, --name, --label, --bad, "
       "--json, "
       "--help"},
      {{"--title", "x"}, "unknown option \"--title\", did you mean --name?"},
      {{"--called=x"}, "unknown option \"--called\", did you mean --name?"},
      {{"--jsn"}, "unknown option \"--jsn\", did you mean --json?"},
      {{"--"
        "\n"},
       "unknown option \"--\\x0a\", allowed: --tokens, --tokens-per-hour, --name, --label, "
       "--bad, --json, --help"},
      {{"-j"}, "unknown option \"-j\", options are written --name or --name=value"},
      {{"-tokens", "5"}, "unknown option \"-tokens\", options are written --name or --name=value"},
  };
  for (const Refusal& row : rows) {
    Result<Flags> flags = Parse(row.arguments);
    ASSERT_FALSE(flags) << row.message;
    EXPECT_EQ(flags.error().message, row.message);
    EXPECT_EQ(flags.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(FlagsDeathTest, AskingForANameThatTheTableLacksIsAFailedCheck) {
  Result<Flags> flags = Parse({});
  EXPECT_DEATH(static_cast<void>(flags->Has("jsn")), "check failed");
  EXPECT_DEATH(static_cast<void>(flags->Get("token")), "check failed");
}

TEST(NearestName, FindsSlipsAndLeavesTheRest) {
  const std::vector<std::string_view> names = {"run", "report", "quota", "suspend", "resume"};
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"rnu", "run"},
      {"ru", "run"},
      {"runn", "run"},
      {"reprot", "report"},
      {"repotr", "report"},
      {"qota", "quota"},
      {"suspned", "suspend"},
      {"rep", "report"},
      {"resumed", "resume"},
      {"", ""},
      {"x", ""},
      {"list", ""},
      {"quotient", ""},
      {"ur", ""},
      {"run-everything", ""},
  };
  for (const auto& [given, expected] : rows) {
    EXPECT_EQ(NearestName(given, names), expected) << given;
  }
  EXPECT_EQ(NearestName(std::string(1000, 'r'), names), "");
}

}  // namespace
}  // namespace mete::cli
