// A fork bomb that ends by itself: what `mete run` is tried on.
//
//   fork_bomb [SECONDS [PROCESSES]]    2 s and 1000 unless told otherwise, 60 and 100000 at most
//
// Every process starts others as fast as it can, until the time is over or so many were started in
// all. Refused forks are counted and tried again. None outlives the time, whatever holds it.

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

struct Shared {
  std::atomic<long> started{0};
  std::atomic<long> refused{0};
};

std::int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

long Argument(int argc, char** argv, int index, long otherwise, long most) {
  const long value = index < argc ? std::strtol(argv[index], nullptr, 10) : otherwise;
  return value < 1 || value > most ? otherwise : value;
}

// Returns in every process, when it is over.
void Bomb(Shared& shared, std::int64_t end_ms, long most, unsigned seconds) {
  while (NowMs() < end_ms) {
    if (shared.started.fetch_add(1) >= most) {
      shared.started.fetch_sub(1);
      usleep(1000);
      continue;
    }
    const pid_t child = fork();
    if (child == 0) alarm(seconds + 1);  // for one that is stopped or starved beyond the time
    if (child >= 0) continue;
    shared.started.fetch_sub(1);
    shared.refused.fetch_add(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const long seconds = Argument(argc, argv, 1, 2, 60);
  const long most = Argument(argc, argv, 2, 1000, 100'000);
  void* page =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return 1;
  auto* shared = new (page) Shared;
  signal(SIGCHLD, SIG_IGN);  // the dead make room
  const pid_t first = getpid();
  Bomb(*shared, NowMs() + seconds * 1000, most, static_cast<unsigned>(seconds));
  if (getpid() != first) _exit(0);
  std::printf("started %ld, refused %ld\n", shared->started.load(), shared->refused.load());
  return 0;
}
