// Threads for what may wait, beside a loop that must not.
//
// Thread safety: Do and Post may be called from any thread; the rest belongs to the loop's.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "mete/error.h"

namespace mete::server {

// Calls for the thread of a loop, which watches the descriptor.
class Mailbox {
 public:
  static Result<std::unique_ptr<Mailbox>> Create();

  void Post(std::function<void()> call);
  int fd() const { return event_.get(); }  // polls readable when there are some
  void Run();                              // makes those that are there, in order

 private:
  Mailbox() = default;

  UniqueFd event_;
  std::mutex mutex_;
  std::vector<std::function<void()>> calls_;
};

// Starts as many threads as there is work for, up to a bound; they stay until the end.
class Workers {
 public:
  explicit Workers(std::size_t most) : most_(most) {}
  ~Workers();  // what was given is done first
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void Do(std::function<void()> work);

 private:
  void Run();

  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<std::function<void()>> work_;
  std::size_t idle_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

// A thread that takes no signals: they are the program's.
std::thread StartThread(std::function<void()> run);

}  // namespace mete::server
