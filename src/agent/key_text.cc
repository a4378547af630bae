#include "agent/key_text.h"

#include <utility>

#include "base/quote.h"

namespace mete::agent {
namespace {

Result<std::string> Bounded(std::string key) {
  if (key.size() <= kLongestKey) return key;
  return Fail(ErrorCode::kInvalidArgument, "Idempotency-Key: allowed: at most 255 bytes");
}

}  // namespace

Result<std::string> KeyText(std::string_view field) {
  if (!field.starts_with('"')) return Bounded(std::string(field));
  std::string key;
  for (std::size_t i = 1; i < field.size(); ++i) {
    char c = field[i];
    // What may follow are parameters, which nobody has given a meaning.
    if (c == '"') {
      if (i + 1 == field.size() || field[i + 1] == ';') return Bounded(std::move(key));
      break;
    }
    if (c == '\\') {
      c = ++i < field.size() ? field[i] : '\0';
      if (c != '"' && c != '\\') break;
    }
    if (c < 0x20 || c > 0x7e) break;
    key += c;
  }
  return Fail(ErrorCode::kInvalidArgument,
              "Idempotency-Key: allowed: a text in double quotes, given: " + Quoted(field));
}

std::string KeyField(std::string_view key) {
  std::string field = "\"";
  for (const char c : key) {
    if (c == '"' || c == '\\') field += '\\';
    field += c;
  }
  return field + '"';
}

}  // namespace mete::agent
