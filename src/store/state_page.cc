#include "store/state_page.h"

#include <algorithm>

namespace mete::store {
namespace {

constexpr unsigned kGroupBits = 7;
constexpr unsigned kMore = 1U << kGroupBits;  // another group follows
constexpr unsigned kMaxShift = 35;            // five groups hold any size

bool TakeSize(std::string_view& value, std::uint64_t& size) {
  size = 0;
  for (unsigned shift = 0; shift < kMaxShift; shift += kGroupBits) {
    if (value.empty()) return false;
    const auto byte = static_cast<unsigned char>(value.front());
    value.remove_prefix(1);
    size |= static_cast<std::uint64_t>(byte & (kMore - 1)) << shift;
    if ((byte & kMore) == 0) return true;
  }
  return false;
}

void AppendSize(std::uint64_t size, std::string& value) {
  for (; size >= kMore; size >>= kGroupBits) {
    value.push_back(static_cast<char>((size & (kMore - 1)) | kMore));
  }
  value.push_back(static_cast<char>(size));
}

}  // namespace

bool StatePage::Parse(std::string_view value) {
  std::array<std::uint64_t, kSlots> sizes;
  for (std::uint64_t& size : sizes) {
    if (!TakeSize(value, size)) return false;
  }
  for (std::size_t i = 0; i < kSlots; ++i) {
    states_[i].reset();
    if (sizes[i] == 0) continue;
    const std::size_t bytes = sizes[i] - 1;
    if (bytes > value.size()) return false;
    states_[i] = value.substr(0, bytes);
    value.remove_prefix(bytes);
  }
  return value.empty();
}

bool StatePage::empty() const noexcept {
  return std::ranges::none_of(states_, [](const auto& state) { return state.has_value(); });
}

void StatePage::AppendTo(std::string& value) const {
  for (const auto& state : states_) AppendSize(state ? state->size() + 1 : 0, value);
  for (const auto& state : states_) {
    if (state) value.append(*state);
  }
}

}  // namespace mete::store
