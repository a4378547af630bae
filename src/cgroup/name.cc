#include "cgroup/name.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/quote.h"

namespace mete::cgroup {
namespace {

constexpr std::size_t kMaxLength = 128;

bool IsAllowed(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == ':' || c == '-';
}

}  // namespace

Result<void> CheckGroupName(std::string_view name) {
  if (!name.empty() && name.size() <= kMaxLength && std::ranges::all_of(name, IsAllowed) &&
      name != "." && name != "..") {
    return {};
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("group name is not allowed: given {} ({} bytes), allowed 1 to {} of "
                          "A-Z a-z 0-9 . _ : - and neither . nor ..",
                          Quoted(name), name.size(), kMaxLength));
}

}  // namespace mete::cgroup
