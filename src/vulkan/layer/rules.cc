#include "vulkan/layer/rules.h"

#include <algorithm>
#include <string>

#include "mete/units.h"

namespace mete::layer {
namespace {

// Up to two quantities, separated by a comma.
Result<std::uint32_t> ParseAmounts(std::string_view text, std::array<std::int64_t, 2>& amounts) {
  for (std::uint32_t count = 0; count < amounts.size(); ++count) {
    const std::size_t comma = text.find(',');
    auto amount = ParseLimitAmount(text.substr(0, comma), AmountScale::kWhole);
    if (!amount) return std::unexpected(std::move(amount.error()));
    amounts[count] = *amount;
    if (comma == std::string_view::npos) return count + 1;
    text.remove_prefix(comma + 1);
  }
  return Fail(ErrorCode::kInvalidArgument, "at most two amounts: \"" + std::string(text) + "\"");
}

Result<void> ParseRule(std::string_view name, std::string_view value, Rules& rules) {
  std::array<std::int64_t, 2> amounts{};
  const auto count = ParseAmounts(value, amounts);
  if (!count) return std::unexpected(count.error());
  if (name == "heaps") {
    rules.heap_count = *count;
    rules.heap_bytes = amounts;
  } else if (name == "budget") {
    rules.budget_count = *count;
    rules.budget_bytes = amounts;
  } else if (name == "blocks") {
    rules.max_blocks = amounts[0];
  } else if (name == "fail") {
    rules.fail_at = amounts[0];
  } else if (name == "hide_budget") {
    rules.hide_budget = amounts[0] != 0;
  } else if (name == "lost") {
    rules.lost = amounts[0] != 0;
  } else {
    return Fail(ErrorCode::kInvalidArgument,
                "allowed are heaps, budget, blocks, fail, hide_budget and lost");
  }
  return {};
}

}  // namespace

Result<Rules> ParseRules(std::string_view text) {
  Rules rules;
  while (!text.empty()) {
    const std::size_t end = text.find(';');
    const std::string_view rule = text.substr(0, end);
    const std::size_t equals = std::min(rule.find('='), rule.size());
    const auto parsed =
        ParseRule(rule.substr(0, equals), rule.substr(std::min(equals + 1, rule.size())), rules);
    if (!parsed) {
      return Fail(parsed.error().code,
                  "rules of the layer: " + parsed.error().message + ": in " + std::string(rule));
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return rules;
}

void Count::SetRules(const Rules& rules) {
  const std::lock_guard lock(mutex_);
  rules_ = rules;
  tried_ = 0;
  for (HeapCount& heap : heaps_) heap.peak_bytes = heap.bytes;
}

Rules Count::rules() const {
  const std::lock_guard lock(mutex_);
  return rules_;
}

Verdict Count::TryTake(std::uint32_t heap, std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (++tried_ == rules_.fail_at) return Verdict::kInjected;
  HeapCount& count = heaps_[heap];
  if (heap < rules_.heap_count && bytes > rules_.heap_bytes[heap] - count.bytes) {
    return Verdict::kHeapFull;
  }
  if (rules_.max_blocks != 0 && live_ >= rules_.max_blocks) return Verdict::kTooManyBlocks;
  ++live_;
  ++count.blocks;
  count.bytes += bytes;
  count.peak_bytes = std::max(count.peak_bytes, count.bytes);
  return Verdict::kGranted;
}

void Count::Return(std::uint32_t heap, std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  --live_;
  --heaps_[heap].blocks;
  heaps_[heap].bytes -= bytes;
}

HeapCount Count::heap(std::uint32_t index) const {
  const std::lock_guard lock(mutex_);
  return heaps_[index];
}

std::int64_t Count::tried() const {
  const std::lock_guard lock(mutex_);
  return tried_;
}

}  // namespace mete::layer
