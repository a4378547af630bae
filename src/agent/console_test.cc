#include "agent/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "agent/test_agent.h"
#include "base/unique_fd.h"

namespace mete::agent {
namespace {

TEST(Console, WritesOnlyNoticesWithoutATerminal) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  Console console(writer.get(), false);
  EXPECT_FALSE(console.live());
  console.Draw("live");
  console.PrintNotice("warned");
  console.Clear();
  Console quiet(writer.get(), true);
  quiet.PrintNotice("never");
  char buffer[100] = {};
  ASSERT_GT(read(reader.get(), buffer, sizeof buffer - 1), 0);
  EXPECT_STREQ(buffer, "mete: warned\n");
}

TEST(Console, RewritesOneLineOnATerminal) {
  UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK));
  ASSERT_TRUE(master);
  ASSERT_EQ(grantpt(master.get()), 0);
  ASSERT_EQ(unlockpt(master.get()), 0);
  UniqueFd terminal(open(ptsname(master.get()), O_RDWR | O_NOCTTY));
  ASSERT_TRUE(terminal);
  const winsize size{.ws_row = 24, .ws_col = 11, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(ioctl(terminal.get(), TIOCSWINSZ, &size), 0);
  Console console(terminal.get(), false);
  EXPECT_TRUE(console.live());
  EXPECT_FALSE(Console(terminal.get(), true).live());
  console.Draw("0123456789abc");
  console.PrintNotice("warned");
  console.Clear();
  // A terminal hands its output on when it finds the time, in pieces.
  const std::string expected = "\r\x1b[K0123456789\r\x1b[Kmete: warned\r\n";
  std::string shown;
  pollfd readable{master.get(), POLLIN, 0};
  while (shown.size() < expected.size() && poll(&readable, 1, 10'000) == 1) {
    char buffer[200];
    const ssize_t count = read(master.get(), buffer, sizeof buffer);
    ASSERT_GT(count, 0);
    shown.append(buffer, static_cast<std::size_t>(count));
  }
  EXPECT_EQ(shown, expected) << "cut to the columns";
}

TEST(Console, SurvivesAClosedDescriptor) {
  Console console(-1, false);
  console.PrintNotice("to nobody");
}

TEST(LiveLine, ShowsUseAndLimits) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1000"}, {LimitKind::kMemory, "64Mi"}}));
  agent.meters.cpu_ns = 3'200'000'000;
  agent.meters.memory_bytes = 45 << 20;
  agent.Tokens(900);
  agent.clock.Advance(std::chrono::seconds(12));
  agent->Measure();
  EXPECT_EQ(LiveLine(*agent, 0.5),
            agent->id() +
                "  0:12  cpu 3.2 s (0.50 cores)  mem 45 MiB, peak 45 MiB of 64 MiB  tokens 900 of "
                "1000");
  agent.clock.Advance(std::chrono::hours(2));
  EXPECT_NE(LiveLine(*agent, 0).find("  2:00:12  "), std::string::npos);
}

TEST(LiveLine, WithoutLimitsShowsTokensOnceThereAreAny) {
  TestAgent agent(TestConfig());
  EXPECT_EQ(LiveLine(*agent, 0).find("tokens"), std::string::npos);
  agent.Tokens(7);
  EXPECT_NE(LiveLine(*agent, 0).find("tokens 7"), std::string::npos);
}

TEST(LiveLine, SaysWhyItIsSuspendedAndHowToGoOn) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1000"}}));
  agent.Tokens(1100);
  agent.Tokens(200);
  EXPECT_EQ(LiveLine(*agent, 0),
            agent->id() +
                "  0:00  suspended: tokens_per_hour: 1300 of 1000 used; until 14:00:00 UTC (in "
                "1h), or at once with: mete quota set " +
                agent->id() + " --tokens-per-hour 2600");
  agent->End({EndCause::kOperator, std::nullopt});
  agent->Reconcile();
  EXPECT_EQ(LiveLine(*agent, 0), agent->id() + "  0:00  ending");
}

}  // namespace
}  // namespace mete::agent
