#include "base/quote.h"

namespace mete {
namespace {
// A line of a terminal holds this much beside what the message has to say.
constexpr std::size_t kShown = 40;
}  // namespace

std::string Quoted(std::string_view text, std::size_t focus) {
  std::size_t first = 0;
  if (text.size() > kShown && focus > kShown / 2) {
    first = focus - kShown / 2;
    if (first > text.size() - kShown) first = text.size() - kShown;
  }
  const std::string_view shown = text.substr(first, kShown);

  std::string out;
  if (first > 0) out += "...";
  out += '"';
  for (const char c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e) {
      constexpr char kHex[] = "0123456789abcdef";
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  out += '"';
  if (first + shown.size() < text.size()) out += "...";
  return out;
}

}  // namespace mete
