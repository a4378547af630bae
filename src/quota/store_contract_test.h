// What every Store must do, as one suite of tests. A test program includes this once and
// instantiates StoreContractTest with the worlds that its stores live in.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "mete/store.h"
#include "quota/store_lines_test.h"

namespace mete {

// Where the content of a store is while none is open.
class StoreWorld {
 public:
  virtual ~StoreWorld() = default;
  virtual std::unique_ptr<Store> Open() = 0;  // not loaded; none is open
};

struct StoreCase {
  const char* name;
  std::function<std::unique_ptr<StoreWorld>()> make;
};
inline void PrintTo(const StoreCase& tested, std::ostream* out) { *out << tested.name; }

class StoreContractTest : public testing::TestWithParam<StoreCase> {
 protected:
  StoreContractTest() : world_(GetParam().make()) { Restart(); }

  void Restart() {
    store_ = nullptr;
    store_ = world_->Open();
  }
  std::vector<std::string> Lines() { return LinesOf(*store_); }
  // Of a new one on the same content: what was written, not what was remembered.
  std::vector<std::string> StoredLines() {
    Restart();
    return Lines();
  }
  void Write(const StoreBatch& batch) {
    const Result<void> written = store_->Write(batch);
    ASSERT_TRUE(written) << written.error().ToString();
  }
  static StoreBatch Numbered(std::uint64_t number) {
    StoreBatch batch;
    batch.mark.batch = number;
    return batch;
  }
  static std::string MarkOf(std::uint64_t number) { return TextOf(Numbered(number).mark); }
  static void AddState(StoreBatch& batch, AccountSlot slot, std::string_view state) {
    batch.states.sizes.push_back({slot, static_cast<std::uint32_t>(state.size())});
    batch.states.bytes += state;
  }
  static StoredQuota Quota(AccountSlot slot, std::string id) {
    StoredQuota quota;
    quota.slot = slot;
    quota.target.id = std::move(id);
    return quota;
  }

