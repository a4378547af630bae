// Lines of a schedule, from texts and numbers.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace mete::interleave {

inline void Append(std::string& line, std::string_view text) { line += text; }
inline void Append(std::string& line, std::integral auto number) { line += std::to_string(number); }

template <class... Parts>
std::string Line(const Parts&... parts) {
  std::string line;
  (Append(line, parts), ...);
  return line;
}

}  // namespace mete::interleave
