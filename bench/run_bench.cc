// What `mete run` adds to starting a program: `mete run -- true` beside fork + exec + wait of it.
//
// Wall time, since most of it passes in the kernel and in other processes. One start per
// repetition, so that the harness interleaves the two at random and the machine's moods meet both.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

namespace {

constexpr int kStarts = 101;  // odd, so that the median is one of them

// Starts a program with its output discarded and waits; whether it ended with 0.
bool RunToEnd(const char* const* argv) {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    const int null = open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) dup2(null, fd);
    execv(argv[0], const_cast<char* const*>(argv));
    _exit(127);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void Start(benchmark::State& state, const char* const* argv) {
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    if (!RunToEnd(argv)) {
      state.SkipWithError("the program did not end with 0");
      return;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(took.count());
  }
}

void ForkExecWait(benchmark::State& state) {
  const char* const argv[] = {"/bin/true", nullptr};
  Start(state, argv);
}

void MeteRun(benchmark::State& state) {
  const char* const argv[] = {METE_PROGRAM, "run", "--", "/bin/true", nullptr};
  Start(state, argv);
}

BENCHMARK(ForkExecWait)
    ->Name("mete_run_true/fork_exec_wait")
    ->Unit(benchmark::kMillisecond)
    ->UseManualTime()
    ->Iterations(1)
    ->Repetitions(kStarts);
BENCHMARK(MeteRun)
    ->Name("mete_run_true/mete")
    ->Unit(benchmark::kMillisecond)
    ->UseManualTime()
    ->Iterations(1)
    ->Repetitions(kStarts);

}  // namespace
