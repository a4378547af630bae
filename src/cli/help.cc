// Help text, generated from the tables so that it cannot promise what parsing does not know.
#include <algorithm>

#include "cli/command.h"

namespace mete::cli {
namespace {

std::string LeftColumn(const Flag& flag) {
  std::string text = "--";
  text.append(flag.name);
  if (!flag.value.empty()) text.append(" ").append(flag.value);
  return text;
}

void AddRow(std::string* text, std::string_view left, std::size_t width, std::string_view right) {
  *text += "  ";
  *text += left;
  text->append(width - left.size() + 2, ' ');
  *text += right;
  *text += '\n';
}

}  // namespace

std::string HelpText(std::span<const Command* const> commands) {
  std::string text =
      "mete puts programs and AI agents on a budget, and keeps them on it.\n\n"
      "usage: mete COMMAND [OPTION...]\n\ncommands:\n";
  std::size_t width = 0;
  for (const Command* command : commands) width = std::max(width, command->name.size());
  for (const Command* command : commands) AddRow(&text, command->name, width, command->summary);
  return text + "\n`mete help COMMAND` tells more.\n";
}

std::string HelpText(const Command& command) {
  std::string text = "usage: mete " + std::string(command.name);
  if (!command.flags.empty()) text += " [OPTION...]";
  if (!command.operands.empty()) text.append(" ").append(command.operands);
  text.append("\n\n").append(command.summary).append("\n");
  if (!command.details.empty()) text.append("\n").append(command.details);
  if (command.flags.empty()) return text;

  text += "\noptions:\n";
  std::size_t width = 0;
  for (const Flag& flag : command.flags) width = std::max(width, LeftColumn(flag).size());
  for (const Flag& flag : command.flags) AddRow(&text, LeftColumn(flag), width, flag.help);
  return text;
}

extern constinit const Command kHelpCommand = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "Show what a command does and its options",
    .details = {},
    .flags = {},
    .max_operands = 2,
};

}  // namespace mete::cli
