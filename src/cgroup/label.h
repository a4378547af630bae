// A text that stays on the directory of a group: an extended attribute, which goes with the group.
//
// trusted.mete.label where the caller may write it: then nobody without CAP_SYS_ADMIN can, also not
// the owner of the directory. Else user.mete.label.
#pragma once

#include <string>
#include <string_view>

#include "agent/host.h"

namespace mete::cgroup {

// 0 or an errno.
int WriteLabel(int dir, std::string_view text);

// Empty if there is none.
std::string ReadLabel(int dir);

// Whether this directory can have a label, found out without writing one.
agent::GradeInfo LabelGrade(int dir);

}  // namespace mete::cgroup
