// The words that snapshots of budgets are made of: for people, and as JSON.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "mete/budget.h"
#include "mete/units.h"

namespace mete::snapshot {

inline std::string Fixed(double value, int places) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, places);
  return std::string(text, end.ptr);
}

inline std::string Limit(std::int64_t limit) {
  return limit == kNoLimit ? "unlimited" : FormatBytes(limit);
}

inline void AddLine(std::string& text, std::string_view name, const BudgetSnapshot& shot) {
  text += name;
  text.append(name.size() < 12 ? 12 - name.size() : 1, ' ');
  text += FormatBytes(shot.used) + " of " + Limit(shot.limit) + ", peak " + FormatBytes(shot.peak) +
          "\n";
}

// Fields of a JSON object, one after the other.
class Fields {
 public:
  void Add(std::string_view name, std::string_view raw) {
    if (!text_.empty()) text_ += ',';
    text_.append("\"").append(name).append("\":").append(raw);
  }
  void Add(std::string_view name, std::int64_t value) { Add(name, std::to_string(value)); }
  void Count(std::string_view name, std::uint64_t value) { Add(name, std::to_string(value)); }
  std::string Object() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

inline std::string JsonOf(const BudgetSnapshot& shot) {
  Fields fields;
  if (shot.limit == kNoLimit) {
    fields.Add("limit", "null");
  } else {
    fields.Add("limit", shot.limit);
  }
  fields.Add("used", shot.used);
  fields.Add("held", shot.held);
  fields.Add("peak", shot.peak);
  return fields.Object();
}

inline std::string JsonString(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20) {
      quoted += "\\u00";
      quoted += kHex[byte >> 4];
      quoted += kHex[byte & 15];
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace mete::snapshot
