#include "quota/event_log.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

Event Numbered(std::int64_t amount) {
  Event event;
  event.amount = amount;
  return event;
}

TEST(EventLog, Rule09AReaderSeesEveryEventInOrderFromWhereItBegan) {
  EventLog log(100);
  std::uint64_t next = 1;
  EXPECT_TRUE(log.Take(next, 10).events.empty());
  for (int i = 1; i <= 5; ++i) log.Append(Numbered(i));
  EXPECT_EQ(log.last(), 5u);
  EventReader::Batch batch = log.Take(next, 3);
  ASSERT_EQ(batch.events.size(), 3u);
  EXPECT_EQ(batch.missed, 0u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(batch.events[static_cast<std::size_t>(i)].sequence,
              static_cast<std::uint64_t>(i + 1));
    EXPECT_EQ(batch.events[static_cast<std::size_t>(i)].amount, i + 1);
  }
  EXPECT_TRUE(log.Take(next, 0).events.empty());
  EXPECT_EQ(log.Take(next, 10).events.size(), 2u);
  EXPECT_TRUE(log.Take(next, 10).events.empty());
  std::uint64_t later = 9;  // an event that is still to come
  EXPECT_TRUE(log.Take(later, 10).events.empty());
  for (int i = 6; i <= 9; ++i) log.Append(Numbered(i));
  ASSERT_EQ(log.Take(later, 10).events.size(), 1u);
}

TEST(EventLog, Rule09ASlowReaderIsToldWhatItMissedAndGoesOn) {
  for (const std::size_t kept : {1u, 2u, 3u, 10u}) {
    EventLog log(kept);
    std::uint64_t next = 1;
    for (int i = 1; i <= 10; ++i) log.Append(Numbered(i));
    const EventReader::Batch batch = log.Take(next, 100);
    EXPECT_EQ(batch.missed, 10 - kept);
    ASSERT_EQ(batch.events.size(), kept);
    EXPECT_EQ(batch.events.front().sequence, 11 - kept);
    EXPECT_EQ(batch.events.back().amount, 10);
    log.Append(Numbered(11));
    EXPECT_EQ(log.Take(next, 100).missed, 0u);
  }
}

TEST(EventLog, AnEventComesBackAsItWas) {
  Event full;
  full.kind = EventKind::kWindowRolled;
  full.time = Time(hours(3));
  full.wall_time = WallTime(hours(4));
  full.target = {QuotaScope::kAgent, "an agent whose name is longer than a short one"};
  full.account = {QuotaScope::kTenant, "t"};
  full.limit = LimitKind::kCostPerDay;
  full.percent = 100;
  full.used = INT64_MAX;
  full.amount = INT64_MIN;
  full.windows = 1'000'000'000'000;
  full.detail = "why";
  full.usage.requests = 7;
  Event empty;
  empty.account = empty.target = {QuotaScope::kSession, "s"};
  EventLog log(10);
  log.Append(full);
  log.Append(empty);
  std::uint64_t next = 1;
  const std::vector<Event> back = log.Take(next, 10).events;
  ASSERT_EQ(back.size(), 2u);
  const auto same = [](const Event& a, const Event& b) {
    return a.kind == b.kind && a.time == b.time && a.wall_time == b.wall_time &&
           a.target == b.target && a.account == b.account && a.limit == b.limit &&
           a.percent == b.percent && a.used == b.used && a.amount == b.amount &&
           a.windows == b.windows && a.detail == b.detail && a.usage == b.usage;
  };
  EXPECT_TRUE(same(back[0], full));
  EXPECT_TRUE(same(back[1], empty));
}

TEST(EventLog, WaitingEndsWithAnEventTheTimeOrTheEnd) {
  World world;
  EventReader reader = world->Events();
  EXPECT_FALSE(reader.Wait(Duration(0)));
  EXPECT_FALSE(reader.Wait(milliseconds(1)));
  ASSERT_TRUE(world->CreateQuota("a"));
  EXPECT_TRUE(reader.Wait(Duration(0)));
  reader.Take();
  {
    std::jthread creates([&] { (void)world->CreateQuota("b"); });
    EXPECT_TRUE(reader.Wait(seconds(20)));
  }
  EXPECT_EQ(TextOf(reader.Take().events), "b: created");
}

TEST(EventLog, AReaderOutlivesTheManagerAndThenFindsNothingNew) {
  auto manager = *ResourceManager::Create(Plain());
  EventReader reader = manager->Events();
  EventReader waits = manager->Events();
  ASSERT_TRUE(manager->CreateQuota("a"));
  waits.Take();
  std::jthread ends([&] { manager.reset(); });
  EXPECT_FALSE(waits.Wait(seconds(20)));  // at once, by the end
  ends.join();
  EXPECT_EQ(reader.Take().events.size(), 1u);
  EXPECT_TRUE(reader.Take().events.empty());
  EXPECT_FALSE(reader.Wait(seconds(20)));
}

TEST(EventLog, FollowingMayBeginAtAnySequence) {
  ManagerConfig config = Plain();
  config.events_kept = 3;
  World world(config);
  for (const char* id : {"a", "b", "c", "d", "e"}) ASSERT_TRUE(world->CreateQuota(id));
  EventReader all = world->EventsAfter(0);
  EventReader last = world->EventsAfter(4);
  EventReader none = world->EventsAfter(5);
  EventReader never = world->EventsAfter(std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(never.Take().events.size(), 0u);
  EXPECT_EQ(never.Take().missed, 0u);
  const EventReader::Batch batch = all.Take();
  EXPECT_EQ(batch.missed, 2u);
  EXPECT_EQ(TextOf(batch.events), "c: created; d: created; e: created");
  EXPECT_EQ(TextOf(last.Take().events), "e: created");
  EXPECT_TRUE(none.Take().events.empty());
}

TEST(EventLog, EveryKindHasItsName) {
  const char* names[] = {"created",
                         "updated",
                         "threshold",
                         "violation",
                         "warned",
                         "throttled",
                         "suspended",
                         "resumed",
                         "terminated",
                         "action_failed",
                         "reset",
                         "window_rolled",
                         "settled_above_hold",
                         "removed",
                         "usage"};
  for (std::size_t i = 0; i < 15; ++i) EXPECT_EQ(NameOf(static_cast<EventKind>(i)), names[i]);
}

}  // namespace
}  // namespace mete
