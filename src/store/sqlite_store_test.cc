#include "store/sqlite_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/check.h"
#include "quota/store_contract_test.h"
#include "store/backup.h"
#include "store/store_folder_test.h"
#include "store/verify.h"

namespace mete {
namespace {

class FolderWorld final : public StoreWorld {
 public:
  std::unique_ptr<Store> Open() override { return store::MustOpen(folder_.PathOf("a/state")); }

 private:
  const store::TestFolder folder_{store::TestFolder::Fast()};
};

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContractTest,
                         testing::Values(StoreCase{
                             "sqlite", [] { return std::make_unique<FolderWorld>(); }}));

}  // namespace

namespace store {
namespace {

class SqliteStoreTest : public testing::Test {
 protected:
  const std::string& path() const { return folder_.path(); }

  // Writes so many batches to a new store, and ends it in an orderly way.
  std::vector<std::string> Fill(int batches) {
    const std::unique_ptr<Store> store = MustOpen(path());
    LinesOf(*store);
    for (int i = 0; i < batches; ++i) EXPECT_TRUE(store->Write(random_.Next()));
    return LinesOf(*store);
  }
  std::string OpenError(const Program& program = {}) const {
    const auto store = SqliteStore::Open(path(), {}, program);
    return store ? "it was opened" : store.error().ToString();
  }
  std::vector<std::string> Lines() const { return LinesOf(*MustOpen(path())); }
  void Run(const char* sql) const {
    Connection connection(folder_.PathOf(kDatabaseName), "", /*must_exist=*/false);
    connection.Run(sql);
    EXPECT_TRUE(connection.ok()) << connection.failure().text;
  }

