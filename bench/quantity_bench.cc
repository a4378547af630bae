// Reading a quantity and keeping its text, beside what strtod takes for the number alone.
//
//   quantity_parse/mete    Quantity::Parse of what stands in manifests and on command lines
//   quantity_parse/strtod  strtod of the same texts without their suffix
//
// Time is per text. Both read the same texts in the same order, which is shuffled: a short list in
// a loop would be learnt by the branch predictor, and flatter whoever branches more.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "mete/units.h"

namespace mete::bench {
namespace {

constexpr std::string_view kTypical[] = {"500m", "2Gi",   "1500m",  "4G",
                                         "0.25", "1.5Gi", "100000", "250M"};
constexpr std::size_t kTexts = 4096;

// Each typical text equally often.
std::vector<std::string> Texts() {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < kTexts; ++i) texts.emplace_back(kTypical[i % std::size(kTypical)]);
  std::uint32_t random = 2463534242u;
  for (std::size_t i = kTexts; i > 1; --i) {
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    std::swap(texts[i - 1], texts[random % i]);
  }
  return texts;
}

void Mete(benchmark::State& state) {
  const std::vector<std::string> texts = Texts();
  std::size_t i = 0;
  for (auto _ : state) {
    auto quantity = Quantity::Parse(texts[i]);
    benchmark::DoNotOptimize(quantity);
    i = (i + 1) % kTexts;
  }
}

void Strtod(benchmark::State& state) {
  std::vector<std::string> numbers = Texts();
  for (std::string& text : numbers) text.resize(text.find_last_of("0123456789") + 1);
  std::size_t i = 0;
  for (auto _ : state) {
    double number = std::strtod(numbers[i].c_str(), nullptr);
    benchmark::DoNotOptimize(number);
    i = (i + 1) % kTexts;
  }
}

BENCHMARK(Mete)->Name("quantity_parse/mete");
BENCHMARK(Strtod)->Name("quantity_parse/strtod");

}  // namespace
}  // namespace mete::bench
