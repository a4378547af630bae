// What is left of an agent: processes by a mark in their environment, groups, files.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mete {

// A name that no other test uses at the same time.
std::string FreshName(const std::string& what);

// Every live process that inherited METE_TEST_MARK=mark, however it was started.
std::vector<pid_t> ProcessesWith(const std::string& mark);

// The directories of that name among the control groups, in every hierarchy.
std::vector<std::string> GroupsNamed(const std::string& name);

std::vector<std::string> FilesIn(const std::string& folder);

// What the kernel holds for the group now, read from its files; unset: no limit, or no such file.
struct HeldLimits {
  std::optional<std::int64_t> cpu_us, memory, pids;  // CPU: of a period of 100 ms
  bool populated = false, frozen = false;
};
HeldLimits LimitsHeld(const std::string& group);

// Waits until the condition holds; false after so many seconds.
template <class Condition>
bool Eventually(Condition condition, int seconds);

// Runs a program to its end, and gives what it printed.
struct Output {
  int status = -1;  // as a shell tells it
  std::string text;
};
Output RunProgram(const std::vector<std::string>& words);

}  // namespace mete

#include <chrono>
#include <thread>

namespace mete {

template <class Condition>
bool Eventually(Condition condition, int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace mete
