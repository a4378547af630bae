// Programs that do not want to end, one for each word. Each makes the file that its second argument
// names when it is at it. Every process ends by itself after a minute.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>

namespace {

constexpr unsigned kBoundSeconds = 60;

void Up(const char* file) { close(open(file, O_CREAT | O_WRONLY, 0600)); }

void Deaf() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  // Blocked would be enough for all but the alarm.
  sigset_t bound;
  sigemptyset(&bound);
  sigaddset(&bound, SIGALRM);
  sigprocmask(SIG_UNBLOCK, &bound, nullptr);
}

[[noreturn]] void Stay() {
  for (;;) pause();
}

// Each makes more of itself for as long as the limit of processes lets it.
[[noreturn]] void ForkBomb(const char* file) {
  Deaf();
  bool full = false;
  for (;;) {
    const pid_t child = fork();
    if (child == 0) alarm(kBoundSeconds);
    if (child >= 0 || full) {
      if (full) usleep(100);
      continue;
    }
    full = true;
    Up(file);
  }
}

// In a session of its own, the child of a child that has ended, with a runaway chain behind it.
void Detached(const char* file) {
  if (fork() == 0) {
    setsid();
    if (fork() != 0) _exit(0);
    alarm(kBoundSeconds);
    Deaf();
    Up(file);
    for (;;) {
      usleep(2000);
      if (fork() > 0) _exit(0);  // its successor goes on
      alarm(kBoundSeconds);
    }
  }
  Stay();
}

// A child that stands still under its tracer, which is part of the agent.
void Traced(const char* file) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(kBoundSeconds);
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    Stay();
  }
  waitpid(child, nullptr, 0);
  Deaf();
  Up(file);
  Stay();
}

// The parent waits in the kernel until its child has ended.
void Vfork(const char* file) {
  Deaf();
  if (vfork() == 0) {
    alarm(kBoundSeconds);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    for (;;) pause();
  }
  _exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string_view kind = argv[1];
  alarm(kBoundSeconds);
  if (kind == "fork_bomb") ForkBomb(argv[2]);
  if (kind == "detached") Detached(argv[2]);
  if (kind == "traced") Traced(argv[2]);
  if (kind == "vfork") Vfork(argv[2]);
  if (kind != "deaf") return 2;
  Deaf();
  Up(argv[2]);
  Stay();
}
