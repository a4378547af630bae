#include "cgroup/layout.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "cgroup/control_file.h"
#include "cgroup/processes.h"

namespace mete::cgroup {
namespace {

constexpr std::array<const char*, 3> kControllers = {"cpu", "memory", "pids"};

// Takes the text up to the separator off the front of `rest`.
std::string_view Next(std::string_view& rest, char separator) {
  std::size_t end = rest.find(separator);
  std::string_view piece = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return piece;
}

// mountinfo writes blanks, tabs, newlines and backslashes as three octal digits.
std::string Unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      int value = 0;
      for (std::size_t k = 1; k <= 3; ++k) value = value * 8 + (text[i + k] - '0');
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

struct Mount {
  std::string point, root;
  std::string_view type, options;  // options of the file system: "rw,cpu,cpuacct"
};

// "36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices"
std::optional<Mount> ParseMount(std::string_view line) {
  Mount mount;
  for (int i = 0; i < 3; ++i) Next(line, ' ');
  mount.root = Unescape(Next(line, ' '));
  mount.point = Unescape(Next(line, ' '));
  std::size_t dash = line.find(" - ");  // after any number of optional fields
  if (dash == std::string_view::npos) return std::nullopt;
  line.remove_prefix(dash + 3);
  mount.type = Next(line, ' ');
  Next(line, ' ');
  mount.options = line;
  return mount;
}

// Empty if the group lies outside of what is mounted (a bind mount, another namespace).
std::string DirectoryOf(const Mount& mount, std::string_view path) {
  if (path.starts_with("/..")) return {};
  std::string_view root = mount.root;
  if (root == "/") return path == "/" ? mount.point : mount.point + std::string(path);
  if (!path.starts_with(root)) return {};
  path.remove_prefix(root.size());
  if (!path.empty() && path.front() != '/') return {};
  return mount.point + std::string(path);
}

// The first mount that shows the caller's group wins; one that does not is kept for the reason.
void Place(std::optional<Position>& slot, const Mount& mount, std::optional<std::string> path) {
  if (!path || (slot && !slot->dir.empty())) return;
  slot = Position{mount.point, DirectoryOf(mount, *path), *path};
}

std::string Text(const std::string& dir, const char* name) {
  FileBuffer buffer;
  auto text = ReadAt(AT_FDCWD, JoinPath(dir, name).c_str(), buffer);
  return text ? std::string(*text) : std::string();
}

bool CanWrite(const std::string& path, int mode = W_OK) {
  return faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) == 0;
}

std::string Refusal(const std::string& dir) {
  return "no permission to make groups in " + dir + ": " + ErrnoText(errno);
}

bool MayMakeIn(const std::string& dir, std::string& why) {
  if (CanWrite(dir, W_OK | X_OK) && CanWrite(JoinPath(dir, "cgroup.procs"))) return true;
  if (why.empty()) why = Refusal(dir);
  return false;
}

// What systemd says of the group of a unit, to everybody since version 251 and to root before;
// empty if it says nothing.
std::string Attribute(const std::string& dir, const char* name) {
  std::array<char, 64> value;
  for (const char* space : {"user.", "trusted."}) {
    const ssize_t got =
        getxattr(dir.c_str(), (space + std::string(name)).c_str(), value.data(), value.size());
    if (got > 0) return std::string(value.data(), static_cast<std::size_t>(got));
  }
  return {};
}

bool Delegated(const std::string& dir) { return Attribute(dir, "delegate") == "1"; }
bool IsUnit(const std::string& dir) { return !Attribute(dir, "invocation_id").empty(); }

// Which controllers this v2 group passes on to its children, or can be told to.
std::vector<std::string> Passed(const std::string& dir) {
  const std::string enabled = Text(dir, "cgroup.subtree_control");
  const std::string available = Text(dir, "cgroup.controllers");
  // Only the root of the hierarchy may hold processes and pass controllers on; it alone has no
  // type.
  const bool root = !CanWrite(JoinPath(dir, "cgroup.type"), F_OK);
  const bool may_enable = CanWrite(JoinPath(dir, "cgroup.subtree_control")) &&
                          (root || Delegated(dir) || Text(dir, "cgroup.procs").empty());
  std::vector<std::string> passed;
  for (const char* name : kControllers) {
    if (HasWord(enabled, name) || (may_enable && HasWord(available, name))) passed.push_back(name);
  }
  return passed;
}

void SetV1(ControllerPlace& place, const char* name, const std::optional<Position>& position) {
  if (!position) return;
  if (position->dir.empty()) {
    place.why = std::string("the ") + name + " hierarchy at " + position->mount +
                " does not show the caller's group " + position->path;
  } else if (MayMakeIn(position->dir, place.why)) {
    place.version = Version::kV1;
    place.dir = position->dir;
    place.path = position->path;
  }
}

// The nearest of the caller's group and its ancestors that passes on most of the controllers
// that no v1 hierarchy has. Ties go to the nearest: it keeps more of the caller's limits.
void PlaceUnified(const Position& own, const Layout& layout, Places& places) {
  const std::array<bool, 3> on_v1 = {layout.cpu.has_value(), layout.memory.has_value(),
                                     layout.pids.has_value()};
  std::array<ControllerPlace*, 3> controllers = {&places.cpu, &places.memory, &places.pids};
  std::string why, dir = own.dir, path = own.path;
  int best = -1;
  bool in_unit = false;
  for (;;) {
    const bool delegated = Delegated(dir);
    if (!in_unit && !delegated && IsUnit(dir)) places.undelegated = path;
    in_unit = in_unit || delegated || IsUnit(dir);
    if (MayMakeIn(dir, why)) {
      std::array<bool, 3> has{};
      int score = 0;
      for (const std::string& name : Passed(dir)) {
        for (std::size_t i = 0; i < 3; ++i) {
          if (name == kControllers[i] && !on_v1[i]) has[i] = true, ++score;
        }
      }
      if (score > best) {
        best = score;
        places.unified_dir = dir;
        places.unified_path = path;
        places.delegated = delegated;
        for (std::size_t i = 0; i < 3; ++i) {
          if (on_v1[i]) continue;
          *controllers[i] =
              has[i] ? ControllerPlace{Version::kV2, dir, path, ""} : ControllerPlace{};
        }
      }
    }
    if (dir == own.mount || path == "/" || delegated) break;
    // A group of mete: what runs in it must not get out of it by asking for one of its own.
    if (GroupIn(path, "/")) break;
    dir.resize(dir.rfind('/'));
    path.resize(path.rfind('/'));
    if (path.empty()) path.push_back('/');
  }
  if (best < 0) places.missing = why;
}

}  // namespace

