// Names of groups: the ids of a tenant, a session and an agent as a path of file names.
//
//   t-acme/s-42/a-bot.7     agent "bot" of session "42" of tenant "acme", its seventh run
//   s-42/a-bot.7  a-bot.7   without a tenant, without either
//   t-acme  t-acme/s-42     the groups above: limits for the sum
//
// An id is any text of 1 to 255 bytes. A byte that is no letter, no digit and none of . _ : - is
// written %XX. What would be longer than a file name may be is cut, and a hash of the whole follows
// after "%%", which no other name has; such a name does not tell its id, so its label must.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mete/error.h"

namespace mete::agent {

// The group that holds all others.
inline constexpr std::string_view kTopGroup = "";

struct GroupId {
  std::string tenant = {}, session = {};  // empty: there is no such level
  std::string agent = {};                 // empty: the group of the session, or of the tenant
  // Of an agent, above 0. No run uses a group in which an earlier one was killed.
  std::uint64_t generation = 1;

  bool operator==(const GroupId&) const = default;
};

// REQUIRES: ids of 1 to 255 bytes, one at least; a generation above 0.
std::string GroupNameOf(const GroupId& id);

// The ids of a name; nothing for one that holds a hash, or was not made by GroupNameOf.
std::optional<GroupId> GroupIdOf(std::string_view group_name);

// The generation in the name of an agent's group that starts with `stem`, "t-acme/a-bot."; nothing
// if the name is another's.
std::optional<std::uint64_t> GenerationIn(std::string_view group_name, std::string_view stem);

// The group above: "t-acme/s-42/a-bot.7" -> "t-acme/s-42", "t-acme" -> kTopGroup.
std::string_view ParentOf(std::string_view group_name);

// Whether it is the group of a tenant or session, or the top: one without processes of its own.
bool IsLevel(std::string_view group_name);

// E2071 unless it is what GroupNameOf makes, or a single file name for groups without ids, as
// probes and tests make them: [A-Za-z0-9._:%-]{1,255}, which does not start with a dot.
Result<void> CheckGroupName(std::string_view group_name);

}  // namespace mete::agent
