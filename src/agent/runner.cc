#include "agent/runner.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

#include "agent/agent_group.h"
#include "agent/api.h"
#include "agent/attach.h"
#include "agent/console.h"
#include "agent/escape.h"
#include "agent/guardian.h"
#include "agent/holds.h"
#include "agent/kernel_limits.h"
#include "agent/levels.h"
#include "agent/loop.h"
#include "agent/process.h"
#include "agent/recorded_group.h"
#include "agent/runtime_dir.h"
#include "agent/socket_server.h"
#include "agent/spawn.h"

namespace mete::agent {
namespace {

// The operator's socket serves people and scripts.
constexpr std::size_t kOperatorConnections = 32;

// How long the exit status of a program that is not a child may take to be known: its parent has to
// wait for it first.
constexpr Duration kStatusWait = std::chrono::milliseconds(500);
constexpr Duration kStatusPause = std::chrono::milliseconds(10);

// Processes that waited for memory this long get their agent a line.
constexpr Duration kStall = std::chrono::milliseconds(100);
constexpr Duration kStallWindow = std::chrono::seconds(1);

struct SignalMasks {
  sigset_t program;  // as the caller had it
  sigset_t watched;
};

// Blocks everything, so that signals come through the loop and a closed terminal or pipe cannot end
// the runner before its agent. What the caller had ignored (nohup, a background job) stays ignored.
SignalMasks TakeSignals() {
  SignalMasks masks;
  sigset_t blocked;
  sigfillset(&blocked);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&blocked, fault);
  sigprocmask(SIG_SETMASK, &blocked, &masks.program);
  // Ignored children would be reaped by the kernel, and their exit status lost.
  signal(SIGCHLD, SIG_DFL);
  sigemptyset(&masks.watched);
  sigaddset(&masks.watched, SIGCHLD);
  for (int number :
       {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU}) {
    struct sigaction current;
    sigaction(number, nullptr, &current);
    if (current.sa_handler != SIG_IGN) sigaddset(&masks.watched, number);
  }
  return masks;
}

struct Paths {
  std::string agent_socket;
  std::string control_socket;
};

// Another user cannot come through the caller's folder, so that its socket is in one of its own.
Result<Paths> MakePaths(const std::string& dir, const std::string& id, bool another_user) {
  Paths paths{AgentSocketPath(dir, id), ControlSocketPath(dir, id)};
  if (another_user) {
    Result<std::string> open_to_all = MakeSharedDir();
    if (!open_to_all) return std::unexpected(open_to_all.error());
    paths.agent_socket = AgentSocketPath(*open_to_all, id);
  }
  // sun_path of unix(7) holds 108 bytes with the NUL.
  constexpr std::size_t kLongestPath = 107;
  const std::size_t longest = std::max(paths.agent_socket.size(), paths.control_socket.size());
  if (longest > kLongestPath) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--agent: too long for a socket in {}, allowed: {} characters, given: "
                            "{}",
                            dir, kLongestPath + id.size() - longest, id));
  }
  return paths;
}

std::vector<std::string> WordsOf(const std::vector<char*>& argv) {
  std::vector<std::string> words;
  for (const char* word : argv) {
    if (word != nullptr) words.emplace_back(word);
  }
  return words;
}

class Runner {
 public:
  Runner(Host& host, std::unique_ptr<Loop> loop, Agent& agent, RecordedGroup& recorded,
         Guardian& guardian, bool quiet)
      : loop_(std::move(loop)),
        agent_(agent),
        recorded_(recorded),
        guardian_(guardian),
        holds_(*loop_, agent_),
        api_(agent_, holds_),
        console_(STDERR_FILENO, quiet) {
    const AgentConfig& config = agent.config();
    if (!config.tenant.empty() || !config.session.empty()) levels_.emplace(host, agent);
  }

  // Until the main process has ended. The agent may be running when this fails.
  Result<void> Run(const Paths& paths, const SignalMasks& masks, const RunConfig& config);

  // Before the final kill: nothing of the agent is outside its group.
  void CollectAll();

  const std::optional<LeaderEnd>& leader_end() const { return leader_end_; }
  int exec_errno() const { return exec_errno_; }
  void PrintNotices();

