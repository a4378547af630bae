// An agent runtime that keeps its agents on a budget: a quota when an agent is spawned, its usage
// while it works, real signals when it goes too far, and no quota any more when it has ended.
//
//   agent_runtime
//
// Three agents, each a process of its own, work in one session of a tenant. Their model calls are
// what costs; the runtime makes the calls, so it knows the tokens and reports them.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "mete/enforcer.h"
#include "mete/resource_manager.h"

namespace {

using mete::Amounts;
using mete::LimitKind;
using mete::Resource;
using mete::Result;

template <class T>
T Must(Result<T> result) {
  if (result) {
    if constexpr (!std::is_void_v<T>) {
      return *std::move(result);
    } else {
      return;
    }
  }
  std::fprintf(stderr, "agent_runtime: %s\n", result.error().ToString().c_str());
  std::exit(1);
}

// Carries actions out on process groups.
class Processes final : public mete::Enforcer {
 public:
  void Add(const std::string& agent, pid_t pid) {
    const std::lock_guard lock(mutex_);
    pids_[agent] = pid;
  }
  void Remove(const std::string& agent) {
    const std::lock_guard lock(mutex_);
    pids_.erase(agent);
  }

  Result<void> Suspend(const mete::Intent& intent) override { return Send(intent, SIGSTOP); }
  Result<void> Resume(const mete::Intent& intent) override { return Send(intent, SIGCONT); }
  Result<void> Throttle(const mete::Intent&) override { return {}; }  // reservations wait: enough
  Result<void> ClearThrottle(const mete::Intent&) override { return {}; }
  Result<void> Terminate(const mete::Intent& intent) override {
    Result<void> sent = Send(intent, SIGTERM);
    return sent ? Send(intent, SIGCONT) : sent;  // one that stands still would not hear it
  }

 private:
  Result<void> Send(const mete::Intent& intent, int signal) {
    const std::lock_guard lock(mutex_);
    const auto found = pids_.find(intent.target.id);
    if (found == pids_.end()) return {};  // it has ended by itself
    if (kill(-found->second, signal) == 0) return {};
    return mete::Fail(mete::ErrorCode::kSystem, "the agent's processes cannot be signalled");
  }

  std::mutex mutex_;
  std::map<std::string, pid_t> pids_;
};

class Runtime {
 public:
  Runtime() : manager_(Must(mete::ResourceManager::Create(Config()))) {
    manager_->Start(&processes_);
  }
  ~Runtime() { manager_->Stop(); }

  mete::ResourceManager& manager() { return *manager_; }

  // A quota first, so that the agent is never without one.
  pid_t Spawn(const std::string& agent, const char* tokens_per_hour) {
    mete::ResourceLimits limits;
    limits[LimitKind::kTokensPerHour] =
        Must(mete::ParseLimit(LimitKind::kTokensPerHour, tokens_per_hour));
    mete::QuotaOptions in_session;
    in_session.parent = mete::TargetName{mete::QuotaScope::kSession, "nightly"};
    Must(manager_->CreateQuota(agent, limits, in_session));
    const pid_t pid = fork();
    if (pid == 0) {
      setpgid(0, 0);
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // it does not outlive its runtime
      for (;;) pause();                  // stands for the agent's program
    }
    setpgid(pid, pid);  // whichever of the two comes first
    processes_.Add(agent, pid);
    Must(manager_->Attach(agent, {}));
    return pid;
  }

  // After the agent's process has ended.
  void Cleanup(const std::string& agent) {
    processes_.Remove(agent);
    Must(manager_->Detach(agent));
    Must(manager_->CleanupQuota(agent));
  }

  // A model call: room for the worst case first, then what it really took.
  void Call(const std::string& agent, std::int64_t most, std::int64_t used) {
    auto room = manager_->Reserve(agent, Amounts().Set(Resource::kTokens, most));
    if (!room) {
      std::printf("%-8s no call: %s\n", agent.c_str(), room.error().ToString().c_str());
      return;
    }
    const auto settled = Must(room->Settle(Amounts().Set(Resource::kTokens, used)));
    Show(agent, settled.receipt);
  }

