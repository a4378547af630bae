// The texts of limits as they were entered, each kept once: a hundred thousand agents with "2Gi"
// share it.
//
// Thread safety: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mete {

class TextPool {
 public:
  // The same text has the same number until it was released as often as it was taken. 0 is "".
  std::uint32_t Take(std::string_view text);
  void Release(std::uint32_t number);
  std::string TextOf(std::uint32_t number) const;

 private:
  struct Entry {
    std::string text;
    std::uint64_t uses = 0;
  };

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Entry>> entries_;  // number - 1
  std::vector<std::uint32_t> free_;
  std::unordered_map<std::string_view, std::uint32_t> numbers_;  // views of the entries
};

}  // namespace mete
