// What `mete doctor` prints.
#pragma once

#include <string>

#include "agent/host.h"

namespace mete::cli {

std::string DoctorText(const agent::Capabilities& found);
std::string DoctorJson(const agent::Capabilities& found);

}  // namespace mete::cli
