// The commands of the program as a table. One file per command defines its row and its function;
// main.cc lists the rows.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "cli/flags.h"
#include "mete/error.h"

namespace mete::cli {

// Exit statuses. `run` has its own: docs/cli.md.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // refused, not found, nobody listens
inline constexpr int kExitUsage = 2;
inline constexpr int kExitRunFailed = 125;  // `run`: mete itself failed, usage included
inline constexpr std::size_t kAnyNumber = static_cast<std::size_t>(-1);

struct Command {
  std::string_view name;      // "run"; of a group, both words: "quota set"
  std::string_view operands;  // as help shows them: "[ID]"
  std::string_view summary;   // one line
  std::string_view details;   // for --help; whole lines, may be empty
  std::span<const Flag> flags;
  std::size_t min_operands = 0;
  std::size_t max_operands = 0;
  bool end_at_operand = false;  // what follows the first operand is not ours
  int usage_status = kExitUsage;
  int (*main)(const Flags& flags) = nullptr;
};

// Finds the command, parses its options, answers --help, calls it. Returns the exit status.
int Dispatch(std::span<const Command* const> commands, int argc, const char* const* argv);

// `mete: E2078: message` on standard error, always one line. Returns `status`.
int PrintError(const Error& error, int status = kExitFailure);
// The same; a bad argument is bad usage (2), all else a failure (1).
int PrintRefusal(const Error& error);
// Everything to standard output. A closed or full output is found when the program ends.
void Print(std::string_view text);

std::string HelpText(std::span<const Command* const> commands);
std::string HelpText(const Command& command);

// run.cc
int RunCommand(const Flags& flags);
extern const Command kRunCommand;
extern const Command kAttachCommand;
// The others, one file each.
extern const Command kReportCommand;
extern const Command kQuotaCreateCommand;
extern const Command kQuotaGetCommand;
extern const Command kQuotaListCommand;
extern const Command kQuotaSetCommand;
extern const Command kQuotaResetCommand;
extern const Command kQuotaRmCommand;
extern const Command kEventsCommand;
extern const Command kStateVerifyCommand;
extern const Command kStateDumpCommand;
extern const Command kSuspendCommand;
extern const Command kResumeCommand;
extern const Command kTerminateCommand;
extern const Command kClearThrottleCommand;
extern const Command kGcCommand;
extern const Command kDoctorCommand;
extern const Command kVersionCommand;
extern const Command kHelpCommand;

}  // namespace mete::cli
