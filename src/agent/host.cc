#include "agent/host.h"

namespace mete::agent {

std::string_view NameOf(Grade grade) noexcept {
  switch (grade) {
    case Grade::kKernel: return "kernel";
    case Grade::kSampled: return "sampled";
    case Grade::kReported: return "reported";
    case Grade::kAdvisory: return "advisory";
    case Grade::kAbsent: return "absent";
  }
  return "absent";
}

}  // namespace mete::agent
