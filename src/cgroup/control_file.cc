#include "cgroup/control_file.h"

#include <fcntl.h>
#include <string.h>

#include <cerrno>
#include <charconv>

namespace mete::cgroup {

std::expected<std::string_view, int> ReadFrom(int fd, FileBuffer& buffer) {
  ssize_t got;
  do {
    got = pread(fd, buffer.data(), buffer.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return std::unexpected(errno);
  return std::string_view(buffer.data(), static_cast<std::size_t>(got));
}

std::expected<std::string_view, int> ReadAt(int dir, const char* name, FileBuffer& buffer) {
  UniqueFd fd(openat(dir, name, O_RDONLY | O_CLOEXEC));
  if (!fd) return std::unexpected(errno);
  return ReadFrom(fd.get(), buffer);
}

int WriteAt(int dir, const char* name, std::string_view text) {
  UniqueFd fd(openat(dir, name, O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd) return errno;
  ssize_t put;
  do {
    put = write(fd.get(), text.data(), text.size());
  } while (put < 0 && errno == EINTR);
  if (put < 0) return errno;
  return put == static_cast<ssize_t>(text.size()) ? 0 : EIO;
}

std::string ReadWhole(const char* path) {
  std::string text;
  UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return text;
  std::array<char, 4096> piece;
  for (;;) {
    ssize_t got = read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
}

std::optional<std::int64_t> NumberIn(std::string_view text) {
  std::int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

std::optional<std::int64_t> NumberAfter(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ') {
      return NumberIn(line.substr(key.size() + 1));
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

bool HasWord(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    std::size_t end = list.find_first_of(" ,\n");
    if (list.substr(0, end) == word) return true;
    if (end == std::string_view::npos) break;
    list.remove_prefix(end + 1);
  }
  return false;
}

std::string ErrnoText(int error_number) {
  const char* text = strerrordesc_np(error_number);
  return text != nullptr ? text : "error " + std::to_string(error_number);
}

int KeptFile::Open(int dir) {
  if (!fd_) fd_.reset(openat(dir, name_, O_RDONLY | O_CLOEXEC));
  return fd_.get();
}

std::expected<std::string_view, int> KeptFile::Read(int dir, FileBuffer& buffer) {
  if (Open(dir) < 0) return std::unexpected(errno);
  return ReadFrom(fd_.get(), buffer);
}

}  // namespace mete::cgroup
