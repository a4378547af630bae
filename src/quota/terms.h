// On which terms an account is kept: what does not change while it counts, and is the same for many
// accounts, each distinct set of them kept once and for good.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "mete/clock.h"
#include "mete/quota.h"
#include "quota/slab.h"

namespace mete {

struct Terms {
  PolicySet policies;
  Duration window{};  // the main one

  const Policy& of(Resource resource) const { return policies[static_cast<std::size_t>(resource)]; }
};

class TermsPool {
 public:
  static constexpr std::size_t kMax = 65536;

  // Nothing, when there are kMax already.
  std::optional<std::uint16_t> IndexOf(const Terms& terms);
  const Terms& operator[](std::uint16_t index) const noexcept { return slab_[index]; }

 private:
  std::mutex mutex_;
  Slab<Terms, 256, kMax / 256> slab_;
};

}  // namespace mete