std::string JoinPath(std::string_view parent, std::string_view child) {
  std::string path(parent);
  if (!path.ends_with('/')) path += '/';
  return path.append(child);
}

Layout ReadLayout(std::string_view mountinfo, std::string_view own_groups) {
  Layout layout;
  while (!mountinfo.empty()) {
    std::optional<Mount> mount = ParseMount(Next(mountinfo, '\n'));
    if (!mount) continue;
    if (mount->type == "cgroup2") {
      Place(layout.unified, *mount, PathIn(own_groups, ""));
    } else if (mount->type == "cgroup") {
      if (HasWord(mount->options, "cpu")) Place(layout.cpu, *mount, PathIn(own_groups, "cpu"));
      if (HasWord(mount->options, "memory")) {
        Place(layout.memory, *mount, PathIn(own_groups, "memory"));
      }
      if (HasWord(mount->options, "pids")) Place(layout.pids, *mount, PathIn(own_groups, "pids"));
    }
  }
  return layout;
}

Layout ReadLayout() {
  return ReadLayout(ReadWhole("/proc/self/mountinfo"), ReadWhole("/proc/self/cgroup"));
}

Places FindPlaces(const Layout& layout) {
  Places places;
  if (!layout.unified) {
    places.missing = "no cgroup2 file system is mounted";
    return places;
  }
  if (layout.unified->dir.empty()) {
    places.missing = "the cgroup2 file system at " + layout.unified->mount +
                     " does not show the caller's group " + layout.unified->path;
    return places;
  }
  PlaceUnified(*layout.unified, layout, places);
  if (!places.missing.empty()) return places;
  SetV1(places.cpu, "cpu", layout.cpu);
  SetV1(places.memory, "memory", layout.memory);
  SetV1(places.pids, "pids", layout.pids);
  if (!CanWrite(JoinPath(places.unified_dir, "cgroup.freeze"), F_OK) &&
      CanWrite(JoinPath(places.unified_dir, "cgroup.type"), F_OK)) {
    places.missing = "the kernel has no cgroup.freeze (Linux 5.2 or later is needed)";
  }
  std::array<ControllerPlace*, 3> all = {&places.cpu, &places.memory, &places.pids};
  for (std::size_t i = 0; i < 3; ++i) {
    if (all[i]->version == Version::kNone && all[i]->why.empty()) {
      all[i]->why = std::string("the ") + kControllers[i] + " controller is in no hierarchy that " +
                    "mete can make groups in";
    }
  }
  return places;
}

}  // namespace mete::cgroup