  const std::unique_ptr<StoreWorld> world_;
  std::unique_ptr<Store> store_;
};

using StoreLines = std::vector<std::string>;

TEST_P(StoreContractTest, ANewOneIsEmptyAndSaysSo) {
  EXPECT_EQ(Lines(), StoreLines{MarkOf(0)});
  EXPECT_EQ(StoredLines(), StoreLines{MarkOf(0)});
  EXPECT_FALSE(store_->name().empty());
}

TEST_P(StoreContractTest, AnEmptyBatchMovesTheMark) {
  Lines();
  Write(Numbered(1));
  Write(Numbered(2));
  EXPECT_EQ(StoredLines(), StoreLines{MarkOf(2)});
}

TEST_P(StoreContractTest, LimitsComeBackAsEntered) {
  Lines();
  StoreBatch batch = Numbered(1);
  StoredQuota quota = Quota(3, "a");
  quota.limits[LimitKind::kMemory] = *ParseLimit(LimitKind::kMemory, "1.5Gi");
  quota.limits[LimitKind::kTokensPerHour] = Limit();      // unlimited, and said so
  quota.limits[LimitKind::kTokensPerDay] = Limit{7, {}};  // by a number
  quota.limits[LimitKind::kCpu] = *ParseLimit(LimitKind::kCpu, "0");
  quota.policies[0] = {EnforcementMode::kWarnOnly, QuotaAction::kTerminate};
  quota.policies[5] = {EnforcementMode::kSoftThenHard, QuotaAction::kThrottle};
  batch.quotas = {quota};
  Write(batch);
  EXPECT_EQ(StoredLines(), (StoreLines{TextOf(quota), MarkOf(1)}));
}

TEST_P(StoreContractTest, NamesOfAnyBytesComeBack) {
  Lines();
  StoreBatch batch = Numbered(1);
  std::string id = "'; DROP TABLE quotas; --\x01\x7f\xff\xc3\x28 \u00fc";
  batch.quotas = {Quota(0, id), Quota(1, ""), Quota(2, std::string(5000, 'x'))};
  Write(batch);
  EXPECT_EQ(StoredLines(), (StoreLines{TextOf(batch.quotas[0]), TextOf(batch.quotas[1]),
                                       TextOf(batch.quotas[2]), MarkOf(1)}));
}

TEST_P(StoreContractTest, QuotasComeByRisingSlotsUpToTheLast) {
  Lines();
  StoreBatch batch = Numbered(1);
  for (const AccountSlot slot : {std::numeric_limits<AccountSlot>::max(), 16U, 0U, 15U}) {
    batch.quotas.push_back(Quota(slot, "a" + std::to_string(slot)));
    batch.quotas.back().parent = slot;
    AddState(batch, slot, "s" + std::to_string(slot));
  }
  Write(batch);
  EXPECT_EQ(StoredLines(),
            (StoreLines{TextOf(batch.quotas[2]), TextOf(batch.quotas[3]), TextOf(batch.quotas[1]),
                        TextOf(batch.quotas[0]), "state 0000000000 s0", "state 0000000015 s15",
                        "state 0000000016 s16", "state 4294967295 s4294967295", MarkOf(1)}));
}

TEST_P(StoreContractTest, AStateReplacesThatOfItsSlotAndNoOther) {
  Lines();
  StoreBatch batch = Numbered(1);
  for (const AccountSlot slot : {17U, 0U, 16U, 1U, 31U}) AddState(batch, slot, "first");
  Write(batch);
  batch = Numbered(2);
  AddState(batch, 16, "a longer second one");
  AddState(batch, 1, "");
  Write(batch);
  const StoreLines expected = {
      "state 0000000000 first", "state 0000000001 ",      "state 0000000016 a longer second one",
      "state 0000000017 first", "state 0000000031 first", MarkOf(2)};
  EXPECT_EQ(Lines(), expected);
  EXPECT_EQ(StoredLines(), expected);
}

TEST_P(StoreContractTest, ALargeStateComesBack) {
  Lines();
  StoreBatch batch = Numbered(1);
  std::string large(300'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * i >> 3);
  AddState(batch, 5, "small");
  AddState(batch, 6, large);
  Write(batch);
  EXPECT_EQ(StoredLines(),
            (StoreLines{"state 0000000005 small", "state 0000000006 " + large, MarkOf(1)}));
}

TEST_P(StoreContractTest, ARemovedAccountGoesWithItsState) {
  Lines();
  StoreBatch batch = Numbered(1);
  batch.quotas = {Quota(1, "a"), Quota(2, "b")};
  AddState(batch, 1, "of a");
  AddState(batch, 2, "of b");
  Write(batch);
  batch = Numbered(2);
  batch.removed = {1, 9, 4'000'000'000};  // the others are not there
  Write(batch);
  EXPECT_EQ(StoredLines(), (StoreLines{TextOf(Quota(2, "b")), "state 0000000002 of b", MarkOf(2)}));
}

TEST_P(StoreContractTest, ASlotIsGivenAwayInTheBatchThatFreesIt) {
  Lines();
  StoreBatch batch = Numbered(1);
  batch.quotas = {Quota(1, "old"), Quota(2, "stays")};
  AddState(batch, 1, "of old");
  AddState(batch, 2, "stays");
  Write(batch);
  batch = Numbered(2);
  batch.removed = {1};
  batch.quotas = {Quota(1, "new")};
  AddState(batch, 1, "of new");
  Write(batch);
  EXPECT_EQ(StoredLines(),
            (StoreLines{TextOf(Quota(1, "new")), TextOf(Quota(2, "stays")),
                        "state 0000000001 of new", "state 0000000002 stays", MarkOf(2)}));
}

TEST_P(StoreContractTest, HoldsComeByRisingIdsUntilTheyEnd) {
  Lines();
  StoreBatch batch = Numbered(1);
  StoredHold first, second, third;
  first.id = 1, second.id = 2;
  third.id = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  first.reserved.Set(Resource::kTokens, 0).Set(Resource::kCost, kUnlimited);
  first.ends = Time(Duration(-5));
  second.is_detached = true;
  batch.holds = {third, first, second};
  Write(batch);
  batch = Numbered(2);
  first.is_settled = true;
  first.used.Set(Resource::kTokens, 12);
  first.above_hold.Set(Resource::kTokens, 12);
  batch.holds = {first};
  batch.ended_holds = {2, 77};
  Write(batch);
  EXPECT_EQ(StoredLines(), (StoreLines{TextOf(first), TextOf(third), MarkOf(2)}));
}

TEST_P(StoreContractTest, KeysComeByRisingTimesUntilTheyEnd) {
  Lines();
  StoreBatch batch = Numbered(1);
  const auto key = [](AccountSlot account, std::string text, int time) {
    StoredKey made;
    made.account = account, made.key = std::move(text), made.time = Time(Duration(time));
    made.content = std::numeric_limits<std::uint64_t>::max() - static_cast<std::uint64_t>(time);
    made.hold = made.content / 2;
    return made;
  };
  batch.keys = {key(1, "x", 30), key(2, "x", 10), key(1, "y", 20), key(3, "", -4)};
  Write(batch);
  batch = Numbered(2);
  batch.ended_keys = {key(1, "y", 0), key(2, "y", 0), key(9, "x", 0)};
  Write(batch);
  EXPECT_EQ(StoredLines(), (StoreLines{TextOf(key(3, "", -4)), TextOf(key(2, "x", 10)),
                                       TextOf(key(1, "x", 30)), MarkOf(2)}));
}

TEST_P(StoreContractTest, TheLastEventsComeInOrder) {
  Lines();
  std::vector<std::string> texts;
  for (std::uint64_t number = 1; number <= 5; ++number) {
    StoreBatch batch = Numbered(number);
    Event event;
    event.sequence = number * 10;
    event.detail = "of batch " + std::to_string(number);
    batch.events.push_back(event);
    event.sequence += 3;
    event.limit = LimitKind::kCostPerDay;
    event.usage.tokens_consumed = 7;
    batch.events.push_back(event);
    Write(batch);
    for (const Event& written : batch.events) texts.push_back(TextOf(written));
  }
  StoreLines all = texts;
  all.push_back(MarkOf(5));
  EXPECT_EQ(StoredLines(), all);
  EXPECT_EQ(LinesOf(*store_, 11), all);
  EXPECT_EQ(LinesOf(*store_, 10), all);
  EXPECT_EQ(LinesOf(*store_, 9), StoreLines(all.begin() + 1, all.end()));
  EXPECT_EQ(LinesOf(*store_, 1), (StoreLines{texts.back(), MarkOf(5)}));
  EXPECT_EQ(LinesOf(*store_, 0), StoreLines{MarkOf(5)});
}

// It is not known whether a batch that failed is there; what comes then has all of it, and more.
TEST_P(StoreContractTest, ABatchMayComeAgainWithLaterContent) {
  Lines();
  StoreBatch batch = Numbered(1);
  batch.quotas = {Quota(1, "old")};
  Write(batch);
  batch = Numbered(2);
  batch.removed = {1};
  batch.quotas = {Quota(1, "new")};
  AddState(batch, 1, "first");
  Event event;
  event.sequence = 1;
  batch.events = {event};
  StoredHold hold;
  hold.id = 4;
  batch.holds = {hold};
  Write(batch);
  batch.states = {};
  AddState(batch, 1, "second");
  batch.holds = {};
  batch.ended_holds = {4};
  event.sequence = 2;
  batch.events.push_back(event);
  Write(batch);
  const StoreLines expected = {TextOf(Quota(1, "new")), TextOf(batch.events[0]),
                               TextOf(batch.events[1]), "state 0000000001 second", MarkOf(2)};
  EXPECT_EQ(StoredLines(), expected);
}

TEST_P(StoreContractTest, AVisitorsErrorEndsTheLoading) {
  Lines();
  StoreBatch batch = Numbered(1);
  batch.quotas = {Quota(1, "a"), Quota(2, "b")};
  Write(batch);
  StoreVisitor visitor;
  int seen = 0;
  visitor.quota = [&](StoredQuota&) -> Result<void> {
    ++seen;
    return Fail(ErrorCode::kAlreadyExists, "twice");
  };
  const Result<StoredMark> mark = store_->Load(visitor, 1);
  ASSERT_FALSE(mark);
  EXPECT_EQ(mark.error().ToString(), "E2076: twice");
  EXPECT_EQ(seen, 1);
  EXPECT_TRUE(store_->Load(StoreVisitor(), 1));  // who asks for nothing is given nothing
}

// Against the plain one in memory, with restarts between.
TEST_P(StoreContractTest, RandomBatchesAddUpToTheSame) {
  constexpr int kBatches = 400;
  constexpr std::uint64_t kSeed = 4;
  RandomBatches batches(kSeed);
  const std::unique_ptr<Store> reference = NewMemoryStore();
  LinesOf(*reference);
  Lines();
  for (int i = 0; i < kBatches; ++i) {
    const StoreBatch batch = batches.Next();
    Write(batch);
    ASSERT_TRUE(reference->Write(batch));
    if (i % 10 != 3) continue;
    if (i % 20 == 13) Restart();
    ASSERT_EQ(Lines(), LinesOf(*reference)) << "batch " << i;
  }
  EXPECT_EQ(StoredLines(), LinesOf(*reference));
}

}  // namespace mete
