// A second reading of quantities, for tests only: decimal arithmetic on strings of digits, slow and
// written without a look at quantity.cc. And texts to compare the two on.
#pragma once

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

namespace mete {

struct ReferenceQuantity {
  enum class Verdict { kGood, kMalformed, kTooLarge };
  Verdict verdict = Verdict::kMalformed;
  std::size_t wrong =
      0;  // when malformed: the length of the longest beginning that can be completed

  // When good: decimal numbers with '-' when negative.
  std::string units;
  std::string milli;
  std::string nano;
  std::string canonical;
};

ReferenceQuantity ReadByReference(std::string_view text);

// Whether such a decimal number is in int64 and its negative is too.
bool FitsInt64(std::string_view number);

// Mostly quantities, of all forms and sizes; one in six has a byte added, lost or changed.
std::string RandomQuantityText(std::mt19937_64& random);

}  // namespace mete
