// Stops a process at the entry of each system call that changes something outside of it, so that it
// can be killed exactly there: ptrace(2), from outside, so that the program that is tested is the
// one that ships.
//
// A call is named by what it does: "mkdir mete/ID", "write cgroup.freeze 1", "record suspended".
// Children of the process are not traced and run freely.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mete {

class TracedProcess {
 public:
  // Runs `body` in a child of this process. REQUIRES: one thread. `id` is shown as ID in names.
  TracedProcess(std::string id, const std::function<int()>& body);
  ~TracedProcess();
  TracedProcess(const TracedProcess&) = delete;
  TracedProcess& operator=(const TracedProcess&) = delete;

  // To the entry of the next changing call, which has not been done then; nothing when it ended.
  std::optional<std::string> Next();

  pid_t pid() const { return pid_; }
  // The child that is called so; 0 if there is none.
  pid_t ChildNamed(std::string_view name) const;

  // With SIGKILL, and waits until it is gone.
  void Kill();

  // As wait(2) tells it, after Next() returned nothing.
  int status() const { return status_; }

 private:
  std::string NameOfCall() const;
  std::string NameOfWrite(unsigned long fd, unsigned long address, unsigned long length) const;
  std::string Text(unsigned long address, std::size_t most) const;
  std::string FileOf(unsigned long fd) const;
  std::string Shortened(std::string path) const;

  std::string id_;
  pid_t pid_ = -1;
  bool ended_ = false;
  bool stopped_ = false;
  int status_ = 0;
};

// "write cgroup.freeze 1" and how often it had come before.
struct KillPoint {
  std::string name;
  int before = 0;
  std::string stage;
  std::string ToString() const;
};

// All of them in one run that is not disturbed.
std::vector<KillPoint> KillPointsOf(TracedProcess& process);

// Runs on until the point; false if the process ended without coming to it.
bool RunTo(TracedProcess& process, const KillPoint& point);

}  // namespace mete
