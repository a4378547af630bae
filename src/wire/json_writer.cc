#include "base/check.h"
#include "mete/units.h"
#include "wire/json.h"

namespace mete::wire {
namespace {

// The length of the valid UTF-8 sequence at the front of `text`, or 0. The table is that of the
// Unicode standard, 3.9: no overlong forms, no surrogates, nothing above U+10FFFF.
std::size_t SequenceLength(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto within = [&](std::size_t i, unsigned low, unsigned high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return within(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return within(1, low, high) && within(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return within(1, low, high) && within(2, 0x80, 0xBF) && within(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

void AppendEscaped(std::string* out, char c) {
  constexpr char kHex[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  switch (c) {
    case '"': out->append("\\\""); break;
    case '\\': out->append("\\\\"); break;
    case '\n': out->append("\\n"); break;
    case '\r': out->append("\\r"); break;
    case '\t': out->append("\\t"); break;
    default: out->append({'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]});
  }
}

// Names of programs and files need not be UTF-8, and JSON must be: what is not becomes U+FFFD.
void AppendString(std::string* out, std::string_view text) {
  *out += '"';
  while (!text.empty()) {
    const std::size_t length = SequenceLength(text);
    const char c = text.front();
    if (length == 0) {
      out->append("\xEF\xBF\xBD");
    } else if (length == 1 && (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\')) {
      AppendEscaped(out, c);
    } else {
      out->append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  *out += '"';
}

}  // namespace

void JsonWriter::BeforeValue() {
  const bool in_object = !open_.empty() && open_.back() == '{';
  METE_CHECK(in_object == after_key_);          // a member has a key, nothing else does
  METE_CHECK(!open_.empty() || text_.empty());  // one value at the top
  if (need_comma_ && !in_object) text_ += ',';
  after_key_ = false;
  need_comma_ = true;
}

JsonWriter& JsonWriter::BeginObject() {
  BeforeValue();
  text_ += '{';
  open_.push_back('{');
  need_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndObject() {
  METE_CHECK(!open_.empty() && open_.back() == '{' && !after_key_);
  text_ += '}';
  open_.pop_back();
  need_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::BeginArray() {
  BeforeValue();
  text_ += '[';
  open_.push_back('[');
  need_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndArray() {
  METE_CHECK(!open_.empty() && open_.back() == '[');
  text_ += ']';
  open_.pop_back();
  need_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view name) {
  METE_CHECK(!open_.empty() && open_.back() == '{' && !after_key_);
  if (need_comma_) text_ += ',';
  AppendString(&text_, name);
  text_ += ':';
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view text) {
  BeforeValue();
  AppendString(&text_, text);
  return *this;
}

JsonWriter& JsonWriter::Int(std::int64_t number) {
  BeforeValue();
  text_ += std::to_string(number);
  return *this;
}

JsonWriter& JsonWriter::Nano(std::int64_t nano) {
  BeforeValue();
  text_ += FormatNanoDecimal(nano);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) {
  BeforeValue();
  text_ += value ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::Null() {
  BeforeValue();
  text_ += "null";
  return *this;
}

std::string JsonWriter::Take() {
  METE_CHECK(open_.empty() && !after_key_);
  need_comma_ = false;
  return std::exchange(text_, {});
}

}  // namespace mete::wire
