#include "agent/time_text.h"

#include <fmt/format.h>

#include <ctime>

namespace mete::agent {
namespace {

std::tm UtcOf(Time time, const Clock& clock) {
  const WallTime wall = clock.WallNow() + (time - clock.Now());
  const std::time_t whole =
      std::chrono::ceil<std::chrono::seconds>(wall).time_since_epoch().count();
  std::tm utc{};
  gmtime_r(&whole, &utc);
  return utc;
}

}  // namespace

std::string TimeText(Time time, const Clock& clock) {
  const std::tm utc = UtcOf(time, clock);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string TimeOfDayText(Time time, const Clock& clock) {
  const std::tm utc = UtcOf(time, clock);
  return fmt::format("{:02}:{:02}:{:02} UTC", utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace mete::agent
