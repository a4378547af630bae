// What enforcing costs beside what the kernel takes for it alone, in the same run:
//
//   enforce_freeze    a report over the limit -> every task frozen; beside a bare write to the same
//                     group's cgroup.freeze
//   enforce_overshoot how far two spinning processes pass a budget of CPU seconds, by core
//   enforce_sampling  one round over 1,000 agents (as many as the limit of descriptors allows);
//                     beside bare reads of the same files
//   enforce_kill      a fork bomb of 300 processes; beside cgroup.kill and waiting
//
// Each is one pass of a fixed number of rounds, which alternate with their peer, and gives
// counters.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "agent/agent.h"
#include "agent/host.h"
#include "agent/kernel_limits.h"
#include "agent/sampling.h"
#include "base/unique_fd.h"
#include "wire/unix_client.h"

namespace {

using namespace mete;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kFreezes = 100;
constexpr int kBudgets = 30;
constexpr rlim_t kAgents = 1000;
constexpr int kSweeps = 9;
constexpr int kBombs = 5;
constexpr int kBombSize = 300;

double Ms(Clock::duration span) { return std::chrono::duration<double, std::milli>(span).count(); }

double Quantile(std::vector<double> values, double part) {
  std::ranges::sort(values);
  const auto at = static_cast<std::size_t>(part * static_cast<double>(values.size()));
  return values[std::min(at, values.size() - 1)];
}

template <class Condition>
bool WaitUntil(Condition condition, Clock::duration most = std::chrono::seconds(20)) {
  const auto end = Clock::now() + most;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

std::string Read(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool Write(const std::string& path, const char* text) {
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && write(file.get(), text, 1) == 1;
}

// The directory of a process's group in the unified hierarchy.
std::string GroupDir(pid_t pid) {
  std::string mount;
  std::istringstream mounts(Read("/proc/self/mountinfo"));
  for (std::string line; std::getline(mounts, line) && mount.empty();) {
    std::istringstream words(line);
    std::string word[5];
    for (std::string& each : word) words >> each;
    if (line.find(" - cgroup2 ") != std::string::npos) mount = word[4];
  }
  std::istringstream groups(Read("/proc/" + std::to_string(pid) + "/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) return mount + line.substr(3);
  }
  return {};
}

// Waits in poll(2), as whoever watches a group would, and for no longer than the kernel's own pause
// of 10 ms between two announcements.
bool WaitForEvent(const std::string& dir, const char* what) {
  const UniqueFd events(open((dir + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  const auto end = Clock::now() + std::chrono::seconds(20);
  char text[256];
  while (Clock::now() < end) {
    const ssize_t got = pread(events.get(), text, sizeof text - 1, 0);
    if (got <= 0) return false;
    text[got] = '\0';
    if (std::string_view(text).find(what) != std::string_view::npos) return true;
    pollfd watch{events.get(), POLLPRI, 0};
    const timespec pause{0, 200'000};
    ppoll(&watch, 1, &pause, nullptr);
  }
  return false;
}

// A `mete run` with its own folder for sockets.
class Running {
 public:
  Running(std::vector<std::string> flags, const char* script) {
    std::string name = (std::filesystem::temp_directory_path() / "mete-bench-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    std::vector<std::string> words = {METE_PROGRAM, "run", "--agent", id_, "--quiet"};
    words.insert(words.end(), flags.begin(), flags.end());
    words.insert(words.end(), {"--", "sh", "-c", script});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
      const int null = open("/dev/null", O_RDWR);
      for (const int fd : {0, 1, 2}) dup2(null, fd);
      execv(argv[0], argv.data());
      _exit(127);
    }
    if (WaitUntil([this] { return Leader() > 0; })) dir_ = GroupDir(Leader());
  }
  ~Running() {
    kill(pid_, SIGTERM);
    Control("POST", "/terminate");
    WaitUntil([this] { return waitpid(pid_, nullptr, WNOHANG) == pid_; });
    std::filesystem::remove_all(folder_);
  }

  const std::string& dir() const { return dir_; }
  bool good() const { return !dir_.empty(); }

  bool Report(const char* body) {
    return Call(".agent", "POST", "/v1/self/usage", body).has_value();
  }
  std::optional<std::string> Control(const char* method, const char* verb) {
    return Call(".sock", method, "/v1/quotas/agent/" + id_ + verb, "");
  }
  std::int64_t cpu_us() const {
    const std::string text = Read(dir_ + "/cpu.stat");
    const std::size_t at = text.find("usage_usec ");
    return at == text.npos ? 0 : std::atoll(text.c_str() + at + 11);
  }

 private:
  std::optional<std::string> Call(const char* suffix, const char* method, const std::string& target,
                                  const char* body) {
    const Result<wire::HttpResponse> answer = wire::CallUnix(
        folder_ + "/mete/" + id_ + suffix, {method, target, {}, body}, milliseconds(10'000));
    if (!answer || answer->status >= 300) return std::nullopt;
    return answer->body;
  }
  pid_t Leader() {
    const std::string text = Control("GET", "").value_or("");
    const std::size_t at = text.find("\"pid\":");
    return at == text.npos ? 0 : std::atoi(text.c_str() + at + 6);
  }

  std::string id_ = "bench-" + std::to_string(getpid());
  std::string folder_, dir_;
  pid_t pid_ = -1;
};

void Finish(benchmark::State& state, Clock::time_point start) {
  state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
}

// Twenty that sleep and two that spin.
void Freeze(benchmark::State& state) {
  for (auto _ : state) {
    const auto start = Clock::now();
    Running run({"--tokens-per-hour", "1", "--on-tokens", "suspend:hard", "--grace", "0s"},
                "for i in $(seq 20); do sleep 1000 & done\n"
                "for i in 1 2; do (while :; do :; done) & done\nwait");
    if (!run.good()) return state.SkipWithError("mete run does not answer");
    std::vector<double> mete, bare;
    for (int i = 0; i < kFreezes; ++i) {
      const auto reported = Clock::now();
      if (!run.Report(R"({"tokens": 2})") || !WaitForEvent(run.dir(), "frozen 1")) {
        return state.SkipWithError("a report did not freeze");
      }
      mete.push_back(Ms(Clock::now() - reported));
      if (!run.Control("POST", "/reset") || !WaitForEvent(run.dir(), "frozen 0")) {
        return state.SkipWithError("a reset did not thaw");
      }
      const auto written = Clock::now();
      Write(run.dir() + "/cgroup.freeze", "1");
      WaitForEvent(run.dir(), "frozen 1");
      bare.push_back(Ms(Clock::now() - written));
      Write(run.dir() + "/cgroup.freeze", "0");
      WaitForEvent(run.dir(), "frozen 0");
    }
    state.counters["p99_ms"] = Quantile(mete, 0.99);
    state.counters["p50_ms"] = Quantile(mete, 0.5);
    state.counters["bare_p99_ms"] = Quantile(bare, 0.99);
    state.counters["bare_p50_ms"] = Quantile(bare, 0.5);
    Finish(state, start);
  }
}

void Overshoot(benchmark::State& state) {
  constexpr std::int64_t kBudgetUs = 100'000;
  for (auto _ : state) {
    const auto start = Clock::now();
    Running run({"--cpu-seconds-per-hour", "100m", "--grace", "0s"},
                "(while :; do :; done) & while :; do :; done");
    if (!run.good()) return state.SkipWithError("mete run does not answer");
    const double cores = std::max(1u, std::min(2u, std::thread::hardware_concurrency()));
    std::vector<double> over;
    std::int64_t before = 0;
    for (int i = 0; i < kBudgets; ++i) {
      if (!WaitForEvent(run.dir(), "frozen 1")) return state.SkipWithError("never suspended");
      const std::int64_t used = run.cpu_us();
      // The first budget holds what was used before the two began to spin.
      if (i > 0) over.push_back(static_cast<double>(used - before - kBudgetUs) / 1000 / cores);
      before = used;
      if (!run.Control("POST", "/reset") || !WaitForEvent(run.dir(), "frozen 0")) {
        return state.SkipWithError("a reset did not thaw");
      }
    }
    state.counters["p99_ms_per_core"] = Quantile(over, 0.99);
    state.counters["p50_ms_per_core"] = Quantile(over, 0.5);
    state.counters["allowed_ms"] = 10;
    Finish(state, start);
  }
}

double CpuMs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// A thousand groups of one tenant with a process in each, in the unified hierarchy: moving it into
// the others would take minutes, and the counters that are read are there without it.
class Fleet {
 public:
  explicit Fleet(bool active) : host_(agent::OpenHost()) {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    const std::string tenant = "t-bench" + std::to_string(getpid());
    // A group keeps some twenty descriptors open, so that their limit may hold fewer groups.
    rlim_t each = 25;
    for (rlim_t i = 0; i < kAgents && i * each + 500 < files.rlim_cur; ++i) {
      auto group = host_->Create(tenant + "/a-" + std::to_string(i) + ".1", {});
      if (!group) return;
      groups_.push_back(*std::move(group));
      if (!Start(*groups_.back(), active)) return;
      [[maybe_unused]] auto opened = groups_.back()->Read();
      if (i == 9) each = Descriptors() / 10 + 1;
    }
    auto above = host_->Find(tenant);
    if (above) tenant_ = *std::move(above);
  }
  ~Fleet() {
    if (tenant_) {
      [[maybe_unused]] auto killed = tenant_->Kill(std::chrono::seconds(20));
    }
    for (auto& group : groups_) {
      if (!tenant_) {
        [[maybe_unused]] auto killed = group->Kill(std::chrono::seconds(1));
      }
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      [[maybe_unused]] auto removed = group->Remove();
    }
  }

  bool good() const { return tenant_ != nullptr; }
  std::vector<std::unique_ptr<agent::Group>>& groups() { return groups_; }
  agent::Group& tenant() { return *tenant_; }

  // A descriptor of each file that the groups read their samples from.
  std::vector<int> SampleFiles() const {
    std::map<std::string, int> files;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.find("/mete/t-bench") == target.npos || target.find("/a-") == target.npos)
        continue;
      const std::string name = target.substr(target.rfind('/') + 1);
      for (const char* read :
           {"cpu.stat", "memory.current", "memory.peak", "memory.events", "memory.usage_in_bytes",
            "memory.max_usage_in_bytes", "memory.oom_control", "memory.failcnt", "pids.current",
            "pids.events", "cgroup.events"}) {
        if (name == read) files[target] = std::stoi(entry.path().filename().string());
      }
    }
    std::vector<int> descriptors;
    for (const auto& [path, descriptor] : files) descriptors.push_back(descriptor);
    return descriptors;
  }

 private:
  static rlim_t Descriptors() {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    return static_cast<rlim_t>(std::distance(begin(open), end(open)));
  }

  static bool Start(agent::Group& group, bool active) {
    clone_args arguments{};
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = SIGCHLD;
    arguments.cgroup = static_cast<std::uint64_t>(group.CloneFd());
    const auto pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid != 0) return pid > 0;
    alarm(120);
    volatile unsigned work = 0;
    while (active) {
      for (int i = 0; i < 2000; ++i) work = work + 1;
      usleep(50'000);
    }
    for (;;) pause();
  }

  std::unique_ptr<agent::Host> host_;
  std::vector<std::unique_ptr<agent::Group>> groups_;
  std::unique_ptr<agent::Group> tenant_;
};

void Sampling(benchmark::State& state, bool active) {
  for (auto _ : state) {
    const auto start = Clock::now();
    Fleet fleet(active);
    if (!fleet.good()) return state.SkipWithError("cannot make 1,000 groups here");
    agent::Sampler sampler(std::thread::hardware_concurrency());
    Time now{std::chrono::hours(1)};
    const agent::Sampler::Node tenant = sampler.AddParent();
    std::vector<agent::Sampler::Node> nodes;
    for (std::size_t i = 0; i < fleet.groups().size(); ++i) {
      nodes.push_back(sampler.AddAgent(tenant, now));
    }
    std::size_t read = 0;
    const auto sweep = [&] {
      now += agent::Sampler::kUsual;
      read += sampler.Sweep(now, [&](agent::Sampler::Node node) -> std::int64_t {
        if (node == tenant) return fleet.tenant().ReadCpu().value_or(0);
        const Result<agent::Sample> sample = fleet.groups()[node - nodes.front()]->Read();
        return sample ? sample->cpu_ns : 0;
      });
    };
    sweep();  // opens the files
    std::this_thread::sleep_for(milliseconds(300));
    sweep();
    const std::vector<int> files = fleet.SampleFiles();
    std::vector<double> mete, bare;
    read = 0;
    for (int i = 0; i < kSweeps; ++i) {
      std::this_thread::sleep_for(milliseconds(100));
      const double at = CpuMs();
      sweep();
      const double between = CpuMs();
      char text[4096];
      for (int file : files) {
        [[maybe_unused]] const ssize_t got = pread(file, text, sizeof text, 0);
      }
      mete.push_back(between - at);
      bare.push_back(CpuMs() - between);
    }
    state.counters["ms"] = Quantile(mete, 0.5);
    state.counters["bare_ms"] = Quantile(bare, 0.5);
    state.counters["agents_read"] = static_cast<double>(read) / kSweeps;
    state.counters["agents"] = static_cast<double>(nodes.size());
    state.counters["files"] = static_cast<double>(files.size());
    Finish(state, start);
  }
}

// A group that is full of processes which start others and ignore SIGTERM.
class Bomb {
 public:
  Bomb(agent::Host& host, int number) {
    agent::KernelLimits limits;
    limits.pids_max = kBombSize;
    auto group = host.Create(
        "bench-bomb-" + std::to_string(getpid()) + "-" + std::to_string(number), limits);
    if (!group) return;
    group_ = *std::move(group);
    pid_ = fork();
    if (pid_ == 0) {
      signal(SIGTERM, SIG_IGN);
      const int null = open("/dev/null", O_RDWR);
      dup2(null, 1);
      if (group_->JoinSelf() == 0) execl(METE_FORK_BOMB, "fork_bomb", "30", "100000", nullptr);
      _exit(127);
    }
    full_ = WaitUntil([this] {
      const Result<agent::Sample> sample = group_->Read();
      return sample && sample->pids >= kBombSize - 1;
    });
    dir_ = GroupDir(pid_);
  }
  ~Bomb() {
    if (!group_) return;
    [[maybe_unused]] auto killed = group_->Kill(std::chrono::seconds(10));
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
    [[maybe_unused]] auto removed = group_->Remove();
  }

  bool full() const { return full_; }
  const std::string& dir() const { return dir_; }
  agent::Group& group() { return *group_; }

 private:
  std::unique_ptr<agent::Group> group_;
  std::string dir_;
  pid_t pid_ = -1;
  bool full_ = false;
};

void Kill(benchmark::State& state) {
  const std::unique_ptr<agent::Host> host = agent::OpenHost();
  for (auto _ : state) {
    const auto start = Clock::now();
    std::vector<double> mete, bare;
    for (int i = 0; i < 2 * kBombs; ++i) {
      Bomb bomb(*host, i);
      if (!bomb.full()) return state.SkipWithError("the fork bomb did not grow");
      const auto at = Clock::now();
      if (i % 2 == 0) {
        if (!bomb.group().Kill(std::chrono::seconds(10))) {
          return state.SkipWithError("the fork bomb did not die");
        }
        mete.push_back(Ms(Clock::now() - at));
      } else {
        Write(bomb.dir() + "/cgroup.kill", "1");
        WaitForEvent(bomb.dir(), "populated 0");
        bare.push_back(Ms(Clock::now() - at));
      }
    }
    state.counters["ms"] = Quantile(mete, 0.5);
    state.counters["bare_ms"] = Quantile(bare, 0.5);
    state.counters["most_ms"] = Quantile(mete, 1);
    Finish(state, start);
  }
}

void Once(const char* name, std::function<void(benchmark::State&)> function) {
  benchmark::RegisterBenchmark(name, std::move(function))
      ->Unit(benchmark::kMillisecond)
      ->UseManualTime()
      ->Iterations(1)
      ->Repetitions(1);
}

const bool kRegistered = [] {
  Once("enforce_freeze", Freeze);
  Once("enforce_overshoot", Overshoot);
  Once("enforce_sampling/active", [](benchmark::State& state) { Sampling(state, true); });
  Once("enforce_sampling/idle", [](benchmark::State& state) { Sampling(state, false); });
  Once("enforce_kill", Kill);
  return true;
}();

}  // namespace