 private:
  Result<void> Listen(const Paths& paths, std::optional<uid_t> user);
  Result<void> Start(const Paths& paths, const SignalMasks& masks, const RunConfig& config);
  Result<void> StartProgram(const Paths& paths, const SignalMasks& masks, const RunConfig& config);
  Result<void> Attach(pid_t pid);
  void WatchPressure();
  void AskForStatus();
  void SignalLeader(int number);
  void OnSignal(const signalfd_siginfo& info);
  void Interrupt(int number, bool from_terminal);
  void StopWithTerminal();
  Result<void> Round();  // waits, and does what came
  void Settle();         // brings the agent to what is wanted, and the sockets and people to it
  void Reap();
  void Record();
  void Redraw();
  std::optional<Time> NextDeadline() const;

  std::unique_ptr<Loop> loop_;
  Agent& agent_;
  RecordedGroup& recorded_;
  Guardian& guardian_;
  HoldOwners holds_;
  Api api_;
  Console console_;
  std::unique_ptr<SocketServer> agent_server_, operator_server_;

  pid_t leader_ = -1;
  UniqueFd attached_;  // the leader, where it is not a child
  std::optional<Time> attached_ended_at_;
  std::optional<LeaderEnd> leader_end_;
  std::optional<EscapeWatch> escapes_;  // none where nobody can leave
  std::optional<LevelWatch> levels_;    // none where nothing is above
  std::optional<PressureWatch> pressure_;
  int exec_errno_ = 0;
  int interrupts_ = 0;
  Time drawn_at_;
  std::int64_t drawn_cpu_ns_ = 0;
};

Result<void> Runner::Listen(const Paths& paths, std::optional<uid_t> user) {
  auto for_agent = SocketServer::Listen(
      *loop_, agent_.clock(), {.path = paths.agent_socket, .owner = user},
      [this](const auto& request, const Peer& peer) { return api_.AnswerAgent(request, peer); });
  if (!for_agent) return std::unexpected(for_agent.error());
  agent_server_ = *std::move(for_agent);
  auto for_operator = SocketServer::Listen(
      *loop_, agent_.clock(),
      {.path = paths.control_socket, .most_connections = kOperatorConnections},
      [this](const auto& request, const Peer& peer) { return api_.AnswerOperator(request, peer); });
  if (!for_operator) return std::unexpected(for_operator.error());
  operator_server_ = *std::move(for_operator);
  return {};
}

Result<void> Runner::Start(const Paths& paths, const SignalMasks& masks, const RunConfig& config) {
  const std::optional<Identity>& identity = config.identity;
  Result<void> listening = Listen(paths, identity ? std::optional(identity->uid) : std::nullopt);
  if (!listening) return listening;
  Result<void> added =
      loop_->AddSignals(masks.watched, [this](const auto& info) { OnSignal(info); });
  if (!added) return added;
  const int events = agent_.group().EventsFd();
  added = loop_->Add(events, EPOLLIN, [this](std::uint32_t) { agent_.OnGroupEvents(); });
  if (!added) return added;
  if (const int news = agent_.account().Fd(); news >= 0) {
    added = loop_->Add(news, EPOLLIN, [this](std::uint32_t) { agent_.account().Advance(); });
    if (!added) return added;
  }
  WatchPressure();
  return {};
}

Result<void> Runner::StartProgram(const Paths& paths, const SignalMasks& masks,
                                  const RunConfig& config) {
  // Orphans of the agent come to this process when their parents end, and are reaped here: whoever
  // is process 1 may not do it, and dead ones count against the limit of processes.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  SpawnRequest request{config.argv,
                       {"METE_SOCKET=" + paths.agent_socket, "METE_AGENT=" + agent_.id()},
                       masks.program};
  if (config.identity) request.identity = &*config.identity;
  request.before_start = [this](pid_t pid) -> Result<void> {
    recorded_.SetLeader(pid);
    return {};
  };
  Result<Spawned> spawned = Spawn(agent_.group(), request);
  if (!spawned) return std::unexpected(spawned.error());
  exec_errno_ = spawned->exec_errno;
  if (exec_errno_ != 0) return {};
  leader_ = spawned->pid;
  api_.SetLeader(leader_);
  const bool can_leave = !config.identity || config.identity->uid == geteuid();
  if (can_leave) escapes_.emplace(agent_, getpid(), guardian_.pid());
  return {};
}

