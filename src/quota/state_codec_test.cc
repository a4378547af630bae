#include "quota/state_codec.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "quota/counting.h"

namespace mete {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

// With the same limits as what was encoded.
void MakeLike(const Record& from, Record& to) {
  for (std::size_t i = 0; i < from.lines.size(); ++i) {
    if (from.lines[i].is_set) AddLine(to, from.lines[i].kind);
  }
  const Rare* const rare = RareIn(from);
  if (rare == nullptr) return;
  for (const Line& line : rare->lines) AddLine(to, line.kind);
  if (rare->rate) StartRate(RareOf(to), rare->rate->limit(), Time());
}

std::string Encode(const Record& record) {
  std::string bytes;
  EncodeState(record, HoldBook(), bytes);
  return bytes;
}

void ExpectSame(const Record& a, const Record& b) {
  EXPECT_EQ(a.total, b.total);
  EXPECT_EQ(a.cpu_base, b.cpu_base);
  EXPECT_EQ(a.tokens_base, b.tokens_base);
  EXPECT_EQ(a.tokens_day_base, b.tokens_day_base);
  EXPECT_EQ(a.peak, b.peak);
  EXPECT_EQ(a.peak_before, b.peak_before);
  EXPECT_EQ(a.main_start, b.main_start);
  EXPECT_EQ(a.day_start, b.day_start);
  EXPECT_EQ(WindowUsage(a), WindowUsage(b));
  EXPECT_EQ(LifetimeUsage(a), LifetimeUsage(b));
}

TEST(StateCodec, NumbersOfEverySizeComeBack) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const auto number = [&] { return static_cast<std::int64_t>(random() >> (1 + random() % 63)); };
    Record record;
    for (std::int64_t& total : record.total) total = i == 0 ? 0 : i == 1 ? kMost : number();
    record.cpu_base = record.total[kCpuCounter] / 2;
    record.tokens_base = record.total[kTokenCounter];
    record.peak = number();
    record.peak_before = i == 2 ? kMost : number();
    record.main_start = Time(Duration(i % 2 == 0 ? -number() : number()));
    record.day_start = i == 3 ? Time::max() : i == 4 ? Time::min() : Time(Duration(number()));
    if (i % 3 == 0) {
      Extra& extra = ExtraOf(record);
      extra.gpu_memory = extra.gpu_peak = number();
      extra.requests = number();
      extra.cost = number();
      extra.cost_base = extra.cost / 3;
    }
    Record back;
    std::vector<StoredSlots> slots;
    ASSERT_TRUE(DecodeState(Encode(record), back, slots));
    ExpectSame(record, back);
  }
}

TEST(StateCodec, WhatPoliciesHaveDoneComesBack) {
  Record record;
  for (const LimitInfo& info : AllLimits()) AddLine(record, info.kind);
  Line& tokens = *FindLine(record, LimitKind::kTokensPerDay);
  tokens.armed = 0x81;
  tokens.warned = tokens.is_cause = true;
  tokens.action = QuotaAction::kTerminate;
  FindLine(record, LimitKind::kMemory)->acted = true;
  FindLine(record, LimitKind::kCpu)->lifted = true;
  Rare& rare = RareOf(record);
  rare.warned_at[IndexOf(LimitKind::kTokensPerDay)] = Time(Duration(77));
  StartRate(rare, 9, Time());
  rare.rate->Report(5, Time(Duration(3)));
  rare.lifted.push_back({12, LimitKind::kGpuMemory});
  record.flags |= Record::kOperatorSuspend | Record::kHasLifted;
  Record back;
  MakeLike(record, back);
  std::vector<StoredSlots> slots;
  ASSERT_TRUE(DecodeState(Encode(record), back, slots));
  EXPECT_EQ(Encode(back), Encode(record));
  const Line& read = *FindLine(back, LimitKind::kTokensPerDay);
  EXPECT_EQ(read.armed, 0x81);
  EXPECT_TRUE(read.warned && read.is_cause && !read.acted && !read.lifted);
  EXPECT_EQ(read.action, QuotaAction::kTerminate);
  EXPECT_EQ(RareIn(back)->warned_at[IndexOf(LimitKind::kTokensPerDay)], Time(Duration(77)));
  EXPECT_EQ(RareIn(back)->rate->Used(Time(Duration(3))), 5);
  EXPECT_EQ(RareIn(back)->lifted.size(), 1u);
  EXPECT_EQ(back.flags & (Record::kOperatorSuspend | Record::kHasLifted),
            Record::kOperatorSuspend | Record::kHasLifted);
  ShiftTimes(back, Duration(10));
  EXPECT_EQ(RareIn(back)->warned_at[IndexOf(LimitKind::kTokensPerDay)], Time(Duration(87)));
}

TEST(StateCodec, AnIdleAgentIsSmall) {
  Record record;
  for (const LimitKind kind : {LimitKind::kCpu, LimitKind::kMemory, LimitKind::kTokensPerHour}) {
    AddLine(record, kind);
  }
  record.main_start = record.day_start = Time(std::chrono::hours(1000));
  EXPECT_LE(Encode(record).size(), 40u);
}

// Cut short anywhere, or with a byte more, it is refused; with other bytes nothing worse happens.
TEST(StateCodec, WhatIsNoStateIsRefused) {
  Record record;
  AddLine(record, LimitKind::kMemory);
  ExtraOf(record).cost = kMost;
  StartRate(RareOf(record), 9, Time());
  const std::string bytes = Encode(record);
  const auto decode = [&](const std::string& text) {
    Record back;
    MakeLike(record, back);
    std::vector<StoredSlots> slots;
    return DecodeState(text, back, slots).has_value();
  };
  EXPECT_TRUE(decode(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode(bytes.substr(0, size)));
  EXPECT_FALSE(decode(bytes + '\0'));
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string other = bytes;
    for (int n = 0; n < 3; ++n) other[random() % other.size()] = static_cast<char>(random());
    decode(other);
  }
}

}  // namespace
}  // namespace mete
