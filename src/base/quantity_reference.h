// A second reading of quantities, for tests and the fuzz target only: decimal arithmetic on strings
// of digits, slow and written without a look at quantity.cc. And texts to compare the two on.
#pragma once

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

namespace mete {

struct ReferenceQuantity {
  enum class Verdict { kGood, kMalformed, kTooLarge };
  Verdict verdict = Verdict::kMalformed;
  // When malformed: the length of the longest beginning that can be completed.
  std::size_t wrong = std::string_view::npos;

  // When good: decimal numbers with '-' when negative.
  std::string units;
  std::string milli;
  std::string nano;
  std::string canonical;
};

ReferenceQuantity ReadByReference(std::string_view text);

// How Quantity::Parse and the reference disagree on a text, or are at odds with themselves; empty
// if they do not.
std::string Disagreement(std::string_view text);

// Mostly quantities, of all forms and sizes; one in six has a byte added, lost or changed.
std::string RandomQuantityText(std::mt19937_64& random);

}  // namespace mete
