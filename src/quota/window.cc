#include "quota/window.h"

#include "base/check.h"

namespace mete {

Window::Window(Time start, Duration length) : start_(start), length_(length) {
  METE_CHECK(length >= kShortestWindow);
}

Time Window::reset_at() const {
  if (start_ > Time::max() - length_) return Time::max();
  return start_ + length_;
}

std::int64_t Window::Advance(Time now) {
  if (now < start_) return 0;
  // Unsigned: the span between a time before the epoch and a late one need not fit in an int64.
  const auto from = static_cast<std::uint64_t>(start_.time_since_epoch().count());
  const auto to = static_cast<std::uint64_t>(now.time_since_epoch().count());
  const auto length = static_cast<std::uint64_t>(length_.count());
  const std::uint64_t passed = (to - from) / length;
  start_ = Time(Duration(static_cast<std::int64_t>(from + passed * length)));
  return static_cast<std::int64_t>(passed);
}

}  // namespace mete
