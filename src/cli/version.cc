#include "cli/command.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {{"json", "", "print a JSON object"}};

int VersionCommand(const Flags& flags) {
  Print(flags.Has("json") ? "{\"version\":\"" METE_VERSION "\"}\n" : "mete " METE_VERSION "\n");
  return kExitOk;
}

}  // namespace

extern constinit const Command kVersionCommand = {
    .name = "version",
    .operands = {},
    .summary = "Print the version",
    .details = {},
    .flags = kFlags,
    .main = VersionCommand,
};

}  // namespace mete::cli
