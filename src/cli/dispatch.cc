#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/quote.h"
#include "cli/command.h"

namespace mete::cli {
namespace {

using Commands = std::span<const Command* const>;

const Command* Find(Commands commands, std::string_view name) {
  auto found = std::ranges::find(commands, name, [](const Command* c) { return c->name; });
  return found == commands.end() ? nullptr : *found;
}

bool InGroup(const Command& command, std::string_view group) {
  return command.name.size() > group.size() && command.name.starts_with(group) &&
         command.name[group.size()] == ' ';
}

std::string GroupHelp(Commands commands, std::string_view group) {
  std::vector<const Command*> members;
  for (const Command* command : commands) {
    if (InGroup(*command, group)) members.push_back(command);
  }
  std::string text;
  for (const Command* member : members) {
    if (!text.empty()) text += '\n';
    text += HelpText(*member);
  }
  return text;
}

int Unknown(Commands commands, std::string_view what, std::string_view given) {
  std::string message = "unknown " + std::string(what) + " " + Quoted(given);
  std::vector<std::string_view> names;
  for (const Command* command : commands) {
    names.push_back(command->name.substr(0, command->name.find(' ')));
  }
  const std::string_view nearest = NearestName(given, names);
  message +=
      nearest.empty() ? ", `mete help` lists them" : ", did you mean " + std::string(nearest) + "?";
  return PrintError({ErrorCode::kInvalidArgument, std::move(message)}, kExitUsage);
}

int UnknownInGroup(Commands commands, std::string_view group, const char* given) {
  std::string message = std::string(group) + ": ";
  message += given == nullptr ? "which one?" : "unknown command " + Quoted(given);
  const char* separator = " allowed: ";
  if (given != nullptr) message += ',';
  for (const Command* command : commands) {
    if (!InGroup(*command, group)) continue;
    message += separator + std::string(command->name.substr(group.size() + 1));
    separator = ", ";
  }
  return PrintError({ErrorCode::kInvalidArgument, std::move(message)}, kExitUsage);
}

int Help(Commands commands, const std::vector<std::string_view>& words) {
  if (words.empty()) {
    Print(HelpText(commands));
    return kExitOk;
  }
  std::string name(words[0]);
  if (words.size() > 1) name.append(" ").append(words[1]);
  if (const Command* command = Find(commands, name)) {
    Print(HelpText(*command));
    return kExitOk;
  }
  const std::string group = GroupHelp(commands, name);
  if (group.empty()) return Unknown(commands, "command", name);
  Print(group);
  return kExitOk;
}

Result<void> CheckOperands(const Command& command, std::size_t count) {
  const std::string name(command.name);
  if (count < command.min_operands) {
    const std::string options = command.flags.empty() ? "" : " [OPTION...]";
    return Fail(ErrorCode::kInvalidArgument, name + " needs more: mete " + name + options + " " +
                                                 std::string(command.operands) + ", `mete help " +
                                                 name + "` lists the options");
  }
  if (count <= command.max_operands) return {};
  const std::string form = command.operands.empty() ? "nothing" : std::string(command.operands);
  return Fail(ErrorCode::kInvalidArgument,
              name + " is given too much, it takes " + form + " and options");
}

int Call(Commands commands, const Command& command, std::span<const char* const> arguments) {
  const auto usage_error = [&](const Error& error) {
    return PrintError(error, command.usage_status);
  };
  Result<Flags> flags = Flags::Parse({command.flags, command.end_at_operand}, arguments);
  if (!flags) return usage_error(flags.error());
  if (flags->help_wanted()) {
    Print(HelpText(command));
    return kExitOk;
  }
  if (Result<void> ok = CheckOperands(command, flags->operands().size()); !ok) {
    return usage_error(ok.error());
  }
  // `help` has no function of its own: only here is the table known.
  return command.main == nullptr ? Help(commands, flags->operands()) : command.main(*flags);
}

// A full disk or a closed pipe must not look like success.
int FlushOutput(int status) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  PrintError({ErrorCode::kSystem, "cannot write to standard output"});
  return status == kExitOk ? kExitFailure : status;
}

}  // namespace

int Dispatch(Commands commands, int argc, const char* const* argv) {
  std::span<const char* const> arguments(argv, argc > 0 ? static_cast<std::size_t>(argc) : 0);
  if (arguments.size() < 2) {
    std::fputs(HelpText(commands).c_str(), stderr);
    return kExitUsage;
  }
  std::string_view first = arguments[1];
  arguments = arguments.subspan(2);
  if (first == "--help" || first == "-h") first = "help";
  if (first == "--version") first = "version";
  if (const Command* command = Find(commands, first)) {
    return FlushOutput(Call(commands, *command, arguments));
  }
  const auto in_group = [&](const Command* command) { return InGroup(*command, first); };
  if (std::ranges::none_of(commands, in_group)) {
    return Unknown(commands, first.starts_with('-') ? "option" : "command", first);
  }
  const char* second = arguments.empty() ? nullptr : arguments.front();
  if (second != nullptr &&
      (std::string_view(second) == "--help" || std::string_view(second) == "-h")) {
    return FlushOutput(Help(commands, {first}));
  }
  const std::string name = std::string(first) + " " + (second == nullptr ? "" : second);
  const Command* command = Find(commands, name);
  if (command == nullptr) return UnknownInGroup(commands, first, second);
  return FlushOutput(Call(commands, *command, arguments.subspan(1)));
}

int PrintError(const Error& error, int status) {
  std::string line = "mete: " + error.ToString();
  // Values from outside may hold anything; the promise is one line.
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  line += '\n';
  std::fputs(line.c_str(), stderr);
  return status;
}

int PrintRefusal(const Error& error) {
  return PrintError(error, error.code == ErrorCode::kInvalidArgument ? kExitUsage : kExitFailure);
}

void Print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace mete::cli
