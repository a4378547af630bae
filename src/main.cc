// The program `mete`: what it can do, in the order in which help lists it.
#include "cli/command.h"

namespace {

using namespace mete::cli;

constexpr const Command* kCommands[] = {
    // A program on a budget; from inside, what it used.
    &kRunCommand,
    &kAttachCommand,
    &kReportCommand,
    // From outside: limits and usage, and an operator who acts.
    &kQuotaCreateCommand,
    &kQuotaGetCommand,
    &kQuotaListCommand,
    &kQuotaSetCommand,
    &kQuotaResetCommand,
    &kQuotaRmCommand,
    &kEventsCommand,
    &kStateVerifyCommand,
    &kStateDumpCommand,
    &kSuspendCommand,
    &kResumeCommand,
    &kTerminateCommand,
    &kClearThrottleCommand,
    &kGcCommand,
    // About this machine and this program.
    &kDoctorCommand,
    &kVersionCommand,
    &kHelpCommand,
};

}  // namespace

int main(int argc, char** argv) { return Dispatch(kCommands, argc, argv); }