  // What happened without asking first.
  void Report(const std::string& agent, std::int64_t tokens) {
    Show(agent, Must(manager_->ReportUsage(agent, Amounts().Set(Resource::kTokens, tokens))));
  }

 private:
  static mete::ManagerConfig Config() {
    mete::ManagerConfig config;
    config.usage_report_interval = mete::Duration(0);
    return config;
  }

  static void Show(const std::string& agent, const mete::Receipt& receipt) {
    const auto i = static_cast<std::size_t>(Resource::kTokens);
    std::printf("%-8s used %lld, left %lld, load %.2f%s\n", agent.c_str(),
                static_cast<long long>(receipt.used[i]),
                static_cast<long long>(receipt.remaining[i]), receipt.load(Resource::kTokens),
                receipt.action_pending ? ", to be held back" : "");
  }

  Processes processes_;
  std::unique_ptr<mete::ResourceManager> manager_;
};

char StateOf(pid_t pid) {  // proc(5): 'S' sleeps, 'T' stands still, 'Z' has ended
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const std::size_t name_end = text.rfind(") ");
  return name_end == std::string::npos ? 'Z' : text[name_end + 2];
}

void Await(const std::string& agent, pid_t pid, char state, const char* what) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (StateOf(pid) != state) {
    if (std::chrono::steady_clock::now() > until) {
      std::fprintf(stderr, "agent_runtime: %s is not %s\n", agent.c_str(), what);
      std::exit(1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::printf("%-8s %s\n", agent.c_str(), what);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  Runtime runtime;
  mete::ResourceManager& manager = runtime.manager();
  Must(manager.CreateQuota({mete::QuotaScope::kTenant, "acme"}));
  mete::QuotaOptions of_acme;
  of_acme.parent = mete::TargetName{mete::QuotaScope::kTenant, "acme"};
  Must(manager.CreateQuota({mete::QuotaScope::kSession, "nightly"}, {}, of_acme));

  const pid_t worker = runtime.Spawn("worker", "100k");
  const pid_t talker = runtime.Spawn("talker", "1000");
  const pid_t waster = runtime.Spawn("waster", "1000");

  runtime.Call("worker", 4000, 1500);
  runtime.Call("talker", 4000, 0);  // there is no room for its worst case

  // soft_then_hard, the default of tokens: a warning, then the action.
  runtime.Report("talker", 1100);
  runtime.Report("talker", 100);
  Await("talker", talker, 'T', "stands still");
  mete::ResourceLimits more;
  more[LimitKind::kTokensPerHour] = Must(mete::ParseLimit(LimitKind::kTokensPerHour, "5000"));
  Must(manager.UpdateQuota("talker", more));
  Await("talker", talker, 'S', "goes on: its limit was raised");

  Must(manager.Terminate("waster"));
  Await("waster", waster, 'Z', "was ended by the operator");

  // By what a fleet would be scaled.
  for (const char* agent : {"worker", "talker"}) {
    const mete::ResourceQuota quota = Must(manager.GetQuota(agent));
    for (const mete::LimitUsage& usage : quota.windows) {
      if (usage.kind != LimitKind::kTokensPerHour) continue;
      const auto left = usage.time_to_exhaustion();
      std::printf("%-8s tokens_per_hour: load %.3f, %s\n", agent, usage.load(),
                  left ? "would run out" : "would not run out");
    }
  }

  kill(worker, SIGKILL);
  kill(talker, SIGKILL);
  for (const pid_t pid : {worker, talker, waster}) waitpid(pid, nullptr, 0);
  for (const char* agent : {"worker", "talker", "waster"}) runtime.Cleanup(agent);
  const mete::ResourceUsage total = Must(manager.GetUsage({mete::QuotaScope::kTenant, "acme"}));
  std::printf("acme     %lld tokens in all; %zu quotas are left\n",
              static_cast<long long>(total.tokens_consumed), manager.ListQuotas().size());
  return 0;
}
