// A small file beside the database that says which batch was the last, so that a database, or a log
// of it, from which the last batches were cut off is not taken for a whole one.
//
// It is written after each commit and not synced: after a crash of the process it names the last
// batch that was acknowledged, or the one before (the crash came between); after a power loss it
// may name any older one, since what was not synced may be lost. So, with W what it names and D
// what the database holds:
//   W == D  the sums of their marks are the same too, or something is damaged
//   W <  D  nothing acknowledged is missing from the database
//   W >  D  acknowledged batches are missing: damage
// It is 61 bytes, in the first sector of the file, and a sector is written whole or not at all: so
// one that is cut or does not agree with its own checksum is damage as well. It is made, and synced
// with its folder, before the first batch is written; a database that holds a batch has one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace mete::store {

struct Testimony {
  std::uint64_t batch = 0;
  std::uint64_t sum = 0;  // of the mark's row
  friend bool operator==(const Testimony&, const Testimony&) = default;
};

class Witness {
 public:
  enum class Finding { kNone, kGood, kDamaged };

  // Reads what is there.
  explicit Witness(std::string path);

  const std::string& path() const noexcept { return path_; }
  Finding finding() const noexcept { return finding_; }
  const Testimony& testimony() const noexcept { return testimony_; }  // of kGood

  // Makes the file if need be, with its content on disk when this returns true; otherwise errno.
  bool Found(const Testimony& testimony, int folder);
  // In place. What could not be written is written with the next one.
  void Write(const Testimony& testimony) noexcept;
  void Sync() noexcept;

 private:
  const std::string path_;
  UniqueFd file_;
  Finding finding_ = Finding::kNone;
  Testimony testimony_;
};

}  // namespace mete::store
