#include "agent/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "mete/units.h"

namespace mete::agent {
namespace {

constexpr std::size_t kUsualColumns = 80;

std::size_t ColumnsOf(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsualColumns;
  return size.ws_col;
}

std::string ElapsedText(Duration span) {
  const auto all = std::chrono::duration_cast<std::chrono::seconds>(span).count();
  if (all < 3600) return fmt::format("{}:{:02}", all / 60, all % 60);
  return fmt::format("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60);
}

}  // namespace

Console::Console(int fd, bool quiet) : fd_(fd), quiet_(quiet), live_(!quiet && isatty(fd) == 1) {}

void Console::PrintNotice(const std::string& text) {
  if (quiet_) return;
  Clear();
  Write("mete: " + text + "\n");
}

void Console::Draw(const std::string& line) {
  if (!live_) return;
  // The last column stays free: some terminals wrap when it is filled.
  Write("\r\x1b[K" + line.substr(0, ColumnsOf(fd_) - 1));
  drawn_ = true;
}

void Console::Clear() {
  if (!drawn_) return;
  Write("\r\x1b[K");
  drawn_ = false;
}

void Console::Write(const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(fd_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nobody reads; the agent goes on
    done += static_cast<std::size_t>(written);
  }
}

std::string LiveLine(const Agent& agent, double cores) {
  std::string line =
      fmt::format("{}  {}", agent.id(), ElapsedText(agent.clock().Now() - agent.started()));
  if (agent.state() == State::kSuspended) return line + "  " + agent.SuspensionText();
  if (agent.ended()) return line + "  ending";
  const Sample& sample = agent.sample();
  line +=
      fmt::format("  cpu {:.1f} s ({:.2f} cores)", static_cast<double>(sample.cpu_ns) / 1e9, cores);
  line += fmt::format("  mem {}, peak {}", FormatBytes(sample.memory_bytes),
                      FormatBytes(sample.memory_peak_bytes));
  const auto& memory = agent.config().limits[LimitKind::kMemory];
  if (memory && memory->amount != kUnlimited) line += " of " + FormatBytes(memory->amount);
  bool tokens_told = false;
  for (const LimitUsage& usage : agent.quota().windows) {
    if (InfoOf(usage.kind).resource != Resource::kTokens) continue;
    if (tokens_told) continue;
    line += fmt::format("  tokens {} of {}", usage.used, usage.limit.amount);
    tokens_told = true;
  }
  const std::int64_t tokens = agent.totals().tokens_consumed;
  if (!tokens_told && tokens > 0) line += fmt::format("  tokens {}", tokens);
  return line;
}

}  // namespace mete::agent
