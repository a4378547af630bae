#include "cli/table.h"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

TEST(FormatTable, AlignsColumns) {
  EXPECT_EQ(FormatTable({{"LIMIT", "USED"}, {"tokens_per_hour", "900"}, {"cpu", ""}}),
            "LIMIT            USED\n"
            "tokens_per_hour  900\n"
            "cpu              \n");
  EXPECT_EQ(FormatTable({}), "");
  EXPECT_EQ(FormatTable({{"a"}, {"b", "c"}}), "a\nb  c\n");
}

}  // namespace
}  // namespace mete::cli
