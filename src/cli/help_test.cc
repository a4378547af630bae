#include <gtest/gtest.h>

#include "cli/command.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {
    {"memory", "BYTES", "memory, like 256Mi"},
    {"json", "", "print JSON"},
};
constexpr Command kCommand = {.name = "quota set",
                              .operands = "[ID]",
                              .summary = "Change limits",
                              .details = "More lines.\n",
                              .flags = kFlags,
                              .main = nullptr};

TEST(HelpText, ShowsACommandFromItsRow) {
  EXPECT_EQ(HelpText(kCommand),
            "usage: mete quota set [OPTION...] [ID]\n"
            "\n"
            "Change limits\n"
            "\n"
            "More lines.\n"
            "\n"
            "options:\n"
            "  --memory BYTES  memory, like 256Mi\n"
            "  --json          print JSON\n");
}

TEST(HelpText, LeavesOutWhatACommandLacks) {
  EXPECT_EQ(HelpText(kHelpCommand),
            "usage: mete help [COMMAND]\n\nShow what a command does and its options\n");
}

TEST(HelpText, ListsTheCommands) {
  const Command* commands[] = {&kCommand, &kHelpCommand};
  EXPECT_NE(HelpText(commands).find("\ncommands:\n"
                                    "  quota set  Change limits\n"
                                    "  help       Show what a command does and its options\n"),
            std::string::npos)
      << HelpText(commands);
}

}  // namespace
}  // namespace mete::cli