  const TestFolder folder_{TestFolder::Fast()};
  RandomBatches random_{5};
};

TEST_F(SqliteStoreTest, EveryFileIsForItsOwnerOnly) {
  const auto modes = [this] {
    std::map<std::string, unsigned> found;
    for (const auto& entry : std::filesystem::directory_iterator(path())) {
      found[entry.path().filename()] = static_cast<unsigned>(entry.status().permissions());
    }
    return found;
  };
  const mode_t before = umask(0);
  {
    const auto store = MustOpen(path());
    const std::map<std::string, unsigned> open{
        {"ledger.db", 0600}, {"ledger.db-wal", 0600}, {"ledger.mark", 0600}, {"lock", 0600}};
    auto seen = modes();
    seen.erase("ledger.backup");
    EXPECT_EQ(seen, open);
  }
  umask(before);
  for (const auto& [name, mode] : modes()) EXPECT_EQ(mode, 0600U) << name;
}

TEST_F(SqliteStoreTest, TheFolderIsForItsOwnerOnly) {
  const std::string inner = folder_.PathOf("x/y");
  EXPECT_EQ(MustOpen(inner)->name(), inner);
  struct stat found{};
  ASSERT_EQ(stat(inner.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700U);

  ASSERT_EQ(chmod(inner.c_str(), 0770), 0);
  const auto store = OpenStore(inner);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().ToString(),
            "E2079: the state folder cannot be used: others may write to it (chmod 700 ends that): "
            "\"" +
                inner + "\"");
  ASSERT_EQ(chmod(inner.c_str(), 0755), 0);
  EXPECT_TRUE(OpenStore(inner));
}

TEST_F(SqliteStoreTest, WhatIsNoFolderIsRefused) {
  folder_.Write("file", "");
  for (const std::string& path :
       {folder_.PathOf("file"), folder_.PathOf("file/below"), std::string()}) {
    const auto store = OpenStore(path);
    ASSERT_FALSE(store) << path;
    EXPECT_TRUE(store.error().ToString().starts_with("E2079: the state folder cannot be used: "))
        << store.error().ToString();
  }
}

TEST_F(SqliteStoreTest, ASecondOwnerIsToldWhoTheFirstIs) {
  auto first = MustOpen(path());
  const std::string expected = "E2080: the state folder is in use by process " +
                               std::to_string(getpid()) + ": \"" + path() + "\"";
  EXPECT_EQ(OpenError(), expected);
  // In another process as well, and that does not end the lock.
  const pid_t child = fork();
  if (child == 0) _exit(OpenError() == expected ? 0 : 1);
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(OpenError(), expected);
  first = nullptr;
  EXPECT_EQ(OpenError(), "it was opened");
}

TEST_F(SqliteStoreTest, ADatabaseOfANewerVersionIsRefusedByBothNumbers) {
  Fill(3);
  Run("PRAGMA user_version = 7");
  EXPECT_EQ(OpenError(),
            "E2079: the state cannot be used: it is of a newer mete: its version is "
            "7, this program knows up to 1: in \"" +
                path() + "\"");
}

TEST_F(SqliteStoreTest, ADatabaseOfAnotherProgramIsRefused) {
  Run("PRAGMA user_version = 1; CREATE TABLE quotas (a)");
  EXPECT_TRUE(OpenError().starts_with(
      "E2079: the state is damaged: the file is not a database of mete: its application id is 0"))
      << OpenError();
}

// What a program of version 2 would do with a database of version 1.
void AddColor(Connection& connection) { connection.Run("ALTER TABLE holds ADD COLUMN color TEXT"); }
constexpr Upgrade kFromOne[] = {{1, AddColor}};

TEST_F(SqliteStoreTest, AnOlderVersionIsKeptBesideAndBroughtForward) {
  const auto lines = Fill(5);
  std::filesystem::remove(folder_.PathOf(kBackupName));
  // The tables of this program are not those of version 2: that is found after the way there.
  EXPECT_TRUE(OpenError({.newest = 2, .upgrades = kFromOne})
                  .starts_with("E2079: the state is damaged: the tables are not those of version"));
  EXPECT_EQ(OpenError(),
            "E2079: the state cannot be used: it is of a newer mete: its version is "
            "2, this program knows up to 1: in \"" +
                path() + "\"");
  // The copy is what was there before.
  std::filesystem::copy_file(folder_.PathOf("ledger.v1.backup"), folder_.PathOf(kDatabaseName),
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::remove(folder_.PathOf(kLogName));
  EXPECT_EQ(Lines(), lines);
}

TEST_F(SqliteStoreTest, AVersionWithoutAWayForwardIsLeftAsItIs) {
  const auto lines = Fill(5);
  EXPECT_EQ(OpenError({.newest = 2}),
            "E2079: the state cannot be brought forward to version 2: this program has no way from "
            "version 1: in \"" +
                path() + "\"");
  EXPECT_EQ(Lines(), lines);
}

TEST_F(SqliteStoreTest, DamageNamesTheBackupAndTheBackupIsTakenUp) {
  const auto lines = Fill(5);
  ASSERT_TRUE(std::filesystem::exists(folder_.PathOf(kBackupName)));
  Run("UPDATE quotas SET window_ns = window_ns + 1 WHERE slot = (SELECT min(slot) FROM quotas)");
  {
    auto store = OpenStore(path());
    ASSERT_TRUE(store);
    const std::string error = LinesOf(**store)[0];
    EXPECT_TRUE(error.starts_with("E2079: the state is damaged: table quotas: the row of slot "))
        << error;
    EXPECT_NE(error.find(" is not as it was written: in \"" + path() + "\"; the latest backup is " +
                         folder_.PathOf(kBackupName) + " of 2"),
              std::string::npos)
        << error;
  }
  // As docs/durability.md tells people to.
  std::filesystem::copy_file(folder_.PathOf(kBackupName), folder_.PathOf(kDatabaseName),
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::remove(folder_.PathOf(kLogName));
  std::filesystem::remove(folder_.PathOf(kWitnessName));
  EXPECT_EQ(Lines(), lines);
  EXPECT_EQ(Fill(0), lines);
  std::filesystem::remove(folder_.PathOf(kBackupName));
  EXPECT_EQ(Lines(), lines);
}

TEST_F(SqliteStoreTest, ALostDatabaseIsNotReplacedByAnEmptyOne) {
  const auto lines = Fill(5);
  const std::string database = folder_.Read(kDatabaseName), mark = folder_.Read(kWitnessName);
  const auto expect_refused = [&](const char* left, const std::string& backup) {
    const std::string expected =
        "E2079: the state is damaged: the database is empty, or missing, "
        "though " +
        folder_.PathOf(left) + " is there: in \"" + path() + "\"; " + backup;
    // Also the second time: looking makes nothing, and removes nothing.
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(OpenError().starts_with(expected)) << OpenError();
    const auto report = VerifyStore(path());
    ASSERT_TRUE(report && report->problems.size() == 1);
    EXPECT_TRUE(("E2079: " + report->problems[0]).starts_with(expected)) << report->problems[0];
  };
  const std::string known = "the latest backup is " + folder_.PathOf(kBackupName) + " of 2";
  std::filesystem::remove(folder_.PathOf(kWitnessName));
  std::filesystem::remove(folder_.PathOf(kDatabaseName));
  expect_refused(kLogName, known);
  EXPECT_FALSE(std::filesystem::exists(folder_.PathOf(kDatabaseName)));
  folder_.Write(kDatabaseName, "");
  expect_refused(kLogName, known);
  std::filesystem::remove(folder_.PathOf(kLogName));
  expect_refused(kBackupName, known);
  std::filesystem::remove(folder_.PathOf(kBackupName));
  folder_.Write(kLogName, "");
  expect_refused(kLogName, "there is no backup");
  folder_.Write(kDatabaseName, database);
  folder_.Write(kWitnessName, mark);
  EXPECT_EQ(Lines(), lines);
}

TEST_F(SqliteStoreTest, ALockOfAnotherProgramIsLeftAsItIs) {
  for (const char* content : {"pid=12\n", " 12\n", "1234567890123456", "-1\n"}) {
    folder_.Write("lock", content);
    EXPECT_EQ(OpenError(),
              "E2079: the state folder cannot be used: its lock is not a file of mete: \"" +
                  folder_.PathOf("lock") + "\"");
    EXPECT_EQ(folder_.Read("lock"), content);
    EXPECT_FALSE(std::filesystem::exists(folder_.PathOf(kDatabaseName)));
  }
  // What mete left, whole or cut by a loss of power.
  for (const std::string& content :
       {std::string(), std::string("4194304\n"), std::string("41"), std::string(4, '\0')}) {
    folder_.Write("lock", content);
    const auto store = MustOpen(path());
    EXPECT_EQ(folder_.Read("lock"), std::to_string(getpid()) + "\n");
  }
}

TEST_F(SqliteStoreTest, ABackupThatWasWrittenToNeedsItsWitness) {
  Fill(2);
  std::filesystem::copy_file(folder_.PathOf(kBackupName), folder_.PathOf(kDatabaseName),
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::remove(folder_.PathOf(kWitnessName));
  Fill(1);
  std::filesystem::remove(folder_.PathOf(kWitnessName));
  EXPECT_TRUE(OpenError().starts_with("E2079: the state is damaged: the file is missing: " +
                                      folder_.PathOf(kWitnessName)))
      << OpenError();
}

TEST_F(SqliteStoreTest, ARowThatIsMissingIsFound) {
  for (const char* sql :
       {"DELETE FROM quotas WHERE slot = (SELECT max(slot) FROM quotas)",
        "DELETE FROM usage WHERE first_slot = 0", "DELETE FROM keys", "DELETE FROM holds",
        "DELETE FROM events WHERE number = (SELECT max(number) FROM events)",
        "DELETE FROM events WHERE number = (SELECT min(number) FROM events)", "DELETE FROM mark",
        "DROP TABLE holds", "CREATE TABLE other (a)",
        "UPDATE mark SET last_event = last_event + 1"}) {
    std::filesystem::remove_all(path());
    random_ = RandomBatches(5);
    Fill(30);
    Run(sql);
    auto store = OpenStore(path());
    const std::string error = store ? LinesOf(**store)[0] : store.error().ToString();
    EXPECT_TRUE(error.starts_with("E2079: the state is damaged: ")) << sql << ": " << error;
  }
}

TEST_F(SqliteStoreTest, OlderEventsAreDeletedAndTheOthersStillAddUp) {
  StoreOptions options;
  options.events_kept = 10;
  const std::unique_ptr<Store> reference = NewMemoryStore();
  LinesOf(*reference);
  for (int i = 0; i < 30; ++i) {
    const std::unique_ptr<Store> store = MustOpen(path(), options);
    LinesOf(*store);
    const StoreBatch batch = random_.Next();
    ASSERT_TRUE(store->Write(batch) && reference->Write(batch));
    ASSERT_EQ(LinesOf(*store), LinesOf(*reference, 10));
  }
}

TEST_F(SqliteStoreTest, TheLogIsBounded) {
  constexpr std::int64_t kBytes = 256 << 10;
  RandomBatches large(6, 500, 2000);
  const auto store = SqliteStore::Open(path(), {}, {.checkpoint_bytes = kBytes});
  ASSERT_TRUE(store);
  LinesOf(**store);
  std::uintmax_t longest = 0;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE((*store)->Write(large.Next()));
    (*store)->CatchUp();
    longest = std::max(longest, std::filesystem::file_size(folder_.PathOf(kLogName)));
  }
  // One batch more than it takes to bring it in.
  EXPECT_LT(longest, 3U * kBytes);
  EXPECT_GT(longest, static_cast<std::uintmax_t>(kBytes));
}

TEST_F(SqliteStoreTest, ReadsWithTheShellOfSqlite) {
  {
    const std::unique_ptr<Store> store = MustOpen(path());
    LinesOf(*store);
    StoreBatch batch;
    batch.mark.batch = 1;
    batch.quotas.resize(1);
    batch.quotas[0].target.id = "a1";
    batch.quotas[0].limits[LimitKind::kMemory] = *ParseLimit(LimitKind::kMemory, "2Gi");
    ASSERT_TRUE(store->Write(batch));
  }
  Connection connection(folder_.PathOf(kDatabaseName), "", /*must_exist=*/true);
  EXPECT_EQ(
      connection.RunForText("SELECT scope || ' ' || target || ' ' || memory || ' ' || policies "
                            "FROM quotas"),
      "agent a1 2Gi hs hs hs hs hs hs");
}

struct Failed {};

TEST_F(SqliteStoreTest, ABatchThatLeavesOneOutIsABug) {
  const CheckHandler old = SetCheckHandler([](const char*, const char*, int) { throw Failed(); });
  const std::unique_ptr<Store> store = MustOpen(path());
  StoreBatch batch;
  batch.mark.batch = 1;
  EXPECT_THROW((void)store->Write(batch), Failed);  // not loaded
  LinesOf(*store);
  batch.mark.batch = 2;
  EXPECT_THROW((void)store->Write(batch), Failed);
  batch.mark.batch = 1;
  EXPECT_TRUE(store->Write(batch));
  SetCheckHandler(old);
}

}  // namespace
}  // namespace store
}  // namespace mete
