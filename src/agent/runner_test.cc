// Whole runs on the fake host: real processes, no privileges. Each runs in a child of the test,
// because a run takes over signals and reaps every child.
#include "agent/runner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/runtime_dir.h"
#include "agent/test_agent.h"
#include "wire/json.h"
#include "wire/unix_client.h"

namespace mete::agent {
namespace {

template <class Condition>
bool Eventually(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    usleep(10'000);
  }
  return false;
}

class RunnerTest : public testing::Test {
 protected:
  RunnerTest() {
    std::string name = (std::filesystem::temp_directory_path() / "mete-test-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
    unsetenv("METE_AGENT");
  }
  ~RunnerTest() override {
    if (runner_ > 0) {
      kill(runner_, SIGKILL);
      waitpid(runner_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  std::string File(const char* name) { return folder_ + "/" + name; }
  std::string Content(const char* name) {
    std::ifstream file(File(name));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  RunConfig Config(const char* script) {
    RunConfig config;
    config.agent = TestConfig();
    config.agent.id = "a";
    config.quiet = true;
    words_ = {"sh", "-c", script};
    for (std::string& word : words_) config.argv.push_back(word.data());
    config.argv.push_back(nullptr);
    return config;
  }

  // Starts the run in a child; its report goes to the file "report", an error to "error", what it
  // tells to "told".
  void Start(const RunConfig& config, cgroup::FakeHost* host = nullptr) {
    runner_ = fork();
    if (runner_ != 0) return;
    const int told = open(File("told").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(told, STDERR_FILENO);
    cgroup::FakeHost fresh;
    const SystemClock clock;
    Result<RunReport> report = agent::Run(host != nullptr ? *host : fresh, clock, config);
    if (!report) {
      std::ofstream(File("error")) << report.error().ToString();
      _exit(125);
    }
    std::ofstream(File("report")) << ReportJson(*report);
    _exit(report->outcome.status);
  }

  // A program that writes its pid to the file "up", and rests until it is ended. The fake stops
  // process by process, and those of a busy loop would come and go under its hands.
  RunConfig Resting(const char* before) {
    const std::string script =
        std::string(before) + "; echo $$ > " + File("up") + "; sleep 1000 & wait";
    return Config(script.c_str());
  }
  void StartUp(const RunConfig& config) {
    Start(config);
    ASSERT_TRUE(Eventually([&] { return !Content("up").empty(); }));
  }
  void StartUp(const char* before) { StartUp(Resting(before)); }

  int Wait() {
    int status = 0;
    EXPECT_EQ(waitpid(std::exchange(runner_, -1), &status, 0) > 0, true);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  int RunScript(const char* script) {
    Start(Config(script));
    return Wait();
  }

  wire::HttpResponse Control(std::string method, std::string path, std::string body = {}) {
    auto response = wire::CallUnix(ControlSocketPath(RuntimeDir(), "a"),
                                   {std::move(method), "/v1/quotas/agent/a" + path, {}, body});
    EXPECT_TRUE(response) << response.error().message;
    return response ? *response : wire::HttpResponse{};
  }

  wire::HttpResponse Report(const char* body) {
    auto response =
        wire::CallUnix(AgentSocketPath(RuntimeDir(), "a"), {"POST", "/v1/self/usage", {}, body});
    EXPECT_TRUE(response);
    return response ? *response : wire::HttpResponse{};
  }

  std::string Reason() {
    const auto json = wire::ParseJson(Content("report"));
    return json ? *json->Find("exit")->Find("reason")->AsString() : "(no report)";
  }

  bool NoSockets() { return std::filesystem::is_empty(RuntimeDir()); }

  std::string folder_;
  std::vector<std::string> words_;
  pid_t runner_ = -1;
};

TEST_F(RunnerTest, EndsWithTheProgramsOwnStatus) {
  EXPECT_EQ(RunScript("exit 0"), 0);
  EXPECT_EQ(RunScript("exit 3"), 3);
  EXPECT_EQ(RunScript("exit 255"), 255);
  EXPECT_EQ(RunScript("kill -9 $$"), 137);
  EXPECT_EQ(Reason(), "signal");
  EXPECT_TRUE(NoSockets());
}

TEST_F(RunnerTest, TellsTheProgramWhoItIs) {
  EXPECT_EQ(RunScript("test \"$METE_AGENT\" = a && test -S \"$METE_SOCKET\""), 0);
}

TEST_F(RunnerTest, AProgramThatCannotStartIsToldApart) {
  RunConfig config = Config("");
  char missing[] = "/no/such/program", folder[] = "/";
  config.argv = {missing, nullptr};
  Start(config);
  EXPECT_EQ(Wait(), 127);
  EXPECT_EQ(Reason(), "not_started");
  config.argv = {folder, nullptr};
  Start(config);
  EXPECT_EQ(Wait(), 126);
  EXPECT_TRUE(NoSockets());
}

TEST_F(RunnerTest, TheWholeTreeEndsWithTheProgram) {
  const std::string script = "(setsid sh -c 'sleep 1000 & echo $! > " + File("pid") +
                             "; wait' &) ; while ! test -s " + File("pid") + "; do :; done";
  EXPECT_EQ(RunScript(script.c_str()), 0);
  const pid_t orphan = std::atoi(Content("pid").c_str());
  ASSERT_GT(orphan, 0);
  EXPECT_TRUE(Eventually([&] { return kill(orphan, 0) != 0; }));
}

TEST_F(RunnerTest, SignalsGoToTheProgramFirst) {
  StartUp("trap 'exit 42' TERM");
  kill(runner_, SIGTERM);
  EXPECT_EQ(Wait(), 42);
  EXPECT_EQ(Reason(), "exited");
}

TEST_F(RunnerTest, TheSecondSignalStartsTheEnd) {
  RunConfig config = Resting("trap '' TERM INT");
  config.agent.grace = std::chrono::milliseconds(50);
  StartUp(config);
  kill(runner_, SIGTERM);
  usleep(50'000);
  EXPECT_EQ(waitpid(runner_, nullptr, WNOHANG), 0) << "the program decides about the first one";
  kill(runner_, SIGTERM);
  EXPECT_EQ(Wait(), 128 + SIGTERM);
  EXPECT_EQ(Reason(), "interrupted");
}

TEST_F(RunnerTest, TheThirdSignalKillsAtOnce) {
  RunConfig config = Resting("trap '' TERM INT");
  config.agent.grace = std::chrono::hours(1);
  StartUp(config);
  for (int i = 0; i < 3; ++i) {
    kill(runner_, SIGINT);
    usleep(20'000);
  }
  EXPECT_EQ(Wait(), 128 + SIGINT);
}

TEST_F(RunnerTest, WhileSuspendedTheFirstSignalStartsTheEnd) {
  StartUp(":");
  EXPECT_EQ(Control("POST", "/suspend").status, 200);
  kill(runner_, SIGHUP);
  EXPECT_EQ(Wait(), 128 + SIGHUP);
  EXPECT_EQ(Reason(), "interrupted");
}

TEST_F(RunnerTest, StandsStillWithTheTerminalJob) {
  StartUp(":");
  kill(runner_, SIGTSTP);
  int status = 0;
  ASSERT_EQ(waitpid(runner_, &status, WUNTRACED), runner_);
  EXPECT_TRUE(WIFSTOPPED(status));
  const std::string pid = Content("up");
  const auto state = [&] {
    std::ifstream stat("/proc/" + pid.substr(0, pid.find('\n')) + "/stat");
    std::string number, name, letter;
    stat >> number >> name >> letter;
    return letter;
  };
  EXPECT_EQ(state(), "T") << "the program too";
  kill(runner_, SIGCONT);
  EXPECT_TRUE(Eventually([&] { return state() != "T"; }));
  EXPECT_EQ(Control("POST", "/terminate").status, 202);
  EXPECT_EQ(Wait(), 128 + SIGTERM);
}

TEST_F(RunnerTest, AnOperatorEndsIt) {
  StartUp(":");
  EXPECT_EQ(Control("POST", "/terminate").status, 202);
  EXPECT_EQ(Wait(), 128 + SIGTERM);
  EXPECT_EQ(Reason(), "operator");
}

TEST_F(RunnerTest, ReportsWarnSuspendAndEndIt) {
  RunConfig config = Resting(":");
  config.quiet = false;
  config.agent.limits[LimitKind::kTokensPerHour] = *ParseLimit(LimitKind::kTokensPerHour, "1000");
  config.agent.max_suspend = std::chrono::milliseconds(100);
  StartUp(config);
  EXPECT_EQ(Report(R"({"tokens": 900})").status, 200);
  EXPECT_EQ(Report(R"({"tokens": 200})").status, 200);
  EXPECT_EQ(Report(R"({"tokens": 200})").status, 200);
  EXPECT_EQ(Wait(), 124);
  EXPECT_EQ(Reason(), "max_suspend");
  EXPECT_NE(Content("report").find(R"("tokens":1300)"), std::string::npos);
  const std::string told = Content("told");
  EXPECT_TRUE(
      told.starts_with("mete: warned: tokens_per_hour: 1100 of 1000 used\n"
                       "mete: suspended: tokens_per_hour: 1300 of 1000 used; until "))
      << told;
  EXPECT_NE(told.find("\nmete: terminated: suspended for 100ms (--max-suspend)\n"),
            std::string::npos)
      << told;
}

TEST_F(RunnerTest, GoesOnWhenTheLimitIsRaised) {
  RunConfig config = Resting("trap 'exit 7' TERM");
  config.agent.limits[LimitKind::kTokensPerHour] = *ParseLimit(LimitKind::kTokensPerHour, "10");
  StartUp(config);
  Report(R"({"tokens": 11})");
  Report(R"({"tokens": 1})");
  EXPECT_TRUE(Eventually(
      [&] { return Control("GET", "").body.find(R"("state":"suspended")") != std::string::npos; }));
  const wire::HttpResponse raised =
      Control("PATCH", "", R"({"limits": {"tokens_per_hour": "100"}})");
  EXPECT_NE(raised.body.find(R"("state":"running")"), std::string::npos) << raised.body;
  kill(runner_, SIGTERM);
  EXPECT_EQ(Wait(), 7);
}

TEST_F(RunnerTest, AKillByTheKernelEndsItWithTheLimit) {
  cgroup::FakeHost host;
  const std::string mark = File("oom");
  host.meter = [mark](std::string_view, Sample& sample) {
    sample.memory_bytes = 64 << 20;
    sample.oom_kills = access(mark.c_str(), F_OK) == 0 ? 1 : 0;
  };
  RunConfig config = Config(("touch " + mark + "; kill -9 $$").c_str());
  config.agent.limits[LimitKind::kMemory] = *ParseLimit(LimitKind::kMemory, "64Mi");
  Start(config, &host);
  EXPECT_EQ(Wait(), 124);
  EXPECT_EQ(Reason(), "limit");
  EXPECT_NE(Content("report").find("killed by the kernel"), std::string::npos);
}

TEST_F(RunnerTest, IsRefusedInsideAnAgent) {
  setenv("METE_AGENT", "outer", 1);
  Start(Config("exit 0"));
  EXPECT_EQ(Wait(), 125);
  EXPECT_TRUE(Content("error").starts_with("E2078")) << Content("error");
  EXPECT_NE(Content("error").find("outer"), std::string::npos);
  unsetenv("METE_AGENT");

  cgroup::FakeHost host;
  auto group = *host.Create("outer-group", {});
  const pid_t child = fork();
  if (child == 0) {
    group->JoinSelf();
    const SystemClock clock;
    const Result<RunReport> report = agent::Run(host, clock, Config("exit 0"));
    _exit(!report && report.error().code == ErrorCode::kNotPermitted ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << "also without its environment";
}

TEST_F(RunnerTest, ALimitThatIsNotHeldIsRefusedUnlessBestEffort) {
  cgroup::FakeHost host;
  host.capabilities.cpu = {Grade::kAbsent, "no cpu controller"};
  RunConfig config = Config("exit 5");
  Start(config, &host);
  EXPECT_EQ(Wait(), 5) << "only limits that are asked for count";
  config.agent.limits[LimitKind::kCpu] = *ParseLimit(LimitKind::kCpu, "500m");
  Start(config, &host);
  EXPECT_EQ(Wait(), 125);
  EXPECT_EQ(Content("error"),
            "E2071: cpu: this machine cannot hold it (absent: no cpu controller), allowed: without "
            "it, or --best-effort, given: 500m");
  config.best_effort = true;
  Start(config, &host);
  EXPECT_EQ(Wait(), 5);
  EXPECT_NE(Content("report").find(R"("grade":"absent")"), std::string::npos);
}

TEST_F(RunnerTest, RefusalsLeaveNothingBehind) {
  cgroup::FakeHost host;
  auto taken = *host.Create("a", {});
  Start(Config("exit 0"), &host);
  EXPECT_EQ(Wait(), 125);
  EXPECT_TRUE(Content("error").starts_with("E2076")) << Content("error");

  RunConfig config = Config("exit 0");
  config.agent.id = std::string(128, 'x');
  Start(config);
  EXPECT_EQ(Wait(), 125);
  EXPECT_NE(Content("error").find("--agent: too long"), std::string::npos) << Content("error");

  cgroup::FakeHost failing;
  failing.FailNext(cgroup::FakeCall::kJoinSelf, {ErrorCode::kSystem, "no"});
  Start(Config("exit 0"), &failing);
  EXPECT_EQ(Wait(), 125);
  EXPECT_NE(Content("error").find("enter its group"), std::string::npos) << Content("error");
  EXPECT_TRUE(NoSockets());
}

TEST_F(RunnerTest, ANameIsMadeUpWhereNoneIsGiven) {
  RunConfig config = Config("echo $METE_AGENT > $0");
  const std::string file = File("name");
  config.argv.insert(config.argv.end() - 1, const_cast<char*>(file.c_str()));
  config.agent.id.clear();
  Start(config);
  const std::string expected = "run-" + std::to_string(runner_) + "\n";
  EXPECT_EQ(Wait(), 0);
  EXPECT_EQ(Content("name"), expected);
}

TEST_F(RunnerTest, KilledItsGuardianEndsTheAgent) {
  StartUp("trap '' TERM INT HUP");
  const pid_t program = std::atoi(Content("up").c_str());
  ASSERT_GT(program, 0);
  kill(runner_, SIGKILL);
  EXPECT_EQ(Wait(), 1000 + SIGKILL);
  EXPECT_TRUE(Eventually([&] { return kill(program, 0) != 0 && NoSockets(); }));
}

TEST_F(RunnerTest, ABrokenSocketFolderIsAnErrorOfMete) {
  std::ofstream(File("mete")) << "a file in the place of the folder";
  EXPECT_EQ(RunScript("exit 0"), 125);
  EXPECT_TRUE(Content("error").starts_with("E2099")) << Content("error");
}

}  // namespace
}  // namespace mete::agent
