// State folders in which bits were flipped and files were cut: what they held, or a refusal.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "quota/store_lines_test.h"
#include "store/backup.h"
#include "store/connection.h"
#include "store/schema.h"
#include "store/store_folder_test.h"
#include "store/verify.h"

namespace mete::store {
namespace {

using StoreLines = std::vector<std::string>;
using Image = std::map<std::string, std::string>;

constexpr const char* kFiles[] = {kDatabaseName, kLogName, kWitnessName};
constexpr std::uint64_t kSeed = 23;
constexpr int kBatches = 40;
constexpr int kImages = 1200;  // of each folder

// A folder as it was left, and what it holds.
struct Original {
  Image files;
  StoreLines lines;
  StoreBatch next;
  StoreLines lines_after_next;
};

Original Make(bool is_closed) {
  RandomBatches batches(kSeed, 100);
  const TestFolder folder(TestFolder::Fast());
  const std::unique_ptr<Store> reference = NewMemoryStore();
  std::unique_ptr<Store> store = MustOpen(folder.path());
  LinesOf(*store), LinesOf(*reference);
  for (int i = 0; i < kBatches; ++i) {
    const StoreBatch batch = batches.Next();
    EXPECT_TRUE(store->Write(batch) && reference->Write(batch));
    // Some of it in the database file, and some in the log.
    if (i == kBatches / 2) store = nullptr, store = MustOpen(folder.path()), LinesOf(*store);
  }
  if (is_closed) store = nullptr;
  Original original;
  for (const char* name : kFiles) original.files[name] = folder.Read(name);
  original.lines = LinesOf(*reference);
  original.next = batches.Next();
  EXPECT_TRUE(reference->Write(original.next));
  original.lines_after_next = LinesOf(*reference);
  return original;
}

// One to three faults; says which.
std::string Damage(Image& image, std::mt19937_64& random) {
  std::string text;
  for (auto faults = 1 + random() % 3; faults > 0; --faults) {
    std::string& content = image[kFiles[random() % std::size(kFiles)]];
    if (content.empty()) continue;
    const std::size_t at = random() % content.size();
    switch (random() % 5) {
      case 0: content.resize(at); break;
      case 1:  // a sector that was never written
        std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(at / 512 * 512),
                    std::min<std::size_t>(512, content.size() - at / 512 * 512), '\0');
        break;
      default: content[at] = static_cast<char>(content[at] ^ (1 << (random() % 8))); break;
    }
    text += " " + std::to_string(at) + "/" + std::to_string(content.size());
  }
  return text;
}

void Put(const TestFolder& folder, const Image& image) {
  for (const auto& [name, content] : image) folder.Write(name, content);
}

// What SQLite alone hands over, without the checks: every column but the sums.
std::string Unchecked(const TestFolder& folder) {
  Connection connection(folder.PathOf(kDatabaseName), "", /*must_exist=*/true);
  connection.Run("PRAGMA locking_mode = EXCLUSIVE");
  std::string all;
  for (const char* table : {"quotas", "usage", "holds", "keys", "events"}) {
    Statement read(connection, ("SELECT * FROM " + std::string(table)).c_str());
    while (read.Step()) {
      for (int i = 0; i + 1 < sqlite3_column_count(read.get()); ++i) {
        const auto* bytes = static_cast<const char*>(sqlite3_column_blob(read.get(), i));
        all.append(bytes, static_cast<std::size_t>(sqlite3_column_bytes(read.get(), i))) += '|';
      }
    }
  }
  return connection.ok() ? all : "";
}

struct Counts {
  int images = 0, equal = 0, refused = 0, written_on = 0, silent_without_checks = 0;
};

void TryImage(const Original& original, const std::string& whole, std::mt19937_64& random,
              Counts& counts) {
  Image image = original.files;
  const std::string faults = Damage(image, random);
  const TestFolder plain(TestFolder::Fast()), folder(TestFolder::Fast());
  Put(plain, image), Put(folder, image);
  const std::string unchecked = Unchecked(plain);
  const bool is_silent = !unchecked.empty() && unchecked != whole;
  counts.silent_without_checks += is_silent ? 1 : 0;
  ++counts.images;

  auto store = OpenStore(folder.path());
  const StoreLines lines = store ? LinesOf(**store) : StoreLines{store.error().ToString()};
  if (lines != original.lines) {
    ++counts.refused;
    ASSERT_EQ(lines.size(), 1U) << "silently different:" << faults;
    ASSERT_TRUE(lines[0].starts_with("E2079: ")) << lines[0] << faults;
    ASSERT_NE(lines[0].find(folder.path()), std::string::npos) << lines[0];
    return;
  }
  ++counts.equal;
}

// Damage where nothing was read, as in the list of free pages, must not come out later either.
void WriteOn(const Original& original, std::mt19937_64& random, Counts& counts) {
  Image image = original.files;
  const std::string faults = Damage(image, random);
  const TestFolder folder(TestFolder::Fast());
  Put(folder, image);
  auto store = OpenStore(folder.path());
  if (!store || LinesOf(**store) != original.lines) return;
  if (!(*store)->Write(original.next)) return;
  store->reset();
  store = OpenStore(folder.path());
  const StoreLines lines = store ? LinesOf(**store) : StoreLines{store.error().ToString()};
  ++counts.written_on;
  if (lines == original.lines_after_next) return;
  ASSERT_TRUE(lines.size() == 1 && lines[0].starts_with("E2079: ")) << faults;
}

TEST(StoreImagesTest, FlippedBitsAndCutFilesAreRefusedOrHarmless) {
  Counts counts;
  std::mt19937_64 random(kSeed);
  for (const bool is_closed : {false, true}) {
    const Original original = Make(is_closed);
    const TestFolder plain(TestFolder::Fast());
    Put(plain, original.files);
    const std::string whole = Unchecked(plain);
    ASSERT_FALSE(whole.empty());
    for (int i = 0; i < kImages; ++i) {
      TryImage(original, whole, random, counts);
      if (HasFatalFailure()) return;
    }
    for (int i = 0; i < kImages / 4; ++i) {
      WriteOn(original, random, counts);
      if (HasFatalFailure()) return;
    }
  }
  std::printf(
      "%d images: %d refused, %d equal, 0 silently different (%d without the checks); "
      "%d more written on\n",
      counts.images, counts.refused, counts.equal, counts.silent_without_checks, counts.written_on);
  EXPECT_GE(counts.images, 2000);
  EXPECT_GT(counts.refused, counts.images / 4);
  EXPECT_GT(counts.equal, counts.images / 20);
  EXPECT_GT(counts.written_on, 20);
  // The canary: these images do hold differences that SQLite does not see.
  EXPECT_GT(counts.silent_without_checks, 100);
}

// Files that belong together, of two moments.
TEST(StoreImagesTest, FilesOfAnOlderMomentAreRefused) {
  const Original original = Make(/*is_closed=*/false);
  const TestFolder folder(TestFolder::Fast());
  Put(folder, original.files);
  {
    const auto store = MustOpen(folder.path());
    LinesOf(*store);
    ASSERT_TRUE(store->Write(original.next));
  }
  // All but an old log with an old witness: that is all of the folder at an older moment, as the
  // database file has not changed since.
  for (const int older : {1, 2, 3, 4, 5}) {
    Image image;
    for (std::size_t i = 0; i < std::size(kFiles); ++i) {
      const std::string name = kFiles[i];
      image[name] = (older >> i & 1) != 0 ? original.files.at(name) : folder.Read(name);
    }
    const TestFolder mixed(TestFolder::Fast());
    Put(mixed, image);
    auto store = OpenStore(mixed.path());
    const StoreLines lines = store ? LinesOf(**store) : StoreLines{store.error().ToString()};
    if (lines == original.lines_after_next) continue;  // an older witness, or a log that is in
    EXPECT_TRUE(lines.size() == 1 && lines[0].starts_with("E2079: the state is damaged: "))
        << older << ": " << lines.back();
  }
}

TEST(StoreImagesTest, VerifySaysWhatIsWrong) {
  const Original original = Make(/*is_closed=*/true);
  const TestFolder folder(TestFolder::Fast());
  Put(folder, original.files);
  auto report = VerifyStore(folder.path());
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_TRUE(report->problems.empty());
  EXPECT_EQ(report->mark.batch, static_cast<std::uint64_t>(kBatches));
  EXPECT_GT(report->quotas, 0U);
  EXPECT_GT(report->states, 0U);
  EXPECT_GT(report->events, 0U);

  std::string witness = original.files.at(kWitnessName);
  witness[20] ^= 1;
  folder.Write(kWitnessName, witness);
  report = VerifyStore(folder.path());
  ASSERT_TRUE(report && report->problems.size() == 1);
  EXPECT_TRUE(
      report->problems[0].starts_with("the state is damaged: the file is not as it was "
                                      "written: "))
      << report->problems[0];
  // The one that the first look has left, as any orderly end does.
  EXPECT_NE(report->problems[0].find("; the latest backup is "), std::string::npos);

  EXPECT_EQ(VerifyStore(folder.PathOf("none")).error().code, ErrorCode::kStoreUnavailable);
  EXPECT_FALSE(std::filesystem::exists(folder.PathOf("none")));
}

}  // namespace
}  // namespace mete::store
