#include "server/workers.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace mete::server {

Result<std::unique_ptr<Mailbox>> Mailbox::Create() {
  std::unique_ptr<Mailbox> mailbox(new Mailbox);
  mailbox->event_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!mailbox->event_) {
    return Fail(ErrorCode::kSystem, std::string("eventfd: ") + std::strerror(errno));
  }
  return mailbox;
}

void Mailbox::Post(std::function<void()> call) {
  // Under the lock, so that whoever ends the mailbox after its last call also waits for this.
  const std::lock_guard lock(mutex_);
  calls_.push_back(std::move(call));
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_.get(), &one, sizeof one);  // or it is set
}

void Mailbox::Run() {
  std::vector<std::function<void()>> calls;
  {
    const std::lock_guard lock(mutex_);
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_.get(), &count, sizeof count);
    calls.swap(calls_);
  }
  for (const std::function<void()>& call : calls) call();
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  more_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::Do(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    if (work_.size() > idle_ && threads_.size() < most_) {
      threads_.push_back(StartThread([this] { Run(); }));
    }
  }
  more_.notify_one();
}

void Workers::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    more_.wait(lock, [this] { return ending_ || !work_.empty(); });
    --idle_;
    if (work_.empty()) return;
    std::function<void()> work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

std::thread StartThread(std::function<void()> run) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(run));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace mete::server
