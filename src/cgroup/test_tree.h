// A directory of plain files that stands in for a control group file system; gone with the object.
#pragma once

#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace mete::cgroup {

class TestTree {
 public:
  TestTree() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mete-tree-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~TestTree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  TestTree(const TestTree&) = delete;
  TestTree& operator=(const TestTree&) = delete;

  std::string path(const std::string& name) const { return root_ + "/" + name; }
  void Dir(const std::string& name) { std::filesystem::create_directories(path(name)); }
  void File(const std::string& name, const std::string& text) { std::ofstream(path(name)) << text; }
  void Remove(const std::string& name) { std::filesystem::remove_all(path(name)); }
  bool Has(const std::string& name) const { return std::filesystem::exists(path(name)); }
  std::string Text(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(path(name)).rdbuf();
    return text.str();
  }

 private:
  std::string root_;
};

}  // namespace mete::cgroup