Result<void> Runner::Attach(pid_t pid) {
  const ProcessId process = IdentifyProcess(pid);
  attached_ = OpenProcess(process);
  if (!attached_) return Fail(ErrorCode::kNotFound, fmt::format("no such process: {}", pid));
  Result<std::size_t> adopted = AdoptTree(agent_.group(), pid);
  if (!adopted) return std::unexpected(adopted.error());
  leader_ = pid;
  recorded_.SetLeader(leader_);
  api_.SetLeader(leader_);
  escapes_.emplace(agent_, pid, 0);
  return loop_->Add(attached_.get(), EPOLLIN, [this](std::uint32_t) {
    // Readable from now on for good.
    loop_->Remove(attached_.get());
    attached_ended_at_ = agent_.clock().Now();
  });
}

// What cannot be watched is told by `mete doctor`.
void Runner::WatchPressure() {
  const std::optional<Limit>& limit = agent_.config().limits[LimitKind::kMemory];
  if (!limit || limit->amount == kUnlimited) return;
  Result<PressureWatch> watch =
      agent_.group().WatchPressure(Pressure::kMemorySome, kStall, kStallWindow);
  if (!watch) return;
  pressure_ = *std::move(watch);
  const auto wanted = static_cast<std::uint32_t>(pressure_->events);
  [[maybe_unused]] Result<void> added =
      loop_->Add(pressure_->fd.get(), wanted, [this](std::uint32_t events) {
        char byte;
        [[maybe_unused]] ssize_t got = read(pressure_->fd.get(), &byte, 1);
        if ((events & EPOLLERR) != 0) {
          loop_->Remove(pressure_->fd.get());  // the group is gone
        } else {
          agent_.NotePressure(Pressure::kMemorySome, *pressure_);
        }
      });
}

void Runner::AskForStatus() {
  if (!attached_ended_at_ || leader_end_) return;
  if (const std::optional<int> status = WaitStatusOf(attached_)) {
    leader_end_ = WIFSIGNALED(*status) ? LeaderEnd{true, WTERMSIG(*status)}
                                       : LeaderEnd{false, WEXITSTATUS(*status)};
  } else if (agent_.clock().Now() - *attached_ended_at_ >= kStatusWait) {
    leader_end_ = LeaderEnd{.known = false};
  }
}

void Runner::SignalLeader(int number) {
  if (leader_ <= 0 || leader_end_) return;
  if (attached_) {
    syscall(SYS_pidfd_send_signal, attached_.get(), number, nullptr, 0);
  } else {
    kill(leader_, number);  // not reaped yet, so the number is still its own
  }
}

void Runner::CollectAll() {
  if (escapes_) escapes_->Collect();
}

Result<void> Runner::Run(const Paths& paths, const SignalMasks& masks, const RunConfig& config) {
  if (Result<void> started = Start(paths, masks, config); !started) return started;
  drawn_at_ = agent_.started();
  // A stored account may hold its agent back already. Nothing is frozen then: nothing is started.
  if (agent_.quota().suspended) Settle();
  while (agent_.state() == State::kSuspended && !agent_.ended()) {
    if (Result<void> round = Round(); !round) return round;
  }
  if (!agent_.ended()) {
    Result<void> begun =
        config.attach ? Attach(*config.attach) : StartProgram(paths, masks, config);
    if (!begun) return begun;
    Settle();
  }
  while (leader_ > 0 && !leader_end_) {
    if (Result<void> round = Round(); !round) return round;
  }
  console_.Clear();
  return {};
}

Result<void> Runner::Round() {
  if (Result<void> round = loop_->RunOnce(NextDeadline()); !round) return round;
  AskForStatus();
  // What the policies would want of a program that has ended by itself is not done.
  if (!leader_end_) Settle();
  return {};
}

void Runner::Settle() {
  // Before it is decided: who left again is ended at once, without time to leave once more.
  if (escapes_) escapes_->Tend();
  agent_.Reconcile();
  Record();
  if (levels_) levels_->Tend();
  agent_server_->Tend();
  operator_server_->Tend();
  PrintNotices();
  Redraw();
}

