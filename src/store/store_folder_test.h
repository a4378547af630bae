// A folder of a test's own, and what is done to the files in it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "mete/store.h"

namespace mete::store {

class TestFolder {
 public:
  // Below `parent`, or where temporary files go.
  explicit TestFolder(std::string parent = testing::TempDir()) {
    std::string name = parent + "/mete_store_XXXXXX";
    path_ = mkdtemp(name.data()) == nullptr ? std::string() : name;
  }
  // In memory where the machine has such a folder: for what opens thousands of them.
  static std::string Fast() {
    return std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : testing::TempDir();
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string PathOf(const std::string& name) const { return path_ + "/" + name; }
  std::string Read(const std::string& name) const {
    std::ifstream file(PathOf(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& name, const std::string& content) const {
    std::ofstream(PathOf(name), std::ios::binary) << content;
  }

 private:
  std::string path_;
};

inline std::unique_ptr<Store> MustOpen(const std::string& path, const StoreOptions& options = {}) {
  Result<std::unique_ptr<Store>> store = OpenStore(path, options);
  EXPECT_TRUE(store) << store.error().ToString();
  return store ? std::move(*store) : nullptr;
}

}  // namespace mete::store
