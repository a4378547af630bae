// Why a text was refused as a quantity: the slow half of Quantity::Parse.
#pragma once

#include <cstddef>
#include <string_view>

#include "mete/error.h"

namespace mete {

// The index of the first byte with which no quantity can go on; text.size() if only the end came
// too early; npos if the text is well formed (and its amount therefore too large).
std::size_t FirstWrongByte(std::string_view text) noexcept;

// REQUIRES: Quantity::Parse refuses the text.
Error QuantityRefusal(std::string_view text);

}  // namespace mete
