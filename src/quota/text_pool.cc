#include "quota/text_pool.h"

#include <memory>

namespace mete {

std::uint32_t TextPool::Take(std::string_view text) {
  if (text.empty()) return 0;
  const std::lock_guard lock(mutex_);
  if (const auto found = numbers_.find(text); found != numbers_.end()) {
    ++entries_[found->second - 1]->uses;
    return found->second;
  }
  if (free_.empty()) {
    entries_.push_back(nullptr);
    free_.push_back(static_cast<std::uint32_t>(entries_.size()));
  }
  const std::uint32_t number = free_.back();
  auto entry = std::make_unique<Entry>(Entry{std::string(text), 1});
  numbers_.emplace(entry->text, number);
  entries_[number - 1] = std::move(entry);
  free_.pop_back();
  return number;
}

void TextPool::Release(std::uint32_t number) {
  if (number == 0) return;
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Entry>& entry = entries_[number - 1];
  if (--entry->uses > 0) return;
  numbers_.erase(entry->text);
  entry.reset();
  free_.push_back(number);
}

std::string TextPool::TextOf(std::uint32_t number) const {
  if (number == 0) return {};
  const std::lock_guard lock(mutex_);
  return entries_[number - 1]->text;
}

}  // namespace mete