std::optional<Time> Runner::NextDeadline() const {
  std::optional<Time> next = agent_.NextDeadline();
  for (std::optional<Time> at :
       {agent_server_->NextDeadline(), operator_server_->NextDeadline(),
        escapes_ ? escapes_->NextDeadline() : std::nullopt,
        levels_ ? std::optional(levels_->NextDeadline()) : std::nullopt,
        attached_ended_at_ ? std::optional(agent_.clock().Now() + kStatusPause) : std::nullopt}) {
    if (at && (!next || *at < *next)) next = at;
  }
  if (console_.live()) {
    const Time redraw = drawn_at_ + Console::kRedraw;
    next = next ? std::min(*next, redraw) : redraw;
  }
  return next;
}

// What happened in between: reports, limits that an operator changed.
void Runner::Record() {
  recorded_.Refresh(agent_.clock().Now());
  if (const std::optional<Error> trouble = recorded_.TakeTrouble()) {
    agent_.history().AddNotice("not recorded, done all the same: " + trouble->ToString());
  }
}

void Runner::PrintNotices() {
  for (const std::string& notice : agent_.history().TakeNotices()) console_.PrintNotice(notice);
}

void Runner::Redraw() {
  if (!console_.live()) return;
  const Time now = agent_.clock().Now();
  const Duration since = now - drawn_at_;
  if (since < Console::kRedraw) return;
  agent_.Measure(Console::kRedraw / 2);
  const std::int64_t cpu = agent_.sample().cpu_ns;
  const double cores =
      static_cast<double>(cpu - drawn_cpu_ns_) / static_cast<double>(since.count());
  drawn_at_ = now;
  drawn_cpu_ns_ = cpu;
  console_.Draw(LiveLine(agent_, cores));
}

void Runner::OnSignal(const signalfd_siginfo& info) {
  const int number = static_cast<int>(info.ssi_signo);
  switch (number) {
    case SIGCHLD: return Reap();
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU: return StopWithTerminal();
    case SIGUSR1:
    case SIGUSR2: return SignalLeader(number);
    default: return Interrupt(number, info.ssi_code == SI_KERNEL);
  }
}

// The first is the program's, the second starts the end, one more makes it short. A suspended
// program cannot answer, so there the first one counts as the second.
void Runner::Interrupt(int number, bool from_terminal) {
  ++interrupts_;
  if (agent_.ended()) {
    agent_.Kill();
  } else if (interrupts_ > 1 || agent_.state() == State::kSuspended) {
    agent_.End({EndCause::kSignal, std::nullopt, number});
  } else if (!from_terminal || attached_) {
    // The terminal sends to the whole job, of which a program that was started here is a part: it
    // has it already.
    SignalLeader(number);
  }
}

// The whole agent stands still while the job is stopped, also what ignores the terminal: nobody
// would hold it to its budget.
void Runner::StopWithTerminal() {
  console_.Clear();
  agent_.Stop();
  kill(getpid(), SIGSTOP);
  agent_.Continue();
}

void Runner::Reap() {
  siginfo_t info{};
  while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0) {
    if (info.si_pid == leader_) {
      leader_end_ = LeaderEnd{info.si_code != CLD_EXITED, info.si_status};
    } else if (info.si_pid == guardian_.pid()) {
      guardian_.Reaped();
    }
    info.si_pid = 0;
  }
}

}  // namespace

Result<void> CheckNotNested(Host& host) {
  std::string outer;
  if (const char* name = std::getenv("METE_AGENT"); name != nullptr) outer = name;
  if (std::optional<std::string> group = host.GroupOf(getpid())) outer = *group;
  if (outer.empty()) return {};
  return Fail(ErrorCode::kNotPermitted,
              "an agent cannot start a mete run of its own, running inside: " + outer);
}

Result<void> CheckGrades(const AgentConfig& config, const Capabilities& host) {
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    const std::optional<Limit>& limit = config.limits.entries[i];
    if (!limit || limit->amount == kUnlimited) continue;
    const auto kind = static_cast<LimitKind>(i);
    const LimitInfo& info = InfoOf(kind);
    const GradeInfo grade =
        GradeOf(kind, config.policies[static_cast<std::size_t>(info.resource)], host);
    if (grade.grade != Grade::kAbsent && grade.grade != Grade::kAdvisory) continue;
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: this machine cannot hold it ({}: {}), allowed: without it, or "
                            "--best-effort, given: {}",
                            info.name, NameOf(grade.grade), grade.how, limit->text));
  }
  if (config.pids_asked &&
      (host.pids.grade == Grade::kAbsent || host.pids.grade == Grade::kAdvisory)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("pids: this machine cannot hold it ({}: {}), allowed: without it, or "
                            "--best-effort, given: {}",
                            NameOf(host.pids.grade), host.pids.how, config.pids_max));
  }
  return {};
}

