// The program `mete`: what it can do, in the order in which help lists it.
#include "cli/command.h"

namespace {

constexpr const mete::cli::Command* kCommands[] = {
    &mete::cli::kRunCommand,      //
    &mete::cli::kVersionCommand,  //
    &mete::cli::kHelpCommand,
};

}  // namespace

int main(int argc, char** argv) { return mete::cli::Dispatch(kCommands, argc, argv); }
