#include "agent/record_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace mete::agent {
namespace {

class RecordFileTest : public testing::Test {
 protected:
  RecordFileTest() {
    std::string path = testing::TempDir() + "record-test-XXXXXX";
    dir_ = mkdtemp(path.data());
    path_ = RecordPath(dir_, "one");
  }
  ~RecordFileTest() override {
    for (const std::string& path : ListRecords(dir_)) unlink(path.c_str());
    rmdir(dir_.c_str());
  }

  static AgentRecord RecordOf(std::int64_t tokens) {
    AgentRecord record;
    record.id = record.group = "one";
    record.counters.tokens_consumed = tokens;
    return record;
  }

  static std::int64_t TokensIn(const std::string& path) {
    const Result<AgentRecord> read = ReadRecord(path);
    return read ? read->counters.tokens_consumed : -1;
  }

  std::string dir_, path_;
};

TEST_F(RecordFileTest, KeepsTheLastOfManyWritings) {
  Result<RecordFile> file = RecordFile::Make(path_, RecordOf(0));
  ASSERT_TRUE(file) << file.error().ToString();
  for (std::int64_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(file->Write(RecordOf(i)));
    EXPECT_EQ(TokensIn(path_), i);
    EXPECT_EQ(ReadRecord(path_)->sequence, static_cast<std::uint64_t>(i + 2));
  }
  struct stat status{};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 8192);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(RecordFileTest, IsTheOwnersWhileItLives) {
  Result<RecordFile> file = RecordFile::Make(path_, RecordOf(1));
  ASSERT_TRUE(file);
  EXPECT_EQ(RecordFile::Take(path_).error().code, ErrorCode::kInUse);
  EXPECT_EQ(RecordFile::Make(path_, RecordOf(2)).error().code, ErrorCode::kAlreadyExists);
  EXPECT_EQ(TokensIn(path_), 1);
}

TEST_F(RecordFileTest, IsAnyonesWhenTheOwnerWasKilled) {
  const pid_t owner = fork();
  if (owner == 0) {
    Result<RecordFile> file = RecordFile::Make(path_, RecordOf(7));
    kill(getpid(), SIGKILL);
  }
  ASSERT_EQ(waitpid(owner, nullptr, 0), owner);
  EXPECT_EQ(RecordFile::Make(path_, RecordOf(2)).error().code, ErrorCode::kAlreadyExists)
      << "it has to be settled first";
  Result<RecordFile> taken = RecordFile::Take(path_);
  ASSERT_TRUE(taken);
  ASSERT_TRUE(taken->last());
  EXPECT_EQ(taken->last()->counters.tokens_consumed, 7);
  ASSERT_TRUE(taken->Write(RecordOf(8)));
  EXPECT_EQ(ReadRecord(path_)->sequence, 2u);
}

TEST_F(RecordFileTest, TornWhileItWasWrittenIsTheOneBefore) {
  for (int writings : {2, 3}) {
    {
      Result<RecordFile> file = RecordFile::Make(path_, RecordOf(1));
      for (int i = 2; i <= writings; ++i) ASSERT_TRUE(file->Write(RecordOf(i)));
    }
    const UniqueFd raw(open(path_.c_str(), O_RDWR));
    // As a writer leaves it who is killed after some bytes of the next one.
    const off_t next = (writings + 1) % 2 * static_cast<off_t>(kRecordSlotBytes);
    ASSERT_EQ(pwrite(raw.get(), "mete-record 1 9 200 ", 20, next), 20);
    EXPECT_EQ(TokensIn(path_), writings);
    Result<RecordFile> taken = RecordFile::Take(path_);
    ASSERT_TRUE(taken);
    ASSERT_TRUE(taken->Write(RecordOf(50)));
    EXPECT_EQ(TokensIn(path_), 50);
    taken->Remove();
  }
}

TEST_F(RecordFileTest, WithoutAWholeRecordIsMadeAnewAndTaken) {
  for (const char* rubbish : {"", "x", "mete-record 1 "}) {
    const UniqueFd raw(open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
    ASSERT_GE(write(raw.get(), rubbish, std::string_view(rubbish).size()), 0);
    {
      Result<RecordFile> taken = RecordFile::Take(path_);
      ASSERT_TRUE(taken);
      EXPECT_FALSE(taken->last());
    }
    EXPECT_EQ(ReadRecord(path_).error().code, ErrorCode::kInvalidArgument);
    Result<RecordFile> made = RecordFile::Make(path_, RecordOf(3));
    ASSERT_TRUE(made) << made.error().ToString();
    EXPECT_EQ(TokensIn(path_), 3);
    made->Remove();
  }
}

TEST_F(RecordFileTest, IsNeededNoSpaceForOnceItIsThere) {
  Result<RecordFile> file = RecordFile::Make(path_, RecordOf(0));
  ASSERT_TRUE(file);
  struct stat before{}, after{};
  ASSERT_EQ(stat(path_.c_str(), &before), 0);
  for (std::int64_t i = 0; i < 20; ++i) ASSERT_TRUE(file->Write(RecordOf(i)));
  ASSERT_EQ(stat(path_.c_str(), &after), 0);
  EXPECT_GE(before.st_blocks * 512, 8192);
  EXPECT_EQ(after.st_blocks, before.st_blocks);
}

TEST_F(RecordFileTest, TooLongIsRefusedAndTheLastOneStays) {
  Result<RecordFile> file = RecordFile::Make(path_, RecordOf(4));
  ASSERT_TRUE(file);
  AgentRecord record = RecordOf(5);
  record.id = std::string(5000, 'x');
  EXPECT_EQ(file->Write(record).error().code, ErrorCode::kSystem);
  EXPECT_EQ(TokensIn(path_), 4);
}

TEST_F(RecordFileTest, RemovedIsGoneAndNothingElseIs) {
  Result<RecordFile> file = RecordFile::Make(path_, RecordOf(1));
  ASSERT_TRUE(file);
  file->Remove();
  file->Remove();
  EXPECT_EQ(ReadRecord(path_).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(RecordFile::Take(path_).error().code, ErrorCode::kNotFound);
  // Another one of that name is not its to remove.
  Result<RecordFile> old = RecordFile::Make(path_, RecordOf(1));
  ASSERT_TRUE(old);
  unlink(path_.c_str());
  Result<RecordFile> young = RecordFile::Make(path_, RecordOf(2));
  ASSERT_TRUE(young);
  old->Remove();
  EXPECT_EQ(TokensIn(path_), 2);
}

TEST_F(RecordFileTest, ThatCannotBeWrittenSaysWhy) {
  const std::string nowhere = dir_ + "/none/one.record";
  EXPECT_EQ(RecordFile::Make(nowhere, RecordOf(1)).error().code, ErrorCode::kSystem);
  const std::string folder = dir_ + "/folder.record";
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  const Result<RecordFile> made = RecordFile::Make(folder, RecordOf(1));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kSystem);
  EXPECT_NE(made.error().message.find(folder), std::string::npos);
  rmdir(folder.c_str());
}

TEST_F(RecordFileTest, AreListedByName) {
  for (const char* id : {"b", "a", "c"}) {
    ASSERT_TRUE(RecordFile::Make(RecordPath(dir_, id), RecordOf(1)));
  }
  const UniqueFd other(open((dir_ + "/a.sock").c_str(), O_CREAT | O_RDWR, 0600));
  EXPECT_EQ(ListRecords(dir_),
            (std::vector<std::string>{dir_ + "/a.record", dir_ + "/b.record", dir_ + "/c.record"}));
  EXPECT_TRUE(ListRecords(dir_ + "/none").empty());
  unlink((dir_ + "/a.sock").c_str());
}

}  // namespace
}  // namespace mete::agent
