// JSON in and out. Reading is simdjson's, seen only by json.cc; numbers keep their exact text, so
// that an amount never passes through floating point.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mete/error.h"

namespace mete::wire {

class Json;
using JsonArray = std::vector<Json>;
using JsonObject = std::vector<std::pair<std::string, Json>>;  // in the order of the text

// A number as it was written: "1500", "0.25", "-3", "1e3".
struct JsonNumber {
  std::string text;
};

class Json {
 public:
  std::variant<std::nullptr_t, bool, JsonNumber, std::string, JsonArray, JsonObject> value =
      nullptr;

  bool IsNull() const { return std::holds_alternative<std::nullptr_t>(value); }
  const JsonObject* AsObject() const { return std::get_if<JsonObject>(&value); }
  const JsonArray* AsArray() const { return std::get_if<JsonArray>(&value); }
  const std::string* AsString() const { return std::get_if<std::string>(&value); }
  const bool* AsBool() const { return std::get_if<bool>(&value); }
  const JsonNumber* AsNumber() const { return std::get_if<JsonNumber>(&value); }

  // The member of that name, or nullptr; also nullptr where this is no object.
  const Json* Find(std::string_view name) const;
};

// The whole text, which must hold one JSON value and nothing else. Refused with E2071: invalid
// UTF-8, duplicate keys, more than 64 levels, trailing text.
Result<Json> ParseJson(std::string_view text);

// A whole number that fits int64, written without fraction or exponent; E2071 names `field`.
Result<std::int64_t> JsonInt(const Json& json, std::string_view field);

// A decimal number (or a string that holds one) in nano-units, exact; E2071 if it is no number, not
// finite, finer than nano, or out of range. "0.25" is 250000000.
Result<std::int64_t> JsonNano(const Json& json, std::string_view field);

// Writes JSON in the order of the calls; commas and escapes are its business. Misuse is a failed
// check.
class JsonWriter {
 public:
  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  JsonWriter& Key(std::string_view name);
  JsonWriter& String(std::string_view text);
  JsonWriter& Int(std::int64_t number);
  JsonWriter& Nano(std::int64_t nano);  // as an exact decimal: 250000000 is 0.25
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

  // Key and value in one call.
  JsonWriter& Field(std::string_view name, std::string_view text) { return Key(name).String(text); }
  JsonWriter& Field(std::string_view name, const char* text) { return Key(name).String(text); }
  JsonWriter& Field(std::string_view name, std::int64_t number) { return Key(name).Int(number); }
  JsonWriter& FieldBool(std::string_view name, bool value) { return Key(name).Bool(value); }
  JsonWriter& FieldNano(std::string_view name, std::int64_t nano) { return Key(name).Nano(nano); }

  // The text so far; empties the writer.
  std::string Take();

 private:
  void BeforeValue();

  std::string text_;
  std::vector<char> open_;  // '{' or '[' per level
  bool need_comma_ = false;
  bool after_key_ = false;
};

}  // namespace mete::wire
