// The amounts that a report may name, and how each is written.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "mete/quota.h"

namespace mete::agent {

enum class AmountForm : std::uint8_t { kWhole, kNano, kMebi };  // kMebi: decimal MiB, in bytes

struct UsageField {
  std::string_view name;
  Resource resource;
  AmountForm form;
  bool measured;  // by mete itself, so that a report of it is not charged (rule 15)
};

inline constexpr std::array<UsageField, 6> kUsageFields = {{
    {"tokens", Resource::kTokens, AmountForm::kWhole, false},
    {"requests", Resource::kRequests, AmountForm::kWhole, false},
    {"cost", Resource::kCost, AmountForm::kNano, false},
    {"cpu_seconds", Resource::kCpu, AmountForm::kNano, true},
    {"memory_mb", Resource::kMemory, AmountForm::kMebi, true},
    {"gpu_memory_mb", Resource::kGpuMemory, AmountForm::kMebi, false},
}};

}  // namespace mete::agent
