// What a store holds, as lines of text that tests compare and print; and batches to fill it with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "mete/store.h"

namespace mete {

inline std::string TextOf(const TargetName& target) {
  return std::to_string(static_cast<int>(target.scope)) + ":" + target.id;
}

inline std::string TextOf(const Amounts& amounts) {
  std::string text = "[";
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    text += amounts.Has(resource) ? std::to_string(amounts.Get(resource)) + " " : "- ";
  }
  return text + "]";
}

inline std::string TextOf(const StoredQuota& quota) {
  std::string text = "quota " + std::to_string(quota.slot) + " " + TextOf(quota.target);
  text += quota.parent ? " in " + std::to_string(*quota.parent) : " top";
  for (const auto& limit : quota.limits.entries) {
    text += limit ? " " + std::to_string(limit->amount) + "=" + limit->text : " -";
  }
  for (const Policy& policy : quota.policies) {
    text += " " + std::to_string(static_cast<int>(policy.mode)) + "/" +
            std::to_string(static_cast<int>(policy.action));
  }
  return text + " " + std::to_string(quota.window.count());
}

inline std::string TextOf(const StoredHold& hold) {
  std::string text = "hold " + std::to_string(hold.id) + " of " + std::to_string(hold.account);
  text += " " + TextOf(hold.reserved);
  text += hold.ends ? " " + std::to_string(hold.ends->time_since_epoch().count()) : " endless";
  if (hold.is_detached) text += " detached";
  if (hold.is_settled) text += " settled";
  return text + " " + TextOf(hold.used) + TextOf(hold.above_hold);
}

inline std::string TextOf(const StoredKey& key) {
  return "key " + std::to_string(key.account) + " " + key.key + " " + std::to_string(key.content) +
         " " + std::to_string(key.hold) + " " + std::to_string(key.time.time_since_epoch().count());
}

inline std::string TextOf(const ResourceUsage& usage) {
  std::string text = "{";
  for (const std::int64_t number :
       {usage.cpu_ns, usage.memory_bytes, usage.memory_peak_bytes, usage.gpu_memory_bytes,
        usage.gpu_memory_peak_bytes, usage.tokens_consumed, usage.requests, usage.cost_nano}) {
    text += std::to_string(number) + " ";
  }
  return text + "}";
}

inline std::string TextOf(const Event& event) {
  return "event " + std::to_string(event.sequence) + " " + std::string(NameOf(event.kind)) + " " +
         std::to_string(event.time.time_since_epoch().count()) + " " +
         std::to_string(event.wall_time.time_since_epoch().count()) + " " + TextOf(event.target) +
         " " + TextOf(event.account) + " " +
         (event.limit ? std::to_string(static_cast<int>(*event.limit)) : "-") + " " +
         std::to_string(event.percent) + " " + std::to_string(event.used) + " " +
         std::to_string(event.amount) + " " + std::to_string(event.windows) + " " + event.detail +
         " " + TextOf(event.usage);
}

inline std::string TextOf(const StoredMark& mark) {
  return "mark " + std::to_string(mark.batch) + " " +
         std::to_string(mark.time.time_since_epoch().count()) + " " +
         std::to_string(mark.wall_time.time_since_epoch().count()) + " " + mark.boot_id + " " +
         std::to_string(mark.last_event) + " " + std::to_string(mark.last_hold);
}

// Everything that Load hands over, the states by rising slots; or the error, alone.
inline std::vector<std::string> LinesOf(Store& store, std::size_t events = 1'000'000'000) {
  std::vector<std::string> lines, states;
  StoreVisitor visitor;
  visitor.quota = [&](StoredQuota& quota) {
    lines.push_back(TextOf(quota));
    return Result<void>();
  };
  visitor.state = [&](AccountSlot slot, std::string_view bytes) {
    std::string digits = std::to_string(slot);
    digits.insert(0, 10 - digits.size(), '0');
    states.push_back("state " + digits + " " + std::string(bytes));
    return Result<void>();
  };
  visitor.hold = [&](StoredHold& hold) {
    lines.push_back(TextOf(hold));
    return Result<void>();
  };
  visitor.key = [&](StoredKey& key) {
    lines.push_back(TextOf(key));
    return Result<void>();
  };
  visitor.event = [&](Event& event) {
    lines.push_back(TextOf(event));
    return Result<void>();
  };
  const Result<StoredMark> mark = store.Load(visitor, events);
  if (!mark) return {mark.error().ToString()};
  std::ranges::sort(states);
  lines.insert(lines.end(), states.begin(), states.end());
  lines.push_back(TextOf(*mark));
  return lines;
}

// Batches of everything that a batch can hold, one after the other; the same from the same seed.
class RandomBatches {
 public:
  // Slots below `slots`; a state has up to `state_bytes`.
  explicit RandomBatches(std::uint64_t seed, std::uint32_t slots = 70,
                         std::size_t state_bytes = 150)
      : random_(seed), slots_(slots), state_bytes_(state_bytes) {}

