// Every call to the disk fails in turn, and the power goes after every one.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "quota/store_lines_test.h"
#include "store/backup.h"
#include "store/fault_vfs.h"
#include "store/sqlite_store.h"
#include "store/store_folder_test.h"

namespace mete::store {
namespace {

using StoreLines = std::vector<std::string>;

constexpr std::uint64_t kSeed = 11;
constexpr int kBatches = 14;
constexpr std::uint32_t kSlots = 60;
constexpr std::size_t kStateBytes = 400;
// So that a run has several checkpoints.
constexpr Program kProgram{.checkpoint_bytes = 64 << 10};

std::vector<StoreBatch> MakeBatches() {
  RandomBatches random(kSeed, kSlots, kStateBytes);
  std::vector<StoreBatch> batches;
  for (int i = 0; i < kBatches; ++i) batches.push_back(random.Next());
  return batches;
}

// What a store holds after each of the batches, from none.
std::vector<StoreLines> LinesAfter(const std::vector<StoreBatch>& batches) {
  const std::unique_ptr<Store> reference = NewMemoryStore();
  std::vector<StoreLines> lines = {LinesOf(*reference)};
  for (const StoreBatch& batch : batches) {
    EXPECT_TRUE(reference->Write(batch));
    lines.push_back(LinesOf(*reference));
  }
  return lines;
}

// As an engine does: what failed is written again, and again. Counts what was refused.
class Workload {
 public:
  Workload(FaultVfs& vfs, std::string folder, const std::vector<StoreBatch>& batches)
      : vfs_(vfs), folder_(std::move(folder)), batches_(batches) {}

  // Calls `acknowledged(i)` after each batch. What lasts is healed when it has failed three times.
  template <class Acknowledged>
  void Run(Acknowledged&& acknowledged) {
    std::unique_ptr<SqliteStore> store;
    Try([&] { return Open(store); });
    Try([&] { return Empty(store->Load(StoreVisitor(), 0)); });
    acknowledged(0);
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      Try([&] { return store->Write(batches_[i]); });
      acknowledged(i + 1);
      store->CatchUp();
    }
  }
  int refused() const { return refused_; }

 private:
  static Result<void> Empty(const Result<StoredMark>& result) {
    return result ? Result<void>() : std::unexpected(result.error());
  }
  Result<void> Open(std::unique_ptr<SqliteStore>& store) {
    StoreOptions options;
    options.vfs = vfs_.name();
    auto opened = SqliteStore::Open(folder_, options, kProgram);
    if (!opened) return std::unexpected(opened.error());
    store = std::move(*opened);
    vfs_.FolderIsSynced();
    return {};
  }
  template <class Step>
  void Try(Step&& step) {
    constexpr int kAttempts = 6, kHealedAfter = 3;
    for (int attempt = 1; attempt <= kAttempts; ++attempt) {
      const Result<void> done = step();
      if (done) return;
      ++refused_;
      ASSERT_EQ(done.error().code, ErrorCode::kStoreUnavailable) << done.error().message;
      ASSERT_EQ(done.error().message.find("damaged"), std::string::npos) << done.error().message;
      if (attempt == kHealedAfter) vfs_.Heal();
    }
    FAIL() << "it does not recover";
  }

