// Time as mete sees it: a boot-time clock for everything that is measured and due, the wall clock
// only for what people read.
//
// The boot-time clock counts while the machine sleeps and is not moved by settings of the wall
// clock (CLOCK_BOOTTIME, clock_gettime(2)).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace mete {

struct BootClock {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<BootClock, duration>;
  static constexpr bool is_steady = true;
};

using Duration = std::chrono::nanoseconds;
using Time = BootClock::time_point;
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

// Thread safety: all clocks may be read from any thread.
class Clock {
 public:
  // By how much Coarse() may be behind.
  static constexpr Duration kCoarseLag = std::chrono::milliseconds(20);

  virtual ~Clock() = default;
  virtual Time Now() const = 0;
  // Cheaper, never ahead of Now(), and behind it by at most kCoarseLag.
  virtual Time Coarse() const { return Now(); }
  virtual WallTime WallNow() const = 0;
  // Names the span in which Now() counts on: another one after a reboot.
  virtual std::string BootId() const { return {}; }
  // Whether the wall clock is known to be right (adjtimex(2)): only then may it bridge a reboot.
  virtual bool IsWallSynchronised() const { return true; }
};

// The machine's clocks. Cost: one vDSO call, about 20 ns, and about 5 ns for Coarse(). After the
// machine has slept, Coarse() may take a second to notice.
class SystemClock final : public Clock {
 public:
  Time Now() const override;
  Time Coarse() const override;
  WallTime WallNow() const override;
  std::string BootId() const override;  // /proc/sys/kernel/random/boot_id
  bool IsWallSynchronised() const override;

  // One that lives as long as the process.
  static const SystemClock& Instance();
};

// A clock that moves only when told to, by one thread; for tests and simulation.
class VirtualClock final : public Clock {
 public:
  explicit VirtualClock(Time now = Time{}, WallTime wall = WallTime{}) : now_(now), wall_(wall) {}
  Time Now() const override { return now_; }
  WallTime WallNow() const override { return wall_; }
  std::string BootId() const override { return std::to_string(boot_); }
  bool IsWallSynchronised() const override { return is_synchronised_; }
  void Advance(Duration by) { now_ = Now() + by, JumpWall(by); }
  void JumpWall(Duration by) { wall_ = WallNow() + by; }
  void SetSynchronised(bool is_it) { is_synchronised_ = is_it; }
  // Off for so long; then the boot-time clock counts from zero again.
  void Reboot(Duration off) { now_ = Time{}, JumpWall(off), ++boot_; }

 private:
  std::atomic<Time> now_;
  std::atomic<WallTime> wall_;
  std::atomic<int> boot_ = 1;
  std::atomic<bool> is_synchronised_ = true;
};

}  // namespace mete
