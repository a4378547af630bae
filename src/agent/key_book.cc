#include "agent/key_book.h"

namespace mete::agent {

std::optional<KeyBook::Entry> KeyBook::Find(std::string_view key, Time now) {
  Forget(now);
  auto found = entries_.find(std::string(key));
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

void KeyBook::Remember(std::string_view key, Entry entry, Time now) {
  if (!entries_.emplace(key, entry).second) return;
  order_.emplace_back(now, key);
  Forget(now);
}

void KeyBook::Forget(Time now) {
  while (!order_.empty() && (order_.size() > kMostKeys || now - order_.front().first >= kKept)) {
    entries_.erase(order_.front().second);
    order_.pop_front();
  }
}

}  // namespace mete::agent