  FaultVfs& vfs_;
  const std::string folder_;
  const std::vector<StoreBatch>& batches_;
  int refused_ = 0;
};

StoreLines StoredLines(const std::string& folder) {
  const std::unique_ptr<Store> store = MustOpen(folder);
  return store ? LinesOf(*store) : StoreLines{"none"};
}

TEST(StoreFaultsTest, EveryCallFailsInTurnAndNothingIsLost) {
  const std::vector<StoreBatch> batches = MakeBatches();
  const StoreLines expected = LinesAfter(batches).back();
  FaultVfs vfs("mete-faults");
  int faults = 0, refused = 0;
  for (const auto fault :
       {FaultVfs::Fault::kIoError, FaultVfs::Fault::kShortWrite, FaultVfs::Fault::kFull}) {
    for (const bool lasting : {false, true}) {
      for (std::int64_t nth = 1;; ++nth) {
        const TestFolder folder(TestFolder::Fast());
        vfs.FailNth(nth, fault, lasting);
        Workload workload(vfs, folder.path(), batches);
        workload.Run([](std::size_t) {});
        vfs.Heal();
        if (HasFatalFailure()) return;
        ASSERT_EQ(StoredLines(folder.path()), expected) << "call " << nth;
        if (!vfs.has_failed()) break;
        ++faults;
        refused += workload.refused();
      }
    }
  }
  std::printf("%d faults in turn, %d refusals; nothing lost, nothing twice\n", faults, refused);
  EXPECT_GT(faults, 500);
  EXPECT_GT(refused, faults / 2);
}

// The disk after a loss of power, in a folder; the witness is any that was ever written, since it
// is not synced.
struct Wreck {
  Wreck(const FaultVfs::Files& files, const std::string& witness) : folder(TestFolder::Fast()) {
    for (const auto& [name, content] : files) folder.Write(name, content);
    if (!witness.empty()) folder.Write(kWitnessName, witness);
  }
  TestFolder folder;
};

struct Acknowledgement {
  std::size_t calls;  // that were recorded until then
  std::size_t batch;
  std::string witness;  // that was written then
};

// Runs the workload with a sync that fails, if any, and then lets the power go after each call.
void LosePowerEverywhere(std::int64_t failing, int& losses) {
  const std::vector<StoreBatch> batches = MakeBatches();
  const std::vector<StoreLines> lines = LinesAfter(batches);
  FaultVfs vfs("mete-power");
  vfs.SetRecording(true);
  const TestFolder folder(TestFolder::Fast());
  if (failing != 0) vfs.FailNth(failing, FaultVfs::Fault::kIoError, false);
  std::vector<Acknowledgement> acknowledged = {{0, 0, ""}};
  Workload workload(vfs, folder.path(), batches);
  workload.Run([&](std::size_t batch) {
    acknowledged.push_back({vfs.records().size(), batch, folder.Read(kWitnessName)});
  });
  if (testing::Test::HasFatalFailure()) return;
  std::mt19937_64 random(kSeed + static_cast<std::uint64_t>(failing));
  // Where there is a failure, what comes after it is what matters.
  std::size_t count = failing == 0 ? 0 : static_cast<std::size_t>(failing);
  for (; count <= vfs.records().size(); count += failing == 0 ? 1 : 7) {
    std::size_t last = 0;
    while (last + 1 < acknowledged.size() && acknowledged[last + 1].calls <= count) ++last;
    // The one that was made with the database is on disk before any batch is.
    const std::size_t named = last == 0 ? 0 : 1 + random() % last;
    const Wreck wreck(vfs.AfterPowerLoss(count, random), acknowledged[named].witness);
    const std::size_t batch = acknowledged[last].batch;
    const StoreLines found = StoredLines(wreck.folder.path());
    ASSERT_TRUE(found == lines[batch] ||
                (last > 0 && batch + 1 < lines.size() && found == lines[batch + 1]))
        << "after call " << count << ", batch " << batch << " acknowledged: " << found.back()
        << "; failing " << failing;
    ++losses;
  }
}

TEST(StoreFaultsTest, PowerGoesAfterEveryCall) {
  int losses = 0;
  for (int round = 0; round < 2; ++round) {
    LosePowerEverywhere(0, losses);
    if (HasFatalFailure()) return;
  }
  std::printf("%d losses of power: what was acknowledged was there, and nothing by half\n", losses);
  EXPECT_GT(losses, 300);
}

// A sync that failed lets go of what it should have written; without a second writing of the log a
// later commit stands behind a hole.
TEST(StoreFaultsTest, PowerGoesAfterASyncThatFailed) {
  int losses = 0;
  for (std::int64_t failing = 1; failing < 400; failing += 7) {
    LosePowerEverywhere(failing, losses);
    if (HasFatalFailure()) return;
  }
  std::printf("%d losses of power after a call that failed\n", losses);
  EXPECT_GT(losses, 1000);
}

// A file system of 8 MiB that fills up while the store is used, and is freed again.
TEST(StoreFaultsTest, AFullFileSystemIsWaitedOut) {
  const TestFolder folder;
  // In a mount namespace of its own, which ends with this process.
  if (unshare(CLONE_NEWNS) != 0 || mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=8m,mode=700") != 0) {
    GTEST_SKIP() << "no file system can be mounted here (that needs root): "
                 << std::strerror(errno);
  }
  RandomBatches batches(kSeed, 500, 2000);
  const std::unique_ptr<Store> reference = NewMemoryStore();
  LinesOf(*reference);
  auto store = SqliteStore::Open(folder.path(), {}, kProgram);
  ASSERT_TRUE(store) << store.error().ToString();
  LinesOf(**store);
  int refused = 0;
  for (int round = 0; round < 5; ++round) {
    // Whatever is left: the store has to do with what its files have.
    std::ofstream ballast(folder.PathOf("ballast"), std::ios::binary);
    const std::string page(4096, 'x');
    while (ballast.write(page.data(), static_cast<std::streamsize>(page.size())).flush()) {
    }
    ballast.close();
    for (int i = 0; i < 40; ++i) {
      const StoreBatch batch = batches.Next();
      Result<void> written = (*store)->Write(batch);
      if (!written) {
        ASSERT_EQ(written.error().code, ErrorCode::kStoreUnavailable);
        EXPECT_FALSE((*store)->Write(batch)) << "nothing was freed";
        ++refused;
        std::filesystem::remove(folder.PathOf("ballast"));
        written = (*store)->Write(batch);
      }
      ASSERT_TRUE(written) << written.error().ToString();
      (*store)->CatchUp();
      ASSERT_TRUE(reference->Write(batch));
    }
  }
  EXPECT_GE(refused, 3);
  *store = nullptr;
  EXPECT_EQ(StoredLines(folder.path()), LinesOf(*reference));
  std::printf("a full file system of 8 MiB: %d refusals, each over when there was room\n", refused);
  EXPECT_EQ(umount2(folder.path().c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace mete::store
