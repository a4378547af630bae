// The period over which a flow is counted (rule 7): half-open, [start, reset_at).
//
// Time is given in. A window keeps its phase: after idle time `reset_at` is the next boundary in
// the future, never a full length away from whoever looked.
#pragma once

#include <cstdint>

#include "mete/clock.h"

namespace mete {

// Shorter windows would end faster than anyone can look (rule 7).
inline constexpr Duration kShortestWindow = std::chrono::seconds(1);

class Window {
 public:
  // REQUIRES: length >= kShortestWindow.
  Window(Time start, Duration length);

  Time start() const { return start_; }
  Time reset_at() const;  // Time::max() where the sum would pass it: such a window never ends

  // Moves to the window that holds `now` and returns how many boundaries were passed; 0 within the
  // window, and for a `now` before it.
  std::int64_t Advance(Time now);

  // Starts a new window now, and with it a new phase (rule 8).
  void Reset(Time now) { start_ = now; }

 private:
  Time start_;
  Duration length_;
};

}  // namespace mete
