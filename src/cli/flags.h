// The options of a command as data: parsing, messages and help text all come from one table.
//
// `--name value` and `--name=value`; names are never abbreviated, so that adding an option cannot
// change what an old command line means. `--` ends the options.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mete/error.h"

namespace mete::cli {

struct Flag;

// Whether a value is acceptable; the error says what is allowed. Parsing adds the flag, and the
// value if the error does not show it. values.h has the checks that commands share.
using ValueCheck = Result<void> (*)(const Flag& flag, std::string_view value);

struct Flag {
  std::string_view name;       // without the dashes: "tokens-per-hour"
  std::string_view value;      // what help calls the value: "N"; empty: a switch without value
  std::string_view help;       // one line
  ValueCheck check = nullptr;  // nullptr: any text
  bool repeats = false;        // may be given more than once
  std::string_view also = {};  // what people call it too, with spaces between: they are told
};

// How a command line divides into options and operands.
struct FlagRules {
  std::span<const Flag> flags;
  bool end_at_operand = false;  // `run`: what follows the first operand belongs to the program
};

// The options and operands of one command line. Views into the arguments: they must outlive this.
class Flags {
 public:
  // E2071: an unknown option (with the nearest known one), a missing or unwanted value, a value
  // that its check refuses, an option given twice. Every command also knows --help and -h; then
  // parsing ends at once, without an error.
  static Result<Flags> Parse(const FlagRules& rules, std::span<const char* const> arguments);

  // Whether it was given. Asking for a name that the table lacks is a failed check, here and below.
  bool Has(std::string_view name) const;
  // The value; of several, the last.
  std::optional<std::string_view> Get(std::string_view name) const;
  std::vector<std::string_view> GetAll(std::string_view name) const;

  // What is no option. Each element is one of the arguments, so data() of it ends with a NUL.
  const std::vector<std::string_view>& operands() const { return operands_; }
  // The operands as execvp wants them: the pointers given to Parse, and a final nullptr.
  std::vector<char*> OperandArgv() const;

  bool help_wanted() const { return help_wanted_; }

 private:
  Result<void> AddOption(std::string_view text, std::span<const char* const>* rest);

  std::span<const Flag> table_;
  std::vector<std::pair<const Flag*, std::string_view>> given_;
  std::vector<std::string_view> operands_;
  bool help_wanted_ = false;
};

// Of these names the one that was probably meant, or empty: at most two slips of the keyboard
// (one in short names), or an abbreviation of three letters or more.
std::string_view NearestName(std::string_view given, std::span<const std::string_view> names);

}  // namespace mete::cli
