// `mete doctor`: what this machine can hold, found out by trying.
#include "cli/doctor.h"

#include <array>
#include <utility>
#include <vector>

#include "agent/kernel_limits.h"
#include "cli/command.h"
#include "cli/table.h"
#include "wire/json.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {{"json", "", "print a JSON object"}};

using agent::Capabilities;
using agent::Grade;
using agent::GradeInfo;

struct Row {
  const char* group;  // "limit", "action", "reading", "environment"
  std::string name;
  GradeInfo info;
};

// As `mete run` would act upon each, unless it is told otherwise.
agent::GradeInfo UnderDefaultPolicy(LimitKind kind, const Capabilities& found) {
  Policy policy{EnforcementMode::kHard, QuotaAction::kSuspend};
  if (kind == LimitKind::kMemory) policy.action = QuotaAction::kTerminate;
  if (kind == LimitKind::kRequestsPerMinute) policy.action = QuotaAction::kThrottle;
  return GradeOf(kind, policy, found);
}

GradeInfo Throttling(const Capabilities& found) {
  GradeInfo cpu = found.cpu;
  if (cpu.grade == Grade::kKernel || cpu.grade == Grade::kSampled) {
    cpu.how += "; in steps of 50, 25, 10 % of its cpu";
  }
  return cpu;
}

GradeInfo Terminating(const Capabilities& found) {
  GradeInfo kill = found.kill;
  if (kill.grade == Grade::kKernel || kill.grade == Grade::kSampled) {
    kill.how = "SIGTERM, the grace, then " + kill.how;
  }
  return kill;
}

std::vector<Row> RowsOf(const Capabilities& found) {
  std::vector<Row> rows;
  for (const LimitInfo& info : AllLimits()) {
    rows.push_back({"limit", std::string(info.name), UnderDefaultPolicy(info.kind, found)});
  }
  rows.push_back({"limit", "pids", found.pids});
  rows.push_back({"action", "warn", {Grade::kKernel, "an event, and a line on standard error"}});
  rows.push_back({"action", "throttle", Throttling(found)});
  rows.push_back({"action", "suspend", found.freeze});
  rows.push_back({"action", "terminate", Terminating(found)});
  rows.push_back({"reading", "cpu time", found.cpu_usage});
  rows.push_back({"reading", "memory", found.memory_usage});
  rows.push_back({"reading", "memory peak", found.memory_peak});
  const GradeInfo slows =
      found.memory_slows ? GradeInfo{Grade::kKernel, "memory.high"}
                         : GradeInfo{Grade::kAbsent, "nothing slows an agent down at its memory"};
  rows.push_back({"environment", "start in the group", found.clone});
  rows.push_back({"environment", "slow memory", slows});
  rows.push_back({"environment", "pressure", found.pressure});
  rows.push_back({"environment", "labels", found.labels});
  rows.push_back({"environment", "limits above", found.above});
  rows.push_back({"environment", "other user", found.other_user});
  return rows;
}

int DoctorCommand(const Flags& flags) {
  const Capabilities found = agent::OpenHost()->Probe();
  Print(flags.Has("json") ? DoctorJson(found) : DoctorText(found));
  return kExitOk;
}

}  // namespace

std::string DoctorText(const Capabilities& found) {
  std::string text = "control groups: " + found.layout;
  if (found.layout == "processes") text = "no control groups: trees of processes";
  if (!found.root.empty()) text += ", made in " + found.root;
  text += "\n\n";
  std::vector<std::vector<std::string>> rows = {{"", "WHAT", "GRADE", "HOW"}};
  const char* group = "";
  for (Row& row : RowsOf(found)) {
    const bool first = std::string_view(row.group) != group;
    group = row.group;
    if (!row.info.overshoot.empty()) row.info.how += "; at worst: " + row.info.overshoot;
    rows.push_back({first ? row.group : "", row.name, std::string(NameOf(row.info.grade)),
                    std::move(row.info.how)});
  }
  text += FormatTable(rows);
  if (!found.notes.empty()) text += '\n';
  for (const std::string& note : found.notes) text.append("note: ").append(note).append("\n");
  return text;
}

std::string DoctorJson(const Capabilities& found) {
  wire::JsonWriter json;
  json.BeginObject().Field("layout", found.layout).Field("root", found.root);
  json.Key("grades").BeginArray();
  for (const Row& row : RowsOf(found)) {
    json.BeginObject().Field("kind", row.group).Field("what", row.name);
    json.Field("grade", NameOf(row.info.grade)).Field("how", row.info.how);
    if (!row.info.overshoot.empty()) json.Field("overshoot", row.info.overshoot);
    json.EndObject();
  }
  json.EndArray().Key("notes").BeginArray();
  for (const std::string& note : found.notes) json.String(note);
  return json.EndArray().EndObject().Take() + "\n";
}

extern constinit const Command kDoctorCommand = {
    .name = "doctor",
    .operands = {},
    .summary = "Try which limits this machine can hold, and how",
    .details =
        "Grades: kernel (refuses, throttles or kills at the limit), sampled (mete\n"
        "looks and acts; how far the limit may be passed at worst stands beside it),\n"
        "reported (counted when the agent reports), advisory (the program may ignore\n"
        "it), absent. `mete run` refuses a limit that is advisory or absent, unless it\n"
        "is told --best-effort.\n",
    .flags = kFlags,
    .main = DoctorCommand,
};

}  // namespace mete::cli
