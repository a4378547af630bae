#include "cli/limit_flags.h"

#include <string>

#include "mete/quota.h"

namespace mete::cli {

bool WriteLimits(wire::JsonWriter& json, const Flags& flags) {
  bool any = false;
  for (const LimitInfo& info : AllLimits()) {
    std::string flag(info.name);
    for (char& c : flag) c = c == '_' ? '-' : c;
    const std::optional<std::string_view> value = flags.Get(flag);
    if (!value) continue;
    if (!any) json.Key("limits").BeginObject();
    any = true;
    json.Key(info.name);
    *value == "unlimited" ? json.Null() : json.String(*value);
  }
  if (any) json.EndObject();
  return any;
}

}  // namespace mete::cli
