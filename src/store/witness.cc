#include "store/witness.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "store/row_hash.h"

namespace mete::store {
namespace {

// "mete-mark BATCH SUM CHECK\n", each number in 16 hexadecimal digits.
constexpr std::string_view kHead = "mete-mark ";
constexpr std::size_t kDigits = 16;
constexpr std::size_t kBytes = kHead.size() + 3 * (kDigits + 1);
constexpr std::uint64_t kSeed = 6;

using Text = std::array<char, kBytes>;

std::uint64_t CheckOf(const Testimony& testimony) {
  RowHash hash(kSeed);
  hash.Int(static_cast<std::int64_t>(testimony.batch));
  hash.Int(static_cast<std::int64_t>(testimony.sum));
  return hash.value();
}

Text TextOf(const Testimony& testimony) {
  Text text;
  text.fill('0');
  std::memcpy(text.data(), kHead.data(), kHead.size());
  std::size_t at = kHead.size();
  for (const std::uint64_t number : {testimony.batch, testimony.sum, CheckOf(testimony)}) {
    std::array<char, kDigits> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + kDigits, number, 16).ptr;
    const auto count = static_cast<std::size_t>(end - digits.data());
    std::memcpy(text.data() + at + kDigits - count, digits.data(), count);
    at += kDigits + 1;
    text[at - 1] = ' ';
  }
  text.back() = '\n';
  return text;
}

std::optional<Testimony> Parse(const Text& text) {
  std::array<std::uint64_t, 2> numbers{};
  std::size_t at = kHead.size();
  for (std::uint64_t& number : numbers) {
    const char* const begin = text.data() + at;
    const auto [end, error] = std::from_chars(begin, begin + kDigits, number, 16);
    if (error != std::errc() || end != begin + kDigits) return std::nullopt;
    at += kDigits + 1;
  }
  const Testimony testimony{numbers[0], numbers[1]};
  // Written again it must be the same in every byte.
  return TextOf(testimony) == text ? std::optional(testimony) : std::nullopt;
}

}  // namespace

Witness::Witness(std::string path) : path_(std::move(path)) {
  file_.reset(open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file_) {
    finding_ = errno == ENOENT ? Finding::kNone : Finding::kDamaged;
    return;
  }
  Text text;
  std::array<char, kBytes + 1> found;  // one more, to see one that is too long
  const ssize_t got = pread(file_.get(), found.data(), found.size(), 0);
  finding_ = Finding::kDamaged;
  if (got != static_cast<ssize_t>(kBytes)) return;
  std::memcpy(text.data(), found.data(), kBytes);
  if (const auto testimony = Parse(text)) {
    testimony_ = *testimony;
    finding_ = Finding::kGood;
  }
}

bool Witness::Found(const Testimony& testimony, int folder) {
  if (!file_) file_.reset(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) return false;
  const Text text = TextOf(testimony);
  const ssize_t put = pwrite(file_.get(), text.data(), text.size(), 0);
  if (put != static_cast<ssize_t>(text.size())) {
    if (put >= 0) errno = ENOSPC;
    return false;
  }
  if (fsync(file_.get()) != 0 || fsync(folder) != 0) return false;
  finding_ = Finding::kGood;
  testimony_ = testimony;
  return true;
}

void Witness::Write(const Testimony& testimony) noexcept {
  const Text text = TextOf(testimony);
  if (pwrite(file_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) {
    testimony_ = testimony;
  }
}

void Witness::Sync() noexcept { (void)fdatasync(file_.get()); }

}  // namespace mete::store
