// Text in columns.
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

// Each row on a line, columns left-aligned and two spaces apart; the last one is not padded.
// Widths count bytes: what mete prints in columns is ASCII.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace mete::cli
