#include "agent/key_book.h"

#include "base/quote.h"

namespace mete::agent {

Result<std::string> KeyText(std::string_view field) {
  if (!field.starts_with('"')) return std::string(field);
  std::string key;
  for (std::size_t i = 1; i < field.size(); ++i) {
    char c = field[i];
    // What may follow are parameters, which nobody has given a meaning.
    if (c == '"') {
      if (i + 1 == field.size() || field[i + 1] == ';') return key;
      break;
    }
    if (c == '\\') {
      c = ++i < field.size() ? field[i] : '\0';
      if (c != '"' && c != '\\') break;
    }
    if (c < 0x20 || c > 0x7e) break;
    key += c;
  }
  return Fail(ErrorCode::kInvalidArgument,
              "Idempotency-Key: allowed: a text in double quotes, given: " + Quoted(field));
}

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
