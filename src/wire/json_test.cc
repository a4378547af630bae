#include "wire/json.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mete::wire {
namespace {

using namespace std::string_literals;

// Writes a tree back; numbers as they stood.
std::string Text(const Json& json) {
  if (json.IsNull()) return "null";
  if (const bool* b = json.AsBool()) return *b ? "true" : "false";
  if (const JsonNumber* number = json.AsNumber()) return number->text;
  if (const std::string* text = json.AsString()) return JsonWriter().String(*text).Take();
  std::string out;
  if (const JsonArray* array = json.AsArray()) {
    for (const Json& element : *array) out += (out.empty() ? "" : ",") + Text(element);
    return "[" + out + "]";
  }
  for (const auto& [key, value] : *json.AsObject()) {
    out += (out.empty() ? "" : ",") + JsonWriter().String(key).Take() + ":" + Text(value);
  }
  return "{" + out + "}";
}

std::string Nested(std::size_t depth, const std::string& open, const std::string& close) {
  std::string text;
  for (std::size_t i = 0; i < depth; ++i) text += open;
  text += "0";
  for (std::size_t i = 0; i < depth; ++i) text += close;
  return text;
}

std::string Elements(std::size_t count) {
  std::string text = "[";
  for (std::size_t i = 0; i < count; ++i) text += i == 0 ? "1" : ",1";
  return text + "]";
}

TEST(ParseJson, ReadsEveryKindOfValue) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"null", "null"},
      {"true", "true"},
      {" false\r\n\t ", "false"},
      {"0", "0"},
      {"-0", "-0"},
      {"[]", "[]"},
      {"{}", "{}"},
      {"\"\"", "\"\""},
      {"[ 1 , 2 ]", "[1,2]"},
      {"{ \"b\" : [ { } , null ] , \"a\" : true }", "{\"b\":[{},null],\"a\":true}"},
      {"[[],[[]],{\"a\":{\"a\":{}}}]", "[[],[[]],{\"a\":{\"a\":{}}}]"},
      {"{\"\":1}", "{\"\":1}"},
      {"{\"a\":{\"a\":1},\"b\":{\"a\":1}}", "{\"a\":{\"a\":1},\"b\":{\"a\":1}}"},
      {Nested(64, "[", "]"), Nested(64, "[", "]")},
      {Nested(64, "{\"a\":", "}"), Nested(64, "{\"a\":", "}")},
      {Elements(9'999), Elements(9'999)},
  };
  for (const auto& [text, expected] : rows) {
    Result<Json> json = ParseJson(text);
    ASSERT_TRUE(json) << text << ": " << json.error().message;
    EXPECT_EQ(Text(*json), expected);
  }
}

TEST(ParseJson, KeepsTheTextOfNumbers) {
  const std::vector<std::string> numbers = {
      "1500",
      "9223372036854775807",
      "-9223372036854775808",
      "9223372036854775808",
      "18446744073709551616",
      "123456789012345678901234567890",
      "0.1",
      "0.30000000000000004",
      "0.000000001",
      "1e3",
      "1E+3",
      "1.50e-07",
      "1e400",
      "-1e-400",
      "2.5000",
      std::string(1000, '9'),
  };
  for (const std::string& number : numbers) {
    for (const std::string& text : {number, "[" + number + "]", "{\"a\": " + number + " }"}) {
      Result<Json> json = ParseJson(text);
      ASSERT_TRUE(json) << text << ": " << json.error().message;
      EXPECT_NE(Text(*json).find(number), std::string::npos) << text;
    }
  }
}

TEST(ParseJson, ReadsEscapes) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {R"("\" \\ \/ \b \f \n \r \t")", "\" \\ / \b \f \n \r \t"},
      {R"("\u0041\u00e9\u20AC")", "A\xC3\xA9\xE2\x82\xAC"},
      {R"("\ud83d\ude00")", "\xF0\x9F\x98\x80"},
      {R"("\uD7FF\uE000\uFFFF")", "\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF"},
      {R"("a\u0000b")", "a\0b"s},
      {"\"\xF0\x9F\x98\x80 \xED\x9F\xBF \x7F\"", "\xF0\x9F\x98\x80 \xED\x9F\xBF \x7F"},
  };
  for (const auto& [text, expected] : rows) {
    Result<Json> json = ParseJson(text);
    ASSERT_TRUE(json && json->AsString()) << text;
    EXPECT_EQ(*json->AsString(), expected) << text;
  }
  Result<Json> key = ParseJson(R"({"\u0061\"":1})");
  ASSERT_TRUE(key);
  EXPECT_NE(key->Find("a\""), nullptr);
}

