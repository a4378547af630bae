// Boot times as people read them: by the wall clock as it stands now, in UTC, to the second.
//
// Rounded up, so that what is due at that second has come by then.
#pragma once

#include <string>

#include "mete/clock.h"

namespace mete::agent {

// "2026-03-01T13:00:00Z" (RFC 3339).
std::string TimeText(Time time, const Clock& clock);

// "13:00:00 UTC".
std::string TimeOfDayText(Time time, const Clock& clock);

}  // namespace mete::agent
