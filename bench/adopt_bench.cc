// What finding agents again costs after their owner died: 200 of them, each with a process, a
// record and a group with limits; beside opening the files that it takes.
//
// One pass of a fixed number of rounds, in which the two take turns.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "agent/adopt.h"
#include "base/unique_fd.h"

namespace {

using namespace mete;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kAgents = 200;
constexpr int kRounds = 7;

double MsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Made when it is, and gone with it.
class Orphans {
 public:
  explicit Orphans(agent::Host& host) {
    std::string folder = (fs::temp_directory_path() / "mete-adopt-XXXXXX").string();
    dir = mkdtemp(folder.data());
    for (int i = 0; i < kAgents; ++i)
      Make(host, "adopt-" + std::to_string(getpid()) + "-" + std::to_string(i));
  }
  ~Orphans() {
    for (auto& group : groups_) {
      [[maybe_unused]] Result<void> killed = group->Kill(std::chrono::seconds(10));
    }
    for (pid_t child : children_) waitpid(child, nullptr, 0);
    for (auto& group : groups_) {
      [[maybe_unused]] Result<void> removed = group->Remove();
    }
    fs::remove_all(dir);
  }
  Orphans(const Orphans&) = delete;
  Orphans& operator=(const Orphans&) = delete;

  bool whole() const { return groups_.size() == kAgents; }

  std::string dir;
  std::vector<std::string> names;

 private:
  void Make(agent::Host& host, const std::string& name) {
    agent::AgentRecord record = agent::NewRecord(SystemClock::Instance());
    record.id = record.group = name;
    record.kernel.cpu_nanocores = 500'000'000;
    record.kernel.memory_max = 64 << 20;
    record.kernel.pids_max = 64;
    auto group = host.Create(name, record.kernel);
    if (!group) return;
    const pid_t child = fork();
    if (child == 0) {
      alarm(120);
      if ((*group)->JoinSelf() != 0) _exit(1);
      for (;;) pause();
    }
    children_.push_back(child);
    while (!(*group)->Contains(child) && waitpid(child, nullptr, WNOHANG) == 0) usleep(100);
    record.leader = agent::IdentifyProcess(child);
    if (!agent::RecordFile::Make(agent::RecordPath(dir, name), record)) return;
    groups_.push_back(*std::move(group));
    names.push_back(name);
  }

  std::vector<std::unique_ptr<agent::Group>> groups_;
  std::vector<pid_t> children_;
};

// Every file of the groups and records that finding them again opens.
std::vector<std::string> FilesOf(const Orphans& orphans) {
  std::vector<std::string> files;
  for (const std::string& name : orphans.names) {
    files.push_back(agent::RecordPath(orphans.dir, name));
  }
  constexpr const char* kFiles[] = {
      "cgroup.procs",          "cgroup.events",     "cgroup.freeze", "cpu.stat",
      "cpu.cfs_quota_us",      "cpu.cfs_period_us", "cpu.max",       "memory.usage_in_bytes",
      "memory.limit_in_bytes", "memory.current",    "memory.max",    "memory.events",
      "pids.current",          "pids.max"};
  std::error_code ignored;
  const std::string prefix = "adopt-" + std::to_string(getpid()) + "-";
  for (auto it = fs::recursive_directory_iterator("/sys/fs/cgroup", ignored);
       it != fs::recursive_directory_iterator(); it.increment(ignored)) {
    if (!it->path().filename().string().starts_with(prefix)) continue;
    files.push_back(it->path());
    for (const char* file : kFiles) {
      if (fs::exists(it->path() / file)) files.push_back(it->path() / file);
    }
  }
  return files;
}

void Readopt(benchmark::State& state) {
  const std::unique_ptr<agent::Host> host = agent::OpenHost();
  const Orphans orphans(*host);
  if (!orphans.whole()) {
    state.SkipWithError("200 groups cannot be made here");
    return;
  }
  const std::vector<std::string> files = FilesOf(orphans);
  std::vector<double> adopting, opening;
  for (auto _ : state) {
    for (int round = 0; round < kRounds; ++round) {
      auto start = Clock::now();
      std::vector<UniqueFd> opened;
      for (const std::string& file : files) opened.emplace_back(open(file.c_str(), O_RDONLY));
      opening.push_back(MsSince(start));
      opened.clear();

      start = Clock::now();
      auto found = agent::FindAgents(*host, orphans.dir, SystemClock::Instance());
      std::vector<agent::Adopted> adopted;
      for (agent::FoundAgent& one : *found) {
        if (!one.file) continue;
        if (auto mine = agent::Adopt(*host, std::move(one))) adopted.push_back(*std::move(mine));
      }
      adopting.push_back(MsSince(start));
      if (adopted.size() != kAgents) {
        state.SkipWithError("not all were found");
        return;
      }
    }
  }
  state.counters["ms"] = Median(adopting);
  state.counters["bare_ms"] = Median(opening);
}

BENCHMARK(Readopt)->Name("readopt_200")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