void ExpectRefused(const std::vector<std::string>& rows) {
  for (const std::string& text : rows) {
    Result<Json> json = ParseJson(text);
    if (json) {
      ADD_FAILURE() << text.substr(0, 100) << " was read as " << Text(*json).substr(0, 100);
      continue;
    }
    EXPECT_EQ(json.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(json.error().message.find_first_of("\r\n"), std::string::npos) << text;
  }
}

TEST(ParseJson, RefusesBadStructure) {
  ExpectRefused({"",
                 " ",
                 "\n",
                 "[",
                 "]",
                 "{",
                 "}",
                 "[1",
                 "1]",
                 "{\"a\":1",
                 "[1}",
                 "{\"a\":1]",
                 "[[1]",
                 "{\"a\"}",
                 "{\"a\":}",
                 "{:1}",
                 "{1:1}",
                 "{a:1}",
                 "{'a':1}",
                 "{null:1}",
                 "{\"a\":1,}",
                 "{,\"a\":1}",
                 "{\"a\":1,,\"b\":2}",
                 "{\"a\":1 \"b\":2}",
                 "{\"a\" 1}",
                 "{\"a\"::1}",
                 "{\"a\":1:2}",
                 "{\"a\",\"b\"}",
                 "[,]",
                 "[1,]",
                 "[,1]",
                 "[1,,2]",
                 "[1 2]",
                 "[1:2]",
                 "[\"a\":1]",
                 ",",
                 ":",
                 "[\"a\" \"b\"]",
                 "{\"a\":1}}",
                 "[]]",
                 "{[]:1}",
                 "{{}:1}"});
}

TEST(ParseJson, RefusesMoreThanOneValue) {
  ExpectRefused({"1 2", "1,2", "{} {}", "[],[]", "1][2", "],[", "],[1", "\"a\"\"b\"", "null null",
                 "{}x", "1x", "[1]/", "1]", "[1]]", "{} ,"});
}

TEST(ParseJson, RefusesBadWords) {
  ExpectRefused({"nul", "nulll", "tru",      "True",      "TRUE",      "truefalse",   "false1",
                 "NaN", "nan",   "Infinity", "-Infinity", "undefined", "a",           "n",
                 "t",   "-",     "+",        "[nul]",     "[trux]",    "{\"a\":nulx}"});
}

TEST(ParseJson, RefusesBadNumbers) {
  ExpectRefused({"01",    "-01", "00",    "+1",   "1.",    ".1",         "-.1",         "1.e1",
                 "1e",    "1e+", "1e1.5", "0x10", "1_000", "--1",        "1-",          "1.2.3",
                 "1e1e1", "- 1", "1 000", "[01]", "[1.]",  "{\"a\":+1}", "\xEF\xBC\x91"});
}

TEST(ParseJson, RefusesBadStrings) {
  ExpectRefused({"\"", "\"a", "a\"", "\"\\\"", "\"\\x41\"", "\"\\u12\"", "\"\\u12G4\"", "\"\\'\"",
                 "\"\\ \"", "\"\n\"", "\"\t\"", "\"\x1f\"", "\"a\0b\""s, "\"\\\n\"", "'a'", "{\"a",
                 "{\"a\\\":1}"});
}

TEST(ParseJson, RefusesHalfASurrogatePair) {
  ExpectRefused({R"("\ud800")", R"("\udc00")", R"("\ud800x")", R"("\ud800\u0041")",
                 R"("\ud800\ud800")", R"("\udc00\ud800")", R"({"\udfff":1})"});
}

TEST(ParseJson, RefusesBadUtf8) {
  ExpectRefused({"\"\xC0\xAF\"", "\"\xE0\x80\xAF\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"",
                 "\"\xE2\x82\"", "\"\x80\"", "\"\xFF\"", "{\"\xFF\":1}", "\xFF", "[1]\xFF",
                 "\xEF\xBB\xBF{}"});
}

TEST(ParseJson, RefusesCommentsAndControlBytes) {
  ExpectRefused({"[1] // x", "/* */ 1", "#", "1\0"s, "\0"s, "{}\0"s, "[1,\f2]", "[1,\v2]"});
}

TEST(ParseJson, RefusesDuplicateKeys) {
  ExpectRefused({"{\"a\":1,\"a\":1}", "{\"a\":1,\"b\":2,\"a\":3}", R"({"a":1,"\u0061":2})",
                 "[{\"x\":{\"a\":1,\"b\":0,\"a\":1}}]", "{\"\":1,\"\":2}"});
}

TEST(ParseJson, RefusesWhatIsTooMuch) {
  ExpectRefused({Nested(65, "[", "]"), Nested(65, "{\"a\":", "}"), Nested(100'000, "[", "]"),
                 std::string(100'000, '['), std::string(100'000, ']'), Elements(10'000),
                 "[" + Elements(9'999) + "]"});
}

TEST(ParseJson, EveryPrefixOfADocumentIsRefused) {
  const std::string text =
      R"({"scope":"agent","limits":{"cpu":"500m","memory":null},"n":[1,-2.5e3,true,"\u20ac\\"]})";
  ASSERT_TRUE(ParseJson(text));
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(ParseJson(text.substr(0, length))) << text.substr(0, length);
  }
}

TEST(Json, FindsMembers) {
  Result<Json> json = ParseJson(R"({"a":1,"b":null})");
  ASSERT_TRUE(json);
  ASSERT_NE(json->Find("a"), nullptr);
  EXPECT_EQ(json->Find("a")->AsNumber()->text, "1");
  EXPECT_TRUE(json->Find("b")->IsNull());
  EXPECT_EQ(json->Find("c"), nullptr);
  EXPECT_EQ(json->Find("a")->Find("a"), nullptr);
}

TEST(JsonInt, TakesWholeNumbersWithin64Bits) {
  const std::vector<std::pair<std::string, std::int64_t>> good = {
      {"0", 0},
      {"-0", 0},
      {"1500", 1500},
      {"-3", -3},
      {"9223372036854775807", INT64_MAX},
      {"-9223372036854775808", INT64_MIN}};
  for (const auto& [text, expected] : good) {
    Result<std::int64_t> number = JsonInt(*ParseJson(text), "tokens");
    ASSERT_TRUE(number) << text;
    EXPECT_EQ(*number, expected);
  }
  for (const char* text : {"1.0", "1e3", "9223372036854775808", "-9223372036854775809", "\"1\"",
                           "null", "true", "[1]", "{}"}) {
    Result<std::int64_t> number = JsonInt(*ParseJson(text), "tokens");
    ASSERT_FALSE(number) << text;
    EXPECT_EQ(number.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(number.error().message.starts_with("tokens must be")) << number.error().message;
  }
}

TEST(JsonNano, IsExact) {
  const std::vector<std::pair<std::string, std::int64_t>> good = {
      {"0", 0},
      {"-0.0", 0},
      {"0e99999999999999999999", 0},
      {"0.25", 250'000'000},
      {"\"0.25\"", 250'000'000},
      {"1", 1'000'000'000},
      {"-1.5", -1'500'000'000},
      {"0.000000001", 1},
      {"0.1000000000000", 100'000'000},
      {"5e-05", 50'000},
      {"1E+3", 1'000'000'000'000},
      {"12.5e1", 125'000'000'000},
      {"100000e-14", 1},
      {"9223372036.854775807", INT64_MAX},
      {"-9223372036.854775808", INT64_MIN},
      {"92233720368547758.07e-7", INT64_MAX},
      {"0.0000000000000000000000000001e28", 1'000'000'000},
  };
  for (const auto& [text, expected] : good) {
    Result<std::int64_t> nano = JsonNano(*ParseJson(text), "cost");
    ASSERT_TRUE(nano) << text << ": " << nano.error().message;
    EXPECT_EQ(*nano, expected) << text;
  }
  for (const char* text : {"0.0000000001",
                           "1.0000000001",
                           "1e-10",
                           "9223372036.854775808",
                           "-9223372036.854775809",
                           "1e10",
                           "1e99999999999999999999",
                           "1e-99999999999999999999",
                           "\"\"",
                           "\"NaN\"",
                           "\"inf\"",
                           "\" 1\"",
                           "\"1 \"",
                           "\"+1\"",
                           "\"0x1\"",
                           "\"1,5\"",
                           "null",
                           "true",
                           "[1]",
                           "{}"}) {
    Result<std::int64_t> nano = JsonNano(*ParseJson(text), "cost");
    ASSERT_FALSE(nano) << text << " was read as " << *nano;
    EXPECT_TRUE(nano.error().message.starts_with("cost must be")) << nano.error().message;
  }
}

}  // namespace
}  // namespace mete::wire
