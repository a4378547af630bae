// Reading JSON: simdjson's on-demand front end, walked once and completely, so that everything is
// validated and every number is met while its text can still be taken. (Its document tree would
// hold a double or a 64-bit integer instead of the text.)
//
// What on-demand leaves to its caller is done here: the grammar of numbers, that an atom is a whole
// word, halves of surrogate pairs, duplicate keys, depth, size, and that nothing follows.
#include "wire/json.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/quote.h"

namespace mete::wire {
namespace {

namespace sj = simdjson;

constexpr int kMaxDepth = 64;
// A value in memory is up to 40 times its text ("1,"); this bounds the tree at about 3 MiB.
constexpr std::size_t kMaxValues = 10'000;

std::unexpected<Error> Refuse(std::string message) {
  return Fail(ErrorCode::kInvalidArgument, "bad JSON: " + std::move(message));
}

std::string_view TrimRight(std::string_view text) {
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  return text.substr(0, last == text.npos ? 0 : last + 1);
}

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
bool IsNumber(std::string_view text) {
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t start = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - start;
  };
  const auto take = [&](char c) {
    const bool there = at < text.size() && text[at] == c;
    if (there) ++at;
    return there;
  };
  take('-');
  const bool leading_zero = at < text.size() && text[at] == '0';
  const std::size_t whole = digits();
  if (whole == 0 || (leading_zero && whole > 1)) return false;
  if (take('.') && digits() == 0) return false;
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    if (digits() == 0) return false;
  }
  return at == text.size();
}

// simdjson checks the UTF-8 of the text; an escape can still spell half a surrogate pair, which
// becomes ED A0..BF xx: never valid UTF-8.
bool HasSurrogate(std::string_view text) {
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] == '\xED' && static_cast<unsigned char>(text[i + 1]) >= 0xA0) return true;
  }
  return false;
}

bool HasDuplicateKey(const JsonObject& object) {
  std::vector<std::string_view> keys(object.size());
  std::ranges::transform(object, keys.begin(), &JsonObject::value_type::first);
  std::ranges::sort(keys);
  return std::ranges::adjacent_find(keys) != keys.end();
}

class Reader {
 public:
  Result<void> Read(sj::ondemand::value value, int depth, Json* out) {
    if (++values_ > kMaxValues) return Refuse("more than 10000 values");
    sj::ondemand::json_type type{};
    if (auto error = value.type().get(type)) return Failed(error);
    switch (type) {
      case sj::ondemand::json_type::object: return ReadObject(value, depth + 1, out);
      case sj::ondemand::json_type::array: return ReadArray(value, depth + 1, out);
      case sj::ondemand::json_type::string: return ReadString(value, out);
      default: return ReadAtom(value, out);
    }
  }

 private:
  static std::unexpected<Error> Failed(sj::error_code error) {
    return Refuse(sj::error_message(error));
  }

  Result<void> ReadObject(sj::ondemand::value value, int depth, Json* out) {
    if (depth > kMaxDepth) return Refuse("more than 64 levels");
    sj::ondemand::object object;
    if (auto error = value.get_object().get(object)) return Failed(error);
    JsonObject members;
    for (auto entry : object) {
      sj::ondemand::field field;
      if (auto error = std::move(entry).get(field)) return Failed(error);
      std::string_view key;
      if (auto error = field.unescaped_key().get(key)) return Failed(error);
      if (HasSurrogate(key)) return Refuse("half a surrogate pair");
      Json& member = members.emplace_back(std::string(key), Json{}).second;
      if (Result<void> ok = Read(field.value(), depth, &member); !ok) return ok;
    }
    if (HasDuplicateKey(members)) return Refuse("a key that stands twice in one object");
    out->value = std::move(members);
    return {};
  }

  Result<void> ReadArray(sj::ondemand::value value, int depth, Json* out) {
    if (depth > kMaxDepth) return Refuse("more than 64 levels");
    sj::ondemand::array array;
    if (auto error = value.get_array().get(array)) return Failed(error);
    JsonArray elements;
    for (auto entry : array) {
      sj::ondemand::value element;
      if (auto error = std::move(entry).get(element)) return Failed(error);
      if (Result<void> ok = Read(element, depth, &elements.emplace_back()); !ok) return ok;
    }
    out->value = std::move(elements);
    return {};
  }

  static Result<void> ReadString(sj::ondemand::value value, Json* out) {
    std::string_view text;
    if (auto error = value.get_string().get(text)) return Failed(error);
    if (HasSurrogate(text)) return Refuse("half a surrogate pair");
    out->value = std::string(text);
    return {};
  }

  // A number, true, false or null is only looked at; the iteration around it moves on by itself.
  static Result<void> ReadAtom(sj::ondemand::value value, Json* out) {
    const std::string_view text = TrimRight(value.raw_json_token());
    if (text == "null") {
      out->value = nullptr;
    } else if (text == "true" || text == "false") {
      out->value = text == "true";
    } else if (IsNumber(text)) {
      out->value = JsonNumber{std::string(text)};
    } else {
      return Refuse("a word that is no value");
    }
    return {};
  }

