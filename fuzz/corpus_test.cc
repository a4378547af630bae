// Runs one fuzz target without a fuzzer, for compilers that have none: over its corpus, and over a
// bounded number of inputs made from it, which are the same in every run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/quote.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length);

namespace {

std::string g_input;

// A target that finds something ends the process, so the input is shown before that.
void ShowInput(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: %s does not hold for %zu bytes:", file, line, condition,
               g_input.size());
  for (const char c : g_input) std::fprintf(stderr, " %02x", static_cast<unsigned char>(c));
  std::fprintf(stderr, "\n%s\n", mete::Quoted(g_input).c_str());
  std::abort();
}

void Feed(const std::string& input) {
  g_input = input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

std::vector<std::string> Corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(METE_CORPUS)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

class FuzzTarget : public testing::Test {
 protected:
  void SetUp() override {
    mete::SetCheckHandler(ShowInput);
    corpus_ = Corpus();
    ASSERT_FALSE(corpus_.empty()) << METE_CORPUS;
  }
  void TearDown() override { mete::SetCheckHandler(nullptr); }

  std::size_t Below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  const std::string& Any() { return corpus_[Below(corpus_.size())]; }

  // One byte changed, added or lost, a piece repeated, or another input's end put on.
  void Change(std::string& input) {
    const std::size_t at = Below(input.size() + 1);
    const std::string& other = Any();
    switch (at == input.size() ? 4 : Below(6)) {
      case 0: input[at] = static_cast<char>(Below(256)); break;
      case 1: input[at] = static_cast<char>(input[at] ^ (1 << Below(8))); break;
      case 2: input.erase(at, 1 + Below(4)); break;
      case 3: input.insert(at, input.substr(at, 1 + Below(8))); break;
      case 4: input.insert(at, 1, other.empty() ? '\0' : other[Below(other.size())]); break;
      case 5: input.replace(at, input.npos, other, Below(other.size() + 1), other.npos); break;
    }
  }

  std::vector<std::string> corpus_;
  std::mt19937_64 random_{1};
};

TEST_F(FuzzTarget, HoldsOnItsCorpus) {
  Feed("");
  for (const std::string& input : corpus_) Feed(input);
}

TEST_F(FuzzTarget, HoldsOnWhatIsMadeFromIt) {
  for (int i = 0; i < METE_INPUTS; ++i) {
    std::string input = Any();
    for (std::size_t changes = 1 + Below(4); changes > 0; --changes) Change(input);
    Feed(input);
  }
}

}  // namespace
