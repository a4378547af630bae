// Texts that stay on the directory of a group: extended attributes, which go with the group.
//
// trusted.mete.NAME where the caller may write it: then nobody without CAP_SYS_ADMIN can, also not
// the owner of the directory. Else user.mete.NAME. The label is the one called so.
#pragma once

#include <string>
#include <string_view>

#include "agent/host.h"

namespace mete::cgroup {

// 0 or an errno.
int WriteAttribute(int dir, std::string_view name, std::string_view text);

// Empty if there is none.
std::string ReadAttribute(int dir, std::string_view name);

// 0 or an errno.
int WriteLabel(int dir, std::string_view text);

// Empty if there is none.
std::string ReadLabel(int dir);

// Of the group of a tenant or session: the ledger that it belongs to. Written unless there is one;
// the answer is what is there then, or `ledger` where nothing can be.
std::string ClaimFor(int dir, std::string_view ledger);

// Whether this directory can have a label, found out without writing one.
agent::GradeInfo LabelGrade(int dir);

}  // namespace mete::cgroup
