#include "agent/record.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

AgentRecord FullRecord() {
  AgentRecord record;
  record.id = "bot 7%\n";
  record.group = "t-acme/s-42/a-bot.7";
  record.group_id = 291;
  record.boot = "3f7e";
  record.pid_space = 4026531836;
  record.owner = {4711, 1234567};
  record.leader = {4712, 1234569};
  record.phase = Phase::kSuspended;
  record.orphan = OrphanPolicy::kThaw;
  record.lease_end = Time(std::chrono::seconds(77));
  record.kernel = {.cpu_nanocores = 500'000'000,
                   .memory_max = 1 << 26,
                   .memory_line = 1 << 25,
                   .swap_max = 0,
                   .pids_max = 64,
                   .die_together = false};
  record.cpu_rate = 250'000'000;
  record.limits[static_cast<std::size_t>(LimitKind::kCpu)] = "500m";
  record.limits[static_cast<std::size_t>(LimitKind::kTokensPerHour)] = "1k";
  record.causes = {{{QuotaScope::kAgent, "bot 7%\n"}, LimitKind::kTokensPerHour},
                   {{QuotaScope::kTenant, "acme inc"}, std::nullopt, QuotaAction::kTerminate}};
  record.counters.cpu_ns = 1'250'000'000;
  record.counters.memory_peak_bytes = 14 << 20;
  record.counters.tokens_consumed = 1300;
  record.counters.cost_nano = -1;
  record.sequence = 9;
  return record;
}

TEST(Record, ReadsWhatItWrote) {
  const AgentRecord record = FullRecord();
  const Result<AgentRecord> read = DecodeRecord(EncodeRecord(record));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(*read, record);
}

TEST(Record, OfAnAgentWithoutAnythingIsReadToo) {
  AgentRecord record;
  record.id = record.group = "a";
  const Result<AgentRecord> read = DecodeRecord(EncodeRecord(record));
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, record);
}

TEST(Record, WhatFollowsItIsNotLookedAt) {
  EXPECT_TRUE(DecodeRecord(EncodeRecord(FullRecord()) + std::string(100, '\0')));
}

TEST(Record, CutAnywhereIsNone) {
  const std::string text = EncodeRecord(FullRecord());
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(DecodeRecord(std::string_view(text).substr(0, length))) << length;
  }
}

TEST(Record, WithAnyByteChangedIsNoneOrSaysNothingElse) {
  const AgentRecord record = FullRecord();
  const std::string text = EncodeRecord(record);
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    const Result<AgentRecord> read = DecodeRecord(changed);
    if (!read) continue;
    // The number of the writing stands before what the checksum is of.
    AgentRecord same = *read;
    same.sequence = record.sequence;
    EXPECT_EQ(same, record) << at;
  }
}

TEST(Record, OfAnotherVersionIsRefusedByIt) {
  std::string text = EncodeRecord(FullRecord());
  text.replace(text.find(' ') + 1, 1, "2");
  const Result<AgentRecord> read = DecodeRecord(text);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().message.find("allowed 1, given 2"), std::string::npos)
      << read.error().message;
}

TEST(Record, KeepsAnEndOfCauses) {
  AgentRecord record = FullRecord();
  record.causes.resize(1000, record.causes[0]);
  const Result<AgentRecord> read = DecodeRecord(EncodeRecord(record));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->causes.size(), 16u);
}

TEST(Record, FitsALabel) {
  AgentRecord record = FullRecord();
  record.id = std::string(255, 'i');
  record.group = std::string(770, 'g');
  for (std::string& limit : record.limits) limit = "12345678901234567890Ki";
  record.causes = {16, {{QuotaScope::kSession, std::string(64, 's')}, LimitKind::kMemory}};
  EXPECT_LE(EncodeRecord(record).size(), kMaxLabelBytes);
}

TEST(Record, NamesEveryPhaseAndPolicy) {
  for (Phase phase : {Phase::kStarting, Phase::kRunning, Phase::kSuspended, Phase::kEnding}) {
    for (OrphanPolicy policy : {OrphanPolicy::kEnd, OrphanPolicy::kThaw}) {
      AgentRecord record = FullRecord();
      record.phase = phase;
      record.orphan = policy;
      EXPECT_EQ(*DecodeRecord(EncodeRecord(record)), record);
    }
  }
}

}  // namespace
}  // namespace mete::agent