  std::size_t values_ = 0;
};

// The number that a value holds, or a string that holds one; nullptr for anything else.
const std::string* NumberText(const Json& json) {
  if (const JsonNumber* number = json.AsNumber()) return &number->text;
  const std::string* text = json.AsString();
  return text != nullptr && IsNumber(*text) ? text : nullptr;
}

// Billionths of a number with an exponent, by moving its point: exact or nothing.
std::optional<std::int64_t> ExactNano(std::string_view text) {
  const std::size_t e = std::min(text.find_first_of("eE"), text.size());
  std::string_view mantissa = text.substr(0, e);
  std::int64_t shift = 9;
  if (e < text.size()) {
    std::string_view digits = text.substr(e + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    std::int64_t exponent = 0;
    const auto parsed = std::from_chars(digits.begin(), digits.end(), exponent);
    // Out of int64, or so large that only zero would survive it: 1 MiB of digits is the most.
    constexpr std::int64_t kFar = 10'000'000;
    if (parsed.ec != std::errc{} || exponent > kFar || exponent < -kFar) {
      exponent = digits.starts_with('-') ? -kFar : kFar;
    }
    shift += exponent;
  }
  const bool negative = mantissa.starts_with('-');
  if (negative) mantissa.remove_prefix(1);
  std::string digits(mantissa);
  if (const std::size_t point = digits.find('.'); point != digits.npos) {
    shift -= static_cast<std::int64_t>(digits.size() - point - 1);
    digits.erase(point, 1);
  }
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
  while (!digits.empty() && digits.back() == '0') digits.pop_back(), ++shift;
  if (digits.empty()) return 0;
  // 2^63 has 19 digits.
  if (shift < 0 || shift + static_cast<std::int64_t>(digits.size()) > 19) return std::nullopt;
  digits.append(static_cast<std::size_t>(shift), '0');
  if (negative) digits.insert(digits.begin(), '-');
  std::int64_t nano = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), nano);
  if (parsed.ec != std::errc{}) return std::nullopt;
  return nano;
}

std::unexpected<Error> BadField(std::string_view field, std::string_view allowed,
                                const Json& given) {
  std::string shown = "something else";
  if (const JsonNumber* number = given.AsNumber()) shown = Quoted(number->text);
  if (const std::string* text = given.AsString()) shown = Quoted(*text);
  return Fail(ErrorCode::kInvalidArgument,
              std::string(field) + " must be " + std::string(allowed) + ", given: " + shown);
}

}  // namespace

Result<Json> ParseJson(std::string_view text) {
  // In an array of one, a number or a string alone is read like any other value.
  sj::padded_string padded(text.size() + 2);
  padded.data()[0] = '[';
  std::ranges::copy(text, padded.data() + 1);
  padded.data()[text.size() + 1] = ']';

  sj::ondemand::parser parser;
  sj::ondemand::document document;
  sj::ondemand::array whole;
  if (auto error = parser.iterate(padded).get(document)) return Refuse(sj::error_message(error));
  if (auto error = document.get_array().get(whole)) return Refuse(sj::error_message(error));
  Json json;
  int count = 0;
  for (auto entry : whole) {
    sj::ondemand::value value;
    if (auto error = std::move(entry).get(value)) return Refuse(sj::error_message(error));
    if (++count > 1) break;
    if (Result<void> ok = Reader().Read(value, 0, &json); !ok) return std::unexpected(ok.error());
  }
  if (count == 0) return Refuse("no value");
  // There is a location as long as there are tokens.
  if (count > 1 || document.current_location().error() == sj::SUCCESS) {
    return Refuse("more after the value");
  }
  return json;
}

const Json* Json::Find(std::string_view name) const {
  const JsonObject* object = AsObject();
  if (object == nullptr) return nullptr;
  auto found = std::ranges::find(*object, name, &JsonObject::value_type::first);
  return found == object->end() ? nullptr : &found->second;
}

Result<std::int64_t> JsonInt(const Json& json, std::string_view field) {
  std::int64_t number = 0;
  const JsonNumber* given = json.AsNumber();
  if (given != nullptr) {
    const char* end = given->text.data() + given->text.size();
    const auto parsed = std::from_chars(given->text.data(), end, number);
    if (parsed.ec == std::errc{} && parsed.ptr == end) return number;
  }
  return BadField(field, "a whole number within 64 bits", json);
}

Result<std::int64_t> JsonNano(const Json& json, std::string_view field) {
  if (const std::string* text = NumberText(json)) {
    if (std::optional<std::int64_t> nano = ExactNano(*text)) return *nano;
  }
  return BadField(field, "a decimal number up to 9223372036.854775807 with at most nine places",
                  json);
}

}  // namespace mete::wire
