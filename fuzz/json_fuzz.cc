// Feeds bytes to the JSON reader, beside simdjson's document parser, which validates everything in
// another way.
//
// What must hold: what is accepted, the other accepts too (but for numbers, of which it keeps no
// text), and it is read back the same after it is written; what only this one refuses, it refuses
// for one of its own rules.
#include <simdjson.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "wire/json.h"

namespace {

using mete::Result;
using mete::wire::Json;

bool Same(const Json& a, const Json& b) {
  if (a.value.index() != b.value.index()) return false;
  if (const bool* flag = a.AsBool()) return *flag == *b.AsBool();
  if (const auto* number = a.AsNumber()) return number->text == b.AsNumber()->text;
  if (const std::string* text = a.AsString()) return *text == *b.AsString();
  if (const auto* array = a.AsArray()) {
    if (array->size() != b.AsArray()->size()) return false;
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (!Same((*array)[i], (*b.AsArray())[i])) return false;
    }
  }
  if (const auto* object = a.AsObject()) {
    if (object->size() != b.AsObject()->size()) return false;
    for (std::size_t i = 0; i < object->size(); ++i) {
      const auto& [key, value] = (*object)[i];
      if (key != (*b.AsObject())[i].first || !Same(value, (*b.AsObject())[i].second)) return false;
    }
  }
  return true;
}

std::string Text(const Json& json) {
  using mete::wire::JsonWriter;
  if (json.IsNull()) return JsonWriter().Null().Take();
  if (const bool* flag = json.AsBool()) return JsonWriter().Bool(*flag).Take();
  if (const auto* number = json.AsNumber()) return number->text;
  if (const std::string* text = json.AsString()) return JsonWriter().String(*text).Take();
  std::string text;
  if (const auto* array = json.AsArray()) {
    for (const Json& element : *array) text += (text.empty() ? "" : ", ") + Text(element);
    return "[" + text + "]";
  }
  for (const auto& [key, value] : *json.AsObject()) {
    text += (text.empty() ? "" : ", ") + JsonWriter().String(key).Take() + ":\n" + Text(value);
  }
  return "{" + text + "}";
}

bool IsOwnRule(std::string_view message) {
  constexpr std::array<std::string_view, 4> kRules = {"more than 64 levels", "more than 10000",
                                                      "half a surrogate pair", "stands twice"};
  for (std::string_view rule : kRules) {
    if (message.find(rule) != message.npos) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
  const std::string_view text(reinterpret_cast<const char*>(data), length);
  const Result<Json> json = mete::wire::ParseJson(text);
  simdjson::dom::parser parser;
  const simdjson::error_code other = parser.parse(text.data(), text.size()).error();
  if (json) {
    METE_CHECK(other == simdjson::SUCCESS || other == simdjson::NUMBER_ERROR);
    const Result<Json> again = mete::wire::ParseJson(Text(*json));
    METE_CHECK(again && Same(*json, *again));
    static_cast<void>(mete::wire::JsonInt(*json, "field"));
    static_cast<void>(mete::wire::JsonNano(*json, "field"));
  } else {
    METE_CHECK(other != simdjson::SUCCESS || IsOwnRule(json.error().message));
  }
  return 0;
}
