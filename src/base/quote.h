// Showing hostile text in a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mete {

// The text in double quotes, on one line and in printable ASCII: quotes and backslashes are
// escaped, every other byte outside 0x20..0x7e is \xNN. Of a long text only the part around the
// byte at `focus` is shown, with "..." for what is left out.
std::string Quoted(std::string_view text, std::size_t focus = 0);

}  // namespace mete
