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
};

inline constexpr std::array<UsageField, 6> kUsageFields = {{
    {"tokens", Resource::kTokens, AmountForm::kWhole},
    {"requests", Resource::kRequests, AmountForm::kWhole},
    {"cost", Resource::kCost, AmountForm::kNano},
    {"cpu_seconds", Resource::kCpu, AmountForm::kNano},
    {"memory_mb", Resource::kMemory, AmountForm::kMebi},
    {"gpu_memory_mb", Resource::kGpuMemory, AmountForm::kMebi},
}};

}  // namespace mete::agent
