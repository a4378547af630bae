#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "wire/json.h"

namespace mete::wire {
namespace {

TEST(JsonWriter, WritesCommasAndNesting) {
  JsonWriter writer;
  writer.BeginObject()
      .Field("a", 1)
      .Field("b", "x")
      .FieldBool("c", false)
      .FieldNano("d", -250'000'000);
  writer.Key("e").BeginArray().Int(1).Null().BeginArray().EndArray().BeginObject().EndObject();
  writer.EndArray()
      .Key("f")
      .BeginObject()
      .Field("g", std::string_view("y"))
      .EndObject()
      .EndObject();
  const std::string text = writer.Take();
  EXPECT_EQ(text, R"({"a":1,"b":"x","c":false,"d":-0.25,"e":[1,null,[],{}],"f":{"g":"y"}})");
  EXPECT_TRUE(ParseJson(text));
  // Take empties it: the next text begins anew.
  EXPECT_EQ(writer.Int(INT64_MIN).Take(), "-9223372036854775808");
}

TEST(JsonWriter, WhatIsWrittenIsReadBack) {
  std::string every;
  for (int c = 0; c < 0x80; ++c) every += static_cast<char>(c);
  every += "\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF";
  const std::string text = JsonWriter().BeginObject().Field(every, every).EndObject().Take();
  Result<Json> json = ParseJson(text);
  ASSERT_TRUE(json) << json.error().message;
  ASSERT_NE(json->Find(every), nullptr);
  EXPECT_EQ(*json->Find(every)->AsString(), every);
}

TEST(JsonWriter, ReplacesWhatIsNotUtf8) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"a\xFFz", "a\xEF\xBF\xBDz"},
      {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xE2\x82", "\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xE2\x82\xAC\xE2", "\xE2\x82\xAC\xEF\xBF\xBD"},
  };
  for (const auto& [given, expected] : rows) {
    const std::string text = JsonWriter().String(given).Take();
    EXPECT_EQ(text, "\"" + expected + "\"");
    EXPECT_TRUE(ParseJson(text));
  }
}

TEST(JsonWriterDeathTest, MisuseIsAFailedCheck) {
  EXPECT_DEATH(JsonWriter().BeginObject().Int(1), "check failed");
  EXPECT_DEATH(JsonWriter().Key("a"), "check failed");
  EXPECT_DEATH(JsonWriter().BeginObject().Key("a").EndObject(), "check failed");
  EXPECT_DEATH(JsonWriter().BeginObject().Key("a").Key("b"), "check failed");
  EXPECT_DEATH(JsonWriter().BeginArray().EndObject(), "check failed");
  EXPECT_DEATH(JsonWriter().BeginArray().Take(), "check failed");
  EXPECT_DEATH(JsonWriter().Int(1).Int(2), "check failed");
}

}  // namespace
}  // namespace mete::wire
