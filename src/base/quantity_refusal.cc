#include "base/quantity_refusal.h"

#include <string>

#include "base/quote.h"

namespace mete {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Walks the grammar one byte at a time and stops at the first byte that does not fit.
class Walker {
 public:
  explicit Walker(std::string_view text) : text_(text) {}

  bool Take(char c) { return TakeAny({&c, 1}); }
  bool TakeAny(std::string_view set) {
    if (at_ == text_.size() || set.find(text_[at_]) == set.npos) return false;
    ++at_;
    return true;
  }
  bool TakeDigits() {
    const std::size_t start = at_;
    while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
    return at_ > start;
  }
  bool AtEnd() const { return at_ == text_.size(); }
  std::size_t at() const { return at_; }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

bool WalkNumber(Walker& walker) {
  walker.TakeAny("+-");
  const bool whole = walker.TakeDigits();
  const bool fraction = walker.Take('.') && walker.TakeDigits();
  return whole || fraction;
}

bool WalkSuffix(Walker& walker) {
  if (walker.AtEnd() || walker.TakeAny("numk")) return true;
  if (walker.TakeAny("MGTP")) {
    walker.Take('i');
    return true;
  }
  if (walker.Take('K')) return walker.Take('i');
  // E alone is exa, Ei is exbi, and E before a number is an exponent.
  if (walker.Take('E')) {
    if (walker.AtEnd() || walker.Take('i')) return true;
  } else if (!walker.Take('e')) {
    return false;
  }
  walker.TakeAny("+-");
  return walker.TakeDigits();
}

// What people write for bytes elsewhere, 64MB, 64MiB and 64mb, as it is written here; else empty.
std::string Hint(std::string_view text) {
  Walker walker(text);
  if (!WalkNumber(walker)) return {};
  const std::string number(text.substr(0, walker.at()));
  std::string_view suffix = text.substr(walker.at());
  if (!suffix.ends_with('B') && !suffix.ends_with('b')) return {};
  suffix.remove_suffix(1);
  if (suffix.empty()) return number;
  const bool binary = suffix.size() == 2 && (suffix[1] == 'i' || suffix[1] == 'I');
  constexpr std::string_view kLower = "kmgtpe";
  constexpr std::string_view kUpper = "KMGTPE";
  std::size_t power = kUpper.find(suffix[0]);
  if (power == kUpper.npos) power = kLower.find(suffix[0]);
  if (power == kUpper.npos || (suffix.size() > 1 && !binary)) return {};
  const std::string in_binary = number + kUpper[power] + "i";
  if (binary) return in_binary;
  return number + (power == 0 ? kLower[power] : kUpper[power]) + " or " + in_binary;
}

}  // namespace

std::size_t FirstWrongByte(std::string_view text) noexcept {
  Walker walker(text);
  if (WalkNumber(walker) && WalkSuffix(walker) && walker.AtEnd()) return text.npos;
  return walker.at();
}

Error QuantityRefusal(std::string_view text) {
  const std::size_t wrong = FirstWrongByte(text);
  std::string message;
  if (wrong == text.npos) {
    message =
        "too large for a quantity: allowed is at most 9223372036854775807 in magnitude, given ";
    message += Quoted(text);
  } else {
    message =
        "not a quantity: allowed is a number such as 2 or 0.5, then nothing, n u m k M G T P E, "
        "Ki Mi Gi Ti Pi Ei, or an exponent such as e3; character ";
    message += std::to_string(wrong + 1);
    message += wrong == text.size() ? " is missing in " : " is wrong in ";
    message += Quoted(text, wrong);
    constexpr std::size_t kLongest = 20;  // a hint that is longer than what was typed helps nobody
    const std::string hint = text.size() <= kLongest ? Hint(text) : "";
    if (!hint.empty()) message += ", did you mean " + hint + "?";
  }
  return Error{ErrorCode::kInvalidArgument, std::move(message)};
}

}  // namespace mete
