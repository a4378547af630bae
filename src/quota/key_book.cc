#include "quota/key_book.h"

namespace mete {

std::uint64_t ContentOf(std::uint64_t kind, const Amounts& amounts, std::uint64_t more) {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&](std::uint64_t word) {  // FNV-1a over the bytes
    for (int i = 0; i < 64; i += 8) hash = (hash ^ (word >> i & 0xff)) * 0x100000001b3;
  };
  mix(kind);
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    mix(amounts.Has(resource) ? 1 : 0);
    mix(static_cast<std::uint64_t>(amounts.Get(resource)));
  }
  mix(more);
  return hash;
}

Result<void> KeyBook::Check(std::string_view key) {
  if (key.size() <= kLongest) return {};
  return Fail(ErrorCode::kInvalidArgument, "key: too long; allowed: 1 to " +
                                               std::to_string(kLongest) + " bytes, given " +
                                               std::to_string(key.size()));
}

std::optional<KeyBook::Entry> KeyBook::FindOfAnyAge(RecordIndex account,
                                                    std::string_view key) const {
  const std::lock_guard lock(mutex_);
  const auto keys = accounts_.find(account);
  if (keys == accounts_.end()) return std::nullopt;
  const auto found = keys->second.find(key);
  if (found == keys->second.end()) return std::nullopt;
  return found->second.entry;
}

std::optional<KeyBook::Entry> KeyBook::Find(RecordIndex account, std::string_view key,
                                            Time now) const {
  std::optional<Entry> entry = FindOfAnyAge(account, key);
  if (entry && now - entry->time >= kKept) entry.reset();
  return entry;
}

void KeyBook::Remember(RecordIndex account, std::string_view key, const Entry& entry) {
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = accounts_[account].try_emplace(std::string(key));
  found->second = {entry, ++last_};
  if (is_new) ++size_;
  order_.push_back({last_, entry.time, {account, found->first}});
  ForgetOld(entry.time);
}

std::vector<std::string> KeyBook::Forget(RecordIndex account) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> forgotten;
  const auto keys = accounts_.find(account);
  if (keys == accounts_.end()) return forgotten;
  for (auto& [key, kept] : keys->second) forgotten.push_back(key);
  size_ -= forgotten.size();
  accounts_.erase(keys);
  return forgotten;
}

std::vector<KeyBook::Name> KeyBook::TakeForgotten() {
  const std::lock_guard lock(mutex_);
  tells_ = true;
  return std::exchange(forgotten_, {});
}

std::size_t KeyBook::size() const {
  const std::lock_guard lock(mutex_);
  return size_;
}

// Not, where its account is gone, or the key was used again.
bool KeyBook::IsThere(const Place& place) const {
  const auto keys = accounts_.find(place.name.first);
  if (keys == accounts_.end()) return false;
  const auto found = keys->second.find(place.name.second);
  return found != keys->second.end() && found->second.number == place.number;
}

void KeyBook::ForgetOld(Time now) {
  while (!order_.empty()) {
    Place& oldest = order_.front();
    if (IsThere(oldest)) {
      if (size_ <= kKeysKept && now - oldest.time < kKept) break;
      const auto keys = accounts_.find(oldest.name.first);
      keys->second.erase(keys->second.find(oldest.name.second));
      if (keys->second.empty()) accounts_.erase(keys);
      --size_;
      if (tells_) forgotten_.push_back(std::move(oldest.name));
    }
    order_.pop_front();
  }
  // Places of accounts that were removed are dropped once they are most of them.
  if (order_.size() > 2 * kKeysKept) {
    std::erase_if(order_, [this](const Place& place) { return !IsThere(place); });
  }
}

}  // namespace mete
