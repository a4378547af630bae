#include "base/quote.h"

#include <gtest/gtest.h>

#include <string>

namespace mete {
namespace {

TEST(Quoted, ShowsPrintableTextAsItIs) {
  EXPECT_EQ(Quoted(""), "\"\"");
  EXPECT_EQ(Quoted("2Gib"), "\"2Gib\"");
  EXPECT_EQ(Quoted(" ~"), "\" ~\"");
}

TEST(Quoted, EscapesEverythingElse) {
  EXPECT_EQ(Quoted("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(Quoted(std::string_view("1\0\n\x1b[31m", 8)), R"("1\x00\x0a\x1b[31m")");
  EXPECT_EQ(Quoted("\x1f\x7f\x80\xff"), R"("\x1f\x7f\x80\xff")");
  EXPECT_EQ(Quoted("\xef\xbc\x91"), R"("\xef\xbc\x91")");
}

std::string Numbered(std::size_t size) {
  std::string text;
  while (text.size() < size) text += std::to_string(text.size() % 10);
  return text;
}

TEST(Quoted, ShowsFortyBytesAtMost) {
  const std::string forty = Numbered(40);
  EXPECT_EQ(Quoted(forty, 40), "\"" + forty + "\"");
  EXPECT_EQ(Quoted(forty + "x"), "\"" + forty + "\"...");
}

TEST(Quoted, ShowsWhatIsAroundTheFocus) {
  const std::string hundred = Numbered(100);
  EXPECT_EQ(Quoted(hundred, 0), "\"" + hundred.substr(0, 40) + "\"...");
  EXPECT_EQ(Quoted(hundred, 20), "\"" + hundred.substr(0, 40) + "\"...");
  EXPECT_EQ(Quoted(hundred, 21), "...\"" + hundred.substr(1, 40) + "\"...");
  EXPECT_EQ(Quoted(hundred, 79), "...\"" + hundred.substr(59, 40) + "\"...");
  EXPECT_EQ(Quoted(hundred, 80), "...\"" + hundred.substr(60) + "\"");
  EXPECT_EQ(Quoted(hundred, 100), "...\"" + hundred.substr(60) + "\"");
  EXPECT_EQ(Quoted(hundred, 1000), "...\"" + hundred.substr(60) + "\"");
}

}  // namespace
}  // namespace mete