namespace {

// A rate of CPU is the host's to hold, also where it holds it by stopping and continuing; memory
// that the kernel does not hold is sampled here.
void FitToHost(const Capabilities& host, AgentConfig* agent) {
  const Grade cpu = host.cpu.grade;
  agent->host = host;
  agent->watch_memory = host.memory_peak.grade == Grade::kSampled;
  agent->memory_slows = host.memory_slows;
  agent->controllers = {.cpu = cpu == Grade::kKernel || cpu == Grade::kSampled,
                        .memory = host.memory.grade == Grade::kKernel};
}

// By value: what it holds is let go of here.
Result<std::unique_ptr<Account>> OpenedBy(RunConfig::OpenAccount open) {
  if (!open) return nullptr;
  return open();
}

}  // namespace

Result<RunReport> Run(Host& host, const Clock& clock, RunConfig config) {
  if (Result<void> outside = CheckNotNested(host); !outside) {
    return std::unexpected(outside.error());
  }
  const Capabilities capabilities = host.Look();
  FitToHost(capabilities, &config.agent);
  const auto check_limits = [&]() -> Result<void> {
    if (Result<void> good = CheckRanges(config.agent.limits); !good) return good;
    Result<void> held = CheckGrades(config.agent, capabilities);
    return config.best_effort ? Result<void>{} : held;
  };
  if (Result<void> good = check_limits(); !good) return std::unexpected(good.error());

  if (config.attach) {
    const Result<ProcessId> attachable = CheckAttachable(host, *config.attach);
    if (!attachable) return std::unexpected(attachable.error());
  }
  const std::vector<std::string> command =
      config.attach ? CommandOf(*config.attach) : WordsOf(config.argv);
  Result<std::string> dir = MakeRuntimeDir();
  if (!dir) return std::unexpected(dir.error());
  const SignalMasks masks = TakeSignals();
  Result<Guardian> guardian = Guardian::Start(host);
  if (!guardian) return std::unexpected(guardian.error());
  RunConfig::OpenAccount open_account;
  if (config.find_account) {
    Result<RunConfig::OpenAccount> found = config.find_account(config.agent);
    if (!found) return std::unexpected(found.error());
    open_account = *std::move(found);
    // Of what is stored, not only of what was asked for here.
    if (Result<void> good = check_limits(); !good) return std::unexpected(good.error());
  }
  Result<std::unique_ptr<RecordedGroup>> group =
      MakeGroup(host, clock, *guardian, *dir, &config.agent);
  if (!group) return std::unexpected(group.error());
  const auto undo = [&group](const Error& error) {
    [[maybe_unused]] Result<void> removed = (*group)->Remove();
    return std::unexpected(error);
  };
  Result<Paths> paths = MakePaths(*dir, config.agent.id, config.identity.has_value());
  if (!paths) return undo(paths.error());
  guardian->Remember(paths->agent_socket);
  guardian->Remember(paths->control_socket);
  Result<std::unique_ptr<Loop>> loop = Loop::Create();
  if (!loop) return undo(loop.error());
  Result<std::unique_ptr<Account>> account = OpenedBy(std::move(open_account));
  if (!account) return undo(account.error());

  RecordedGroup& recorded = **group;
  Agent agent(std::move(config.agent), *std::move(group), clock, *std::move(account));
  recorded.DescribeBy([&agent](AgentRecord& record) { Describe(agent, &record); });
  std::optional<Runner> runner;
  runner.emplace(host, *std::move(loop), agent, recorded, *guardian, config.quiet);
  const Result<void> ran = runner->Run(*paths, masks, config);
  runner->CollectAll();
  const Result<void> finished = agent.Finish();
  runner->PrintNotices();
  const Outcome outcome =
      OutcomeOf(agent.ended(), runner->leader_end(), runner->exec_errno(), agent.config());
  runner.reset();
  if (!finished) {
    guardian->TakeOver();
    return std::unexpected(finished.error());
  }
  recorded.Forget();
  guardian->Dismiss();
  if (!ran) return std::unexpected(ran.error());
  return MakeReport(agent, capabilities, command, outcome);
}

}  // namespace mete::agent
