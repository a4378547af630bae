#include "cgroup/label.h"

#include <limits.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

constexpr std::string_view kTrusted = "trusted.mete.";
constexpr std::string_view kUser = "user.mete.";
constexpr std::string_view kLabel = "label";
constexpr std::string_view kLedger = "ledger";

int Write(int dir, std::string_view name, std::string_view text, int flags) {
  for (const std::string_view kind : {kTrusted, kUser}) {
    const std::string full = std::string(kind).append(name);
    if (fsetxattr(dir, full.c_str(), text.data(), text.size(), flags) == 0) return 0;
    if (errno != EPERM && errno != ENOTSUP) break;
  }
  return errno;
}

}  // namespace

int WriteAttribute(int dir, std::string_view name, std::string_view text) {
  return Write(dir, name, text, 0);
}

std::string ReadAttribute(int dir, std::string_view name) {
  // A label, or a path.
  std::array<char, std::max<std::size_t>(agent::kMaxLabelBytes, PATH_MAX)> text;
  for (const std::string_view kind : {kTrusted, kUser}) {
    const std::string full = std::string(kind).append(name);
    const ssize_t got = fgetxattr(dir, full.c_str(), text.data(), text.size());
    if (got >= 0) return std::string(text.data(), static_cast<std::size_t>(got));
  }
  return {};
}

int WriteLabel(int dir, std::string_view text) { return WriteAttribute(dir, kLabel, text); }

std::string ReadLabel(int dir) { return ReadAttribute(dir, kLabel); }

std::string ClaimFor(int dir, std::string_view ledger) {
  // Looked at first, for one of the other kind.
  std::string owner = ReadAttribute(dir, kLedger);
  if (!owner.empty()) return owner;
  Write(dir, kLedger, ledger, XATTR_CREATE);
  owner = ReadAttribute(dir, kLedger);
  return owner.empty() ? std::string(ledger) : owner;
}

agent::GradeInfo LabelGrade(int dir) {
  int error = EBADF;
  for (const std::string_view kind : {kTrusted, kUser}) {
    const std::string name = std::string(kind).append(kLabel);
    // Replacing what is not there changes nothing, and is refused as what it is only if writing
    // were allowed.
    fsetxattr(dir, (name + ".try").c_str(), "", 0, XATTR_REPLACE);
    error = errno;
    if (error == ENODATA) return {agent::Grade::kKernel, name};
  }
  return {agent::Grade::kAbsent,
          std::string(kUser).append(kLabel) + " cannot be set on a group: " + ErrnoText(error)};
}

}  // namespace mete::cgroup