  StoreBatch Next() {
    StoreBatch batch;
    batch.mark.batch = ++batch_;
    for (int i = Below(3); i > 0; --i) batch.removed.push_back(Below(slots_));
    for (int i = Below(6); i > 0; --i) batch.quotas.push_back(Quota());
    AddStates(batch.states);
    for (int i = Below(4); i > 0; --i) batch.holds.push_back(Hold());
    for (int i = Below(3); i > 0; --i) batch.ended_holds.push_back(1 + Below(holds_ + 1));
    for (int i = Below(4); i > 0; --i) batch.keys.push_back(Key());
    for (int i = Below(3); i > 0; --i) batch.ended_keys.push_back(Key());
    for (int i = Below(5); i > 0; --i) batch.events.push_back(NextEvent());
    batch.mark.time = Time(Duration(Number()));
    batch.mark.wall_time = WallTime(Duration(Number()));
    batch.mark.boot_id = Text(Below(40));
    batch.mark.last_event = events_;
    batch.mark.last_hold = holds_;
    return batch;
  }

 private:
  std::uint32_t Below(std::uint64_t bound) {
    return static_cast<std::uint32_t>(random_() % std::max<std::uint64_t>(bound, 1));
  }

  // Often one of the edges.
  std::int64_t Number() {
    constexpr std::int64_t kEdges[] = {0,
                                       1,
                                       -1,
                                       127,
                                       128,
                                       1'000'000,
                                       kUnlimited - 1,
                                       kUnlimited,
                                       std::numeric_limits<std::int64_t>::min()};
    return Below(2) == 0 ? kEdges[Below(std::size(kEdges))] : static_cast<std::int64_t>(random_());
  }

  // Any bytes but NUL.
  std::string Text(std::size_t length) {
    std::string text(length, ' ');
    for (char& byte : text) byte = static_cast<char>(1 + Below(255));
    return text;
  }

  TargetName Target() { return {static_cast<QuotaScope>(Below(3)), Text(1 + Below(30))}; }

  StoredQuota Quota() {
    StoredQuota quota;
    quota.slot = Below(slots_);
    if (Below(2) == 0) quota.parent = Below(slots_);
    quota.target = Target();
    constexpr const char* kTexts[] = {"0", "1", "500m", "2Gi", "1e3", "20000", "1.5"};
    for (std::size_t i = 0; i < kLimitKindCount; ++i) {
      if (Below(2) == 0) continue;
      quota.limits.entries[i] = Limit();
      const auto limit = ParseLimit(static_cast<LimitKind>(i), kTexts[Below(std::size(kTexts))]);
      if (Below(4) == 0)
        quota.limits.entries[i]->amount = Below(1000);  // one without a text
      else if (limit && Below(4) != 0)
        quota.limits.entries[i] = *limit;
    }
    for (Policy& policy : quota.policies) {
      policy = {static_cast<EnforcementMode>(Below(3)), static_cast<QuotaAction>(Below(4))};
    }
    quota.window = Duration(Number());
    return quota;
  }

  void AddStates(StoredStates& states) {
    const std::uint32_t first = Below(slots_), count = Below(40);
    std::vector<AccountSlot> slots;
    for (std::uint32_t i = 0; i < count; ++i) slots.push_back((first + i) % slots_);
    std::ranges::sort(slots);
    slots.erase(std::ranges::unique(slots).begin(), slots.end());
    std::ranges::shuffle(slots, random_);
    for (const AccountSlot slot : slots) {
      const std::string state = Text(Below(state_bytes_ + 1));
      states.sizes.push_back({slot, static_cast<std::uint32_t>(state.size())});
      states.bytes += state;
    }
  }

  Amounts SomeAmounts() {
    Amounts amounts;
    for (std::size_t i = 0; i < kResourceCount; ++i) {
      if (Below(3) == 0) amounts.Set(static_cast<Resource>(i), Number());
    }
    return amounts;
  }

  StoredHold Hold() {
    StoredHold hold;
    hold.id = Below(2) == 0 ? 1 + Below(holds_ + 1) : ++holds_;
    holds_ = std::max(holds_, hold.id);
    hold.account = Below(slots_);
    hold.reserved = SomeAmounts();
    if (Below(2) == 0) hold.ends = Time(Duration(Number()));
    hold.is_detached = Below(2) == 0;
    hold.is_settled = Below(2) == 0;
    if (hold.is_settled) hold.used = SomeAmounts(), hold.above_hold = SomeAmounts();
    return hold;
  }

  StoredKey Key() {
    StoredKey key;
    key.account = Below(slots_);
    key.key = "key " + std::to_string(Below(20));
    key.content = random_();
    key.hold = Below(2) == 0 ? 0 : random_();
    key.time = Time(Duration(++key_time_));  // no two alike, so that their order is one
    return key;
  }

  Event NextEvent() {
    Event event;
    event.sequence = events_ += 1 + Below(3);
    event.kind = static_cast<EventKind>(Below(17));
    event.time = Time(Duration(Number()));
    event.wall_time = WallTime(Duration(Number()));
    event.target = Target();
    event.account = Below(2) == 0 ? event.target : Target();
    if (Below(2) == 0) event.limit = static_cast<LimitKind>(Below(kLimitKindCount));
    event.percent = static_cast<int>(Below(101));
    event.used = Number();
    event.amount = Number();
    event.windows = Number();
    event.detail = Text(Below(100));
    if (Below(3) == 0) {
      event.usage = {Number(), Number(), Number(), Number(),
                     Number(), Number(), Number(), Number()};
    }
    return event;
  }

  std::mt19937_64 random_;
  std::uint32_t slots_;
  std::size_t state_bytes_;
  std::uint64_t batch_ = 0, holds_ = 0, events_ = 0;
  std::int64_t key_time_ = 0;
};

}  // namespace mete
