#include "agent/identity.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "base/quote.h"

namespace mete::agent {
namespace {

// The largest number means "leave it" to the kernel.
constexpr std::uint32_t kMostId = 0xFFFFFFFEU;

std::optional<std::uint32_t> NumberOf(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (number > kMostId) return std::nullopt;
  return number;
}

struct User {
  std::string name, home;
  uid_t uid = 0;
  gid_t gid = 0;
};

// The C library's own tables: files, or whatever the system is told to ask.
std::optional<User> FindUser(const std::string& text, std::optional<std::uint32_t> number) {
  const passwd* found = getpwnam(text.c_str());
  if (found == nullptr && number) found = getpwuid(*number);
  if (found == nullptr) return std::nullopt;
  return User{found->pw_name, found->pw_dir, found->pw_uid, found->pw_gid};
}

std::optional<gid_t> FindGroup(const std::string& text) {
  if (const group* found = getgrnam(text.c_str())) return found->gr_gid;
  return NumberOf(text);
}

std::vector<gid_t> GroupsOf(const User& user, gid_t gid) {
  int count = 64;
  for (;;) {
    std::vector<gid_t> groups(static_cast<std::size_t>(count));
    const int room = count;
    const int got = getgrouplist(user.name.c_str(), gid, groups.data(), &count);
    if (got >= 0) {
      groups.resize(static_cast<std::size_t>(got));
      return groups;
    }
    if (count <= room) count = 2 * room;
  }
}

std::unexpected<Error> Refuse(std::string_view what, std::string_view given) {
  return Fail(
      ErrorCode::kInvalidArgument,
      std::string(what) + ", allowed: NAME, UID, NAME:GROUP or UID:GID, given: " + Quoted(given));
}

int DropCapabilities() noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0 ? 0 : errno;
}

// Without the right to (a user namespace, a container) the set stays; the capabilities themselves
// go all the same, and no-new-privileges keeps them away.
void DropBoundingSet() noexcept {
  for (int capability = 0; capability < 64; ++capability) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno == EINVAL) return;
  }
}

}  // namespace

Result<Identity> FindIdentity(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string user_text(text.substr(0, colon));
  if (user_text.empty()) return Refuse("no user", text);
  const std::optional<std::uint32_t> number = NumberOf(user_text);
  const std::optional<User> user = FindUser(user_text, number);
  if (!user && !number) return Refuse("no such user", text);
  Identity identity;
  identity.uid = user ? user->uid : *number;
  if (colon != text.npos) {
    const std::optional<gid_t> gid = FindGroup(std::string(text.substr(colon + 1)));
    if (!gid) return Refuse("no such group", text);
    identity.gid = *gid;
  } else if (user) {
    identity.gid = user->gid;
  } else {
    return Refuse("the system does not know this user, so that a group must be named", text);
  }
  if (user) identity.groups = GroupsOf(*user, identity.gid);
  const std::string name = user ? user->name : user_text;
  identity.environment = {"HOME=" + (user ? user->home : std::string("/")), "USER=" + name,
                          "LOGNAME=" + name};
  return identity;
}

// The calls themselves, not the C library's, which would have every thread do the same: of the
// child of a fork there is only this one.
int Become(const Identity& identity) noexcept {
  DropBoundingSet();
  if (syscall(SYS_setgroups, identity.groups.size(), identity.groups.data()) != 0) return errno;
  if (syscall(SYS_setresgid, identity.gid, identity.gid, identity.gid) != 0) return errno;
  if (syscall(SYS_setresuid, identity.uid, identity.uid, identity.uid) != 0) return errno;
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (int error = DropCapabilities()) return error;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  return 0;
}

}  // namespace mete::agent
