// The key in an Idempotency-Key field: a string of RFC 9651 in quotes, as
// draft-ietf-httpapi-idempotency-key has it, or, as many clients send it, the bare text. Both are
// the same key.
#pragma once

#include <string>
#include <string_view>

#include "mete/error.h"

namespace mete::agent {

inline constexpr std::size_t kLongestKey = 255;

// E2071: quotes that do not end, what cannot stand in them, or a key that is too long.
Result<std::string> KeyText(std::string_view field);

// A key as the field has it, in quotes.
std::string KeyField(std::string_view key);

}  // namespace mete::agent
