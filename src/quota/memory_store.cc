#include "quota/memory_store.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace mete {
namespace {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::shared_ptr<MemoryStoreContent> content)
      : content_(std::move(content)) {}

  Result<StoredMark> Load(const StoreVisitor& visitor, std::size_t events) override;
  Result<void> Write(const StoreBatch& batch) override;
  const std::string& name() const override { return name_; }

 private:
  void WriteAccounts(const StoreBatch& batch);
  void WriteEvents(const StoreBatch& batch);

  const std::shared_ptr<MemoryStoreContent> content_;
  const std::string name_ = "memory";
  bool is_loaded_ = false;
};

// A copy each, since the visitor may move from what it is given.
template <class Items, class Visit>
Result<void> VisitAll(const Items& items, const Visit& visit) {
  if (!visit) return {};
  for (const auto& [name, item] : items) {
    auto copy = item;
    if (Result<void> done = visit(copy); !done) return done;
  }
  return {};
}

Result<StoredMark> MemoryStore::Load(const StoreVisitor& visitor, std::size_t events) {
  const MemoryStoreContent& content = *content_;
  if (Result<void> done = VisitAll(content.quotas, visitor.quota); !done) {
    return std::unexpected(done.error());
  }
  for (const auto& [slot, state] : content.states) {
    if (!visitor.state) break;
    if (Result<void> done = visitor.state(slot, state); !done) {
      return std::unexpected(done.error());
    }
  }
  if (Result<void> done = VisitAll(content.holds, visitor.hold); !done) {
    return std::unexpected(done.error());
  }
  std::multimap<Time, StoredKey> keys;
  for (const auto& [name, key] : content.keys) keys.emplace(key.time, key);
  if (Result<void> done = VisitAll(keys, visitor.key); !done) {
    return std::unexpected(done.error());
  }
  const std::size_t first = content.events.size() - std::min(events, content.events.size());
  for (std::size_t i = first; visitor.event && i < content.events.size(); ++i) {
    Event event = content.events[i];
    if (Result<void> done = visitor.event(event); !done) return std::unexpected(done.error());
  }
  is_loaded_ = true;
  return content.mark;
}

Result<void> MemoryStore::Write(const StoreBatch& batch) {
  METE_CHECK(is_loaded_);
  // The last one may come again: who stands between the writer and this store may have failed.
  METE_CHECK(batch.mark.batch >= 1);
  METE_CHECK(batch.mark.batch - content_->mark.batch <= 1);
  WriteAccounts(batch);
  for (const StoredHold& hold : batch.holds) content_->holds[hold.id] = hold;
  for (const std::uint64_t id : batch.ended_holds) content_->holds.erase(id);
  for (const StoredKey& key : batch.keys) content_->keys[{key.account, key.key}] = key;
  for (const StoredKey& key : batch.ended_keys) content_->keys.erase({key.account, key.key});
  WriteEvents(batch);
  content_->mark = batch.mark;
  return {};
}

void MemoryStore::WriteAccounts(const StoreBatch& batch) {
  for (const AccountSlot slot : batch.removed) {
    content_->quotas.erase(slot);
    content_->states.erase(slot);
  }
  for (const StoredQuota& quota : batch.quotas) content_->quotas[quota.slot] = quota;
  std::string_view bytes = batch.states.bytes;
  for (const StoredStates::Size& size : batch.states.sizes) {
    METE_CHECK(size.bytes <= bytes.size());
    content_->states[size.slot] = bytes.substr(0, size.bytes);
    bytes.remove_prefix(size.bytes);
  }
}

void MemoryStore::WriteEvents(const StoreBatch& batch) {
  for (const Event& event : batch.events) {
    if (!content_->events.empty() && event.sequence <= content_->events.back().sequence) continue;
    content_->events.push_back(event);
  }
  while (content_->events.size() > MemoryStoreContent::kEventsKept) content_->events.pop_front();
}

}  // namespace

std::unique_ptr<Store> NewMemoryStore(std::shared_ptr<MemoryStoreContent> kept) {
  if (kept == nullptr) kept = NewMemoryStoreContent();
  return std::make_unique<MemoryStore>(std::move(kept));
}

std::shared_ptr<MemoryStoreContent> NewMemoryStoreContent() {
  return std::make_shared<MemoryStoreContent>();
}

}  // namespace mete
