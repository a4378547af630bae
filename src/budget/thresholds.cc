// Interned sets of thresholds: a node has room for six bits, not for a list.
#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <string>

#include "mete/budget.h"

namespace mete {
namespace {

struct Set {
  std::array<std::uint8_t, Thresholds::kMax> percents{};
  std::uint8_t size = 0;
  bool operator==(const Set&) const = default;
};

constexpr std::size_t kMaxSets = 64;

// Entries below g_size are never changed again, so readers need no lock.
constinit std::array<Set, kMaxSets> g_sets = {Set{.percents = {80, 95}, .size = 2}};
constinit std::atomic<std::size_t> g_size{1};
constinit std::mutex g_grow;

std::unexpected<Error> Bad(const std::string& why) {
  return Fail(ErrorCode::kInvalidArgument,
              "thresholds: " + why + "; allowed are up to 7 rising percentages from 1 to 100");
}

}  // namespace

Result<Thresholds> Thresholds::Of(std::span<const int> percents) {
  if (percents.size() > kMax) return Bad(std::to_string(percents.size()) + " given");
  Set set;
  int last = 0;
  for (const int percent : percents) {
    if (percent <= last || percent > 100) {
      return Bad(std::to_string(percent) + " given after " + std::to_string(last));
    }
    set.percents[set.size++] = static_cast<std::uint8_t>(percent);
    last = percent;
  }
  const std::lock_guard lock(g_grow);
  const std::size_t size = g_size.load(std::memory_order_relaxed);
  const auto found =
      std::find(g_sets.begin(), g_sets.begin() + static_cast<std::ptrdiff_t>(size), set);
  const auto id = static_cast<std::size_t>(found - g_sets.begin());
  if (id == size) {
    if (size == kMaxSets) return Bad("64 different sets exist already");
    g_sets[id] = set;
    g_size.store(size + 1, std::memory_order_release);
  }
  return Thresholds(static_cast<std::uint8_t>(id));
}

std::span<const std::uint8_t> Thresholds::percents() const noexcept {
  const Set& set = g_sets[id_];
  return {set.percents.data(), set.size};
}

}  // namespace mete
