#include "cgroup/label.h"

#include <sys/xattr.h>

#include <array>
#include <cerrno>

#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

constexpr const char* kTrusted = "trusted.mete.label";
constexpr const char* kUser = "user.mete.label";

}  // namespace

int WriteLabel(int dir, std::string_view text) {
  for (const char* name : {kTrusted, kUser}) {
    if (fsetxattr(dir, name, text.data(), text.size(), 0) == 0) return 0;
    if (errno != EPERM && errno != ENOTSUP) break;
  }
  return errno;
}

std::string ReadLabel(int dir) {
  std::array<char, agent::kMaxLabelBytes> text;
  for (const char* name : {kTrusted, kUser}) {
    const ssize_t got = fgetxattr(dir, name, text.data(), text.size());
    if (got >= 0) return std::string(text.data(), static_cast<std::size_t>(got));
  }
  return {};
}

agent::GradeInfo LabelGrade(int dir) {
  int error = EBADF;
  for (const char* name : {kTrusted, kUser}) {
    // Replacing what is not there changes nothing, and is refused as what it is only if writing
    // were allowed.
    fsetxattr(dir, (std::string(name) + ".try").c_str(), "", 0, XATTR_REPLACE);
    error = errno;
    if (error == ENODATA) return {agent::Grade::kKernel, name};
  }
  return {agent::Grade::kAbsent,
          std::string(kUser) + " cannot be set on a group: " + ErrnoText(error)};
}

}  // namespace mete::cgroup
