#include "cli/flags.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/check.h"
#include "base/quote.h"

namespace mete::cli {
namespace {

const Flag* FindFlag(std::span<const Flag> table, std::string_view name) {
  auto found = std::ranges::find(table, name, &Flag::name);
  return found == table.end() ? nullptr : &*found;
}

std::string Dashed(std::string_view name) { return "--" + std::string(name); }

// Edits that turn one name into the other: insert, drop, replace, swap neighbours. Names are short,
// so longer ones than the row simply count as far apart.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  constexpr std::size_t kLongest = 40;
  if (a.size() > kLongest || b.size() > kLongest) return kLongest;
  std::array<std::array<std::size_t, kLongest + 1>, kLongest + 1> cost{};
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replace});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

bool Shows(std::string_view message, std::string_view value) {
  return message.find(Quoted(value)) != message.npos ||
         message.ends_with("given: " + std::string(value));
}

// Whether it is one of the words.
bool IsAmong(std::string_view words, std::string_view name) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == name) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

std::string UnknownFlag(std::span<const Flag> table, std::string_view name) {
  std::vector<std::string_view> names;
  for (const Flag& flag : table) names.push_back(flag.name);
  names.push_back("help");
  std::string message = "unknown option " + Quoted(Dashed(name));
  std::string_view nearest = NearestName(name, names);
  for (const Flag& flag : table) {
    if (IsAmong(flag.also, name)) nearest = flag.name;
  }
  if (!nearest.empty()) return message + ", did you mean " + Dashed(nearest) + "?";
  message += ", allowed: ";
  for (std::string_view known : names) {
    if (known != names.front()) message += ", ";
    message += Dashed(known);
  }
  return message;
}

}  // namespace

std::string_view NearestName(std::string_view given, std::span<const std::string_view> names) {
  std::string_view best;
  std::size_t best_cost = SIZE_MAX;
  for (std::string_view name : names) {
    const std::size_t slips = EditDistance(given, name);
    const bool abbreviated = given.size() >= 3 && name.starts_with(given);
    // An abbreviation is the weaker guess: it counts as more than any allowed slips.
    const std::size_t allowed = abbreviated ? 3 : name.size() > 4 ? 2 : 1;
    const std::size_t cost = abbreviated ? std::min<std::size_t>(slips, 3) : slips;
    if (cost <= allowed && cost < best_cost) best = name, best_cost = cost;
  }
  return best;
}

Result<Flags> Flags::Parse(const FlagRules& rules, std::span<const char* const> arguments) {
  Flags flags;
  flags.table_ = rules.flags;
  while (!arguments.empty()) {
    const std::string_view text = arguments.front();
    arguments = arguments.subspan(1);
    if (text == "--") {
      flags.operands_.insert(flags.operands_.end(), arguments.begin(), arguments.end());
      break;
    }
    if (text == "--help" || text == "-h") {
      flags.help_wanted_ = true;
      break;
    }
    // A lone "-" is an operand by custom.
    if (text.size() < 2 || text.front() != '-') {
      flags.operands_.push_back(text);
      if (!rules.end_at_operand) continue;
      flags.operands_.insert(flags.operands_.end(), arguments.begin(), arguments.end());
      break;
    }
    if (Result<void> added = flags.AddOption(text, &arguments); !added) {
      return std::unexpected(added.error());
    }
  }
  return flags;
}

Result<void> Flags::AddOption(std::string_view text, std::span<const char* const>* rest) {
  if (!text.starts_with("--")) {
    return Fail(ErrorCode::kInvalidArgument,
                "unknown option " + Quoted(text) + ", options are written --name or --name=value");
  }
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(2, equals == text.npos ? text.npos : equals - 2);
  const Flag* flag = FindFlag(table_, name);
  if (flag == nullptr) return Fail(ErrorCode::kInvalidArgument, UnknownFlag(table_, name));

  std::string_view value;
  if (flag->value.empty()) {
    if (equals != text.npos) {
      return Fail(ErrorCode::kInvalidArgument,
                  Dashed(name) + " takes no value, given " + Quoted(text.substr(equals + 1)));
    }
  } else if (equals != text.npos) {
    value = text.substr(equals + 1);
  } else if (rest->empty() || std::string_view(rest->front()).starts_with("--")) {
    // A value that begins with dashes is more likely a forgotten value; --name=--value is clear.
    return Fail(ErrorCode::kInvalidArgument,
                Dashed(name) + " needs a value: " + Dashed(name) + " " + std::string(flag->value));
  } else {
    value = rest->front();
    *rest = rest->subspan(1);
  }
  if (!flag->repeats && Has(name)) {
    return Fail(ErrorCode::kInvalidArgument, Dashed(name) + " is given twice");
  }
  if (flag->check != nullptr) {
    if (Result<void> ok = flag->check(*flag, value); !ok) {
      std::string message = Dashed(name) + ": " + ok.error().message;
      if (!Shows(message, value)) message += ", given " + Quoted(value);
      return Fail(ok.error().code, std::move(message));
    }
  }
  given_.emplace_back(flag, value);
  return {};
}

bool Flags::Has(std::string_view name) const {
  METE_CHECK(FindFlag(table_, name) != nullptr);
  return std::ranges::any_of(given_, [&](const auto& entry) { return entry.first->name == name; });
}

std::optional<std::string_view> Flags::Get(std::string_view name) const {
  std::vector<std::string_view> all = GetAll(name);
  if (all.empty()) return std::nullopt;
  return all.back();
}

std::vector<std::string_view> Flags::GetAll(std::string_view name) const {
  METE_CHECK(FindFlag(table_, name) != nullptr);
  std::vector<std::string_view> values;
  for (const auto& [flag, value] : given_) {
    if (flag->name == name) values.push_back(value);
  }
  return values;
}

std::vector<char*> Flags::OperandArgv() const {
  std::vector<char*> argv;
  argv.reserve(operands_.size() + 1);
  // execvp does not write through its pointers; the type is an accident of C.
  for (std::string_view operand : operands_) argv.push_back(const_cast<char*>(operand.data()));
  argv.push_back(nullptr);
  return argv;
}

}  // namespace mete::cli
