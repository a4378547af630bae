// Holds a rate of CPU by letting a program run and stand still in turn, where the kernel does not
// hold it. A pure decision between what was used and what was allowed by now; the caller looks,
// acts, and comes back when told.
//
// The balance grows with the rate and shrinks with use. Running ends when it is used up, and goes
// on when it has grown to one slice. It never grows above one slice, so that an idle program saves
// nothing up; it may fall below zero without bound, so that whatever was used too much between two
// looks is waited out:
//
//   used within any time W  <=  rate x W + slice + cores x (longest time between two looks)
#pragma once

#include <cstdint>

#include "mete/clock.h"

namespace mete::cgroup {

class DutyCycle {
 public:
  // REQUIRES: nanocores > 0, cores > 0.
  DutyCycle(std::int64_t nanocores, unsigned cores);

  struct Decision {
    bool run;
    Duration next;  // look again after this
  };

  // `now` on any steady clock, `used` CPU time in nanoseconds since any start, both not falling.
  Decision Look(Duration now, std::int64_t used);

  std::int64_t nanocores() const { return nanocores_; }

 private:
  Duration Next(bool idle);

  std::int64_t nanocores_;
  double rate_;   // cores
  double spare_;  // cores that it could use beyond the rate
  double slice_;  // nanoseconds of CPU time
  double balance_;
  Duration looked_at_{};
  std::int64_t used_ = 0;
  Duration wait_{};
  bool begun_ = false;
  bool run_ = true;
};

}  // namespace mete::cgroup
