// What a run tells while it runs, on standard error: one line per event, and on a terminal one more
// line at the bottom that is written anew, at most four times a second.
//
// The program shares the terminal; where it writes into the live line, both are on one line until
// the next redraw. --quiet turns everything off.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/agent.h"
#include "mete/clock.h"

namespace mete::agent {

class Console {
 public:
  static constexpr Duration kRedraw = std::chrono::milliseconds(250);

  // `fd` is written to if it is open at all; a live line only if it is a terminal.
  Console(int fd, bool quiet);

  bool live() const { return live_; }
  void PrintNotice(const std::string& text);
  void Draw(const std::string& line);  // nothing without a terminal
  void Clear();

 private:
  void Write(const std::string& text);

  int fd_;
  bool quiet_;
  bool live_;
  bool drawn_ = false;
};

// "run-4711  0:12  cpu 3.2 s (0.50 cores)  mem 45.2 MiB, peak 60.1 MiB of 256 MiB  tokens 900 of
// 1000"; while suspended instead why, until when, and how to go on.
// `cores` is how much CPU was used per second of late.
std::string LiveLine(const Agent& agent, double cores);

}  // namespace mete::agent
