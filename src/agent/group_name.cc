#include "agent/group_name.h"

#include <algorithm>
#include <charconv>

#include "base/quote.h"

namespace mete::agent {
namespace {

// The file systems of control groups take 255 bytes. A prefix, this, a dot and 20 digits are 243.
constexpr std::size_t kLongestEncoded = 220;
constexpr std::size_t kKeptOfLonger = 180;
constexpr std::string_view kHashMark = "%%";
constexpr std::size_t kLongestFileName = 255;

constexpr std::string_view kTenant = "t-", kSession = "s-", kAgent = "a-";

bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == ':' || c == '-';
}

void AppendHex(std::string& out, std::uint64_t value, int digits) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += kDigits[(value >> shift) & 15];
}

// FNV-1a over 64 bits, from two starting points, each stirred at the end. It keeps long ids apart
// that differ by chance, not those that somebody made to collide: two runs of such ids meet as two
// of the same id do, and the second is refused.
std::uint64_t Hash(std::string_view text, std::uint64_t start) {
  std::uint64_t hash = start;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  hash = (hash ^ (hash >> 31)) * 0x7fb5d329728ea185U;
  return hash ^ (hash >> 29);
}

std::string Encode(std::string_view id) {
  std::string out;
  std::size_t kept = 0;  // how much of it fits beside a hash, without half an escape
  for (const char c : id) {
    if (IsPlain(c)) {
      out += c;
    } else {
      out += '%';
      AppendHex(out, static_cast<unsigned char>(c), 2);
    }
    if (out.size() <= kKeptOfLonger) kept = out.size();
  }
  if (out.size() <= kLongestEncoded) return out;
  out.resize(kept);
  out += kHashMark;
  AppendHex(out, Hash(id, 0xcbf29ce484222325U), 16);
  AppendHex(out, Hash(id, 0x84222325cbf29ce4U), 16);
  return out;
}

std::optional<std::string> Decode(std::string_view text) {
  std::string id;
  while (!text.empty()) {
    if (text.front() != '%') {
      id += text.front();
      text.remove_prefix(1);
      continue;
    }
    unsigned value = 0;
    if (text.size() < 3) return std::nullopt;
    const auto [end, error] = std::from_chars(text.data() + 1, text.data() + 3, value, 16);
    if (error != std::errc{} || end != text.data() + 3) return std::nullopt;
    id += static_cast<char>(value);
    text.remove_prefix(3);
  }
  return id;
}

// Takes "t-acme" off the front of "t-acme/s-42"; nothing if the prefix is another.
std::optional<std::string_view> TakeLevel(std::string_view& rest, std::string_view prefix) {
  if (!rest.starts_with(prefix)) return std::nullopt;
  const std::size_t end = rest.find('/');
  const std::string_view level = rest.substr(prefix.size(), end - prefix.size());
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return level;
}

std::string_view LastOf(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// Levels in their order, then at most one group of an agent.
bool IsTreePath(std::string_view path) {
  if (path.ends_with('/')) return false;
  TakeLevel(path, kTenant);
  TakeLevel(path, kSession);
  return path.empty() || (path.starts_with(kAgent) && path.find('/') == std::string_view::npos);
}

}  // namespace

std::string GroupNameOf(const GroupId& id) {
  std::string name;
  const auto add = [&name](std::string_view prefix, std::string_view text) {
    if (text.empty()) return;
    if (!name.empty()) name += '/';
    name.append(prefix).append(Encode(text));
  };
  add(kTenant, id.tenant);
  add(kSession, id.session);
  add(kAgent, id.agent);
  if (!id.agent.empty()) name.append(".").append(std::to_string(id.generation));
  return name;
}

std::optional<GroupId> GroupIdOf(std::string_view group_name) {
  std::string_view rest = group_name;
  GroupId id;
  if (auto level = TakeLevel(rest, kTenant)) id.tenant = Decode(*level).value_or("");
  if (auto level = TakeLevel(rest, kSession)) id.session = Decode(*level).value_or("");
  if (!rest.empty()) {
    const std::size_t dot = rest.rfind('.');
    if (!rest.starts_with(kAgent) || dot == std::string_view::npos) return std::nullopt;
    const std::string_view number = rest.substr(dot + 1);
    std::from_chars(number.data(), number.data() + number.size(), id.generation);
    id.agent = Decode(rest.substr(kAgent.size(), dot - kAgent.size())).value_or("");
  }
  // Whatever is odd about a name does not come back the same.
  if (group_name.empty() || GroupNameOf(id) != group_name) return std::nullopt;
  return id;
}

std::optional<std::uint64_t> GenerationIn(std::string_view group_name, std::string_view stem) {
  if (!group_name.starts_with(stem)) return std::nullopt;
  const std::string_view number = group_name.substr(stem.size());
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc{} || end != number.data() + number.size()) return std::nullopt;
  return value;
}

std::string_view ParentOf(std::string_view group_name) {
  const std::size_t slash = group_name.rfind('/');
  return slash == std::string_view::npos ? kTopGroup : group_name.substr(0, slash);
}

bool IsLevel(std::string_view group_name) {
  const std::string_view last = LastOf(group_name);
  return group_name == kTopGroup || last.starts_with(kTenant) || last.starts_with(kSession);
}

Result<void> CheckGroupName(std::string_view group_name) {
  bool allowed = !group_name.empty();
  for (std::string_view rest = group_name; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    allowed = allowed && !part.empty() && part.size() <= kLongestFileName && part.front() != '.' &&
              std::ranges::all_of(part, [](char c) { return IsPlain(c) || c == '%'; });
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
  }
  const bool one = group_name.find('/') == std::string_view::npos;
  if (allowed && (one || IsTreePath(group_name))) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "group name is not allowed: given " + Quoted(group_name) + " (" +
                  std::to_string(group_name.size()) +
                  " bytes), allowed t-TENANT/s-SESSION/a-AGENT.N, each level left out or not, or "
                  "one name; of 1 to 255 of A-Z a-z 0-9 . _ : - %, no dot in front");
}

}  // namespace mete::agent
