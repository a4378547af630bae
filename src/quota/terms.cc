#include "quota/terms.h"

namespace mete {
namespace {

bool Same(const Terms& a, const Terms& b) {
  if (a.window != b.window) return false;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    if (a.policies[i].mode != b.policies[i].mode) return false;
    if (a.policies[i].action != b.policies[i].action) return false;
  }
  return true;
}

}  // namespace

std::optional<std::uint16_t> TermsPool::IndexOf(const Terms& terms) {
  const std::lock_guard lock(mutex_);
  for (std::uint32_t i = 0; i < slab_.size(); ++i) {
    if (Same(slab_[i], terms)) return static_cast<std::uint16_t>(i);
  }
  if (slab_.size() == kMax) return std::nullopt;
  const auto index = static_cast<std::uint16_t>(slab_.size());
  slab_.Grow() = terms;
  return index;
}

}  // namespace mete
