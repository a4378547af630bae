// `mete doctor`: what this machine can hold, found out by trying.
#include "cli/doctor.h"

#include <array>
#include <utility>
#include <vector>

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
  const char* group;  // "limit", "action", "reading"
  const char* name;
  GradeInfo info;
};

std::vector<Row> RowsOf(const Capabilities& found) {
  // Counted when the agent says so; the consequence is only as good as the freezer and the kill.
  const bool acts = found.freeze.grade == Grade::kKernel && found.kill.grade == Grade::kKernel;
  const GradeInfo reported = {acts ? Grade::kReported : Grade::kAdvisory,
                              acts ? "counted when the agent reports, acted on by the kernel"
                                   : "counted when the agent reports, with nothing to act by"};
  return {
      {"limit", "cpu", found.cpu},
      {"limit", "memory", found.memory},
      {"limit", "pids", found.pids},
      {"limit", "tokens, requests, cost", reported},
      {"action", "suspend", found.freeze},
      {"action", "terminate", found.kill},
      {"reading", "cpu time", found.cpu_usage},
      {"reading", "memory", found.memory_usage},
      {"reading", "memory peak", found.memory_peak},
  };
}

int DoctorCommand(const Flags& flags) {
  const Capabilities found = agent::OpenHost()->Probe();
  Print(flags.Has("json") ? DoctorJson(found) : DoctorText(found));
  return kExitOk;
}

}  // namespace

std::string DoctorText(const Capabilities& found) {
  std::string text = "control groups: " + found.layout;
  if (!found.root.empty()) text += ", made in " + found.root;
  text += "\n\n";
  std::vector<std::vector<std::string>> rows = {{"", "WHAT", "GRADE", "HOW"}};
  const char* group = "";
  for (Row& row : RowsOf(found)) {
    const bool first = std::string_view(row.group) != group;
    group = row.group;
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
    json.Field("grade", NameOf(row.info.grade)).Field("how", row.info.how).EndObject();
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
        "looks and acts), reported (counted when the agent reports), advisory (the\n"
        "program may ignore it), absent.\n",
    .flags = kFlags,
    .main = DoctorCommand,
};

}  // namespace mete::cli
