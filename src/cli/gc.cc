// `mete gc`: settles agents whose owner died, and their guardian with it.
#include "cli/gc.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "agent/quota_json.h"
#include "agent/runtime_dir.h"
#include "agent/time_text.h"
#include "cli/command.h"
#include "mete/units.h"
#include "wire/json.h"

namespace mete::cli {
namespace {

using agent::Decision;
using agent::FoundAgent;
using agent::Host;
using agent::Owner;

constexpr Flag kFlags[] = {
    {"dry-run", "", "only tell what would be done"},
    {"json", "", "print a JSON object"},
};

// A killed process is reaped by whoever inherited it, soon; it is not worth waiting for longer.
constexpr int kReapedWithinMs = 20;

std::string CausesOf(const agent::AgentRecord& record) {
  std::string text;
  for (const Cause& cause : record.causes) {
    text += text.empty() ? "" : ", ";
    text += cause.limit ? InfoOf(*cause.limit).name : "operator";
  }
  return text;
}

// As a shell tells it: 128 more than the signal.
std::optional<int> ExitStatusOf(const UniqueFd& leader) {
  if (!leader) return std::nullopt;
  pollfd ended{.fd = leader.get(), .events = POLLIN, .revents = 0};
  poll(&ended, 1, kReapedWithinMs);
  const std::optional<int> status = agent::WaitStatusOf(leader);
  if (!status) return std::nullopt;
  return WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
}

void ReadCounters(Host& host, GcEntry* entry) {
  if (!entry->found.record || !entry->found.group) return;
  ResourceUsage& counters = entry->found.record->counters;
  const Result<std::unique_ptr<agent::Group>> group = host.Find(entry->found.group->name);
  if (!group) return;
  const Result<agent::Sample> sample = (*group)->Read();
  if (!sample) return;
  counters.cpu_ns = std::max(counters.cpu_ns, sample->cpu_ns);
  counters.memory_bytes = sample->memory_bytes;
  counters.memory_peak_bytes = std::max(counters.memory_peak_bytes, sample->memory_peak_bytes);
}

std::string WhyText(const GcEntry& entry) {
  const FoundAgent& found = entry.found;
  if (found.owner == Owner::kUnknown) {
    if (!found.record) return "no record says whose it is";
    return entry.had_group ? "its owner cannot be seen from here"
                           : "its group cannot be seen from here: call gc where it was started";
  }
  if (!found.record) {
    return found.owner == Owner::kAlive ? "its owner lives"
           : found.file                 ? "its record is not whole"
           : !found.sockets.empty()     ? "only its sockets are left"
                                        : "it is empty";
  }
  const agent::AgentRecord& record = *found.record;
  const std::string pid = std::to_string(record.owner.pid);
  if (found.owner == Owner::kAlive) {
    if (agent::OpenProcess(record.owner)) return "its owner, process " + pid + ", lives";
    return "somebody else takes care of it, or its owner cannot be seen from here";
  }
  std::string text =
      "its owner, process " + pid + ", is gone; " + std::string(NameOf(record.phase));
  if (const std::string causes = CausesOf(record); !causes.empty()) text += ": " + causes;
  if (entry.had_group) {
    const Duration cpu =
        std::chrono::floor<std::chrono::milliseconds>(Duration(record.counters.cpu_ns));
    text += "; used " + FormatDuration(cpu) + " of CPU";
  } else {
    text += "; its group is gone";
  }
  return text;
}

std::string DoneText(const GcEntry& entry, const Clock& clock, bool dry_run) {
  const auto would = [dry_run](const char* done, const char* planned) {
    return std::string(dry_run ? planned : done);
  };
  switch (entry.decision) {
    case Decision::kLeave: return "left alone";
    case Decision::kEnd: return would("ended", "would be ended");
    case Decision::kThaw: return would("thawed", "would be thawed");
    case Decision::kForget: return would("forgotten", "would be forgotten");
    case Decision::kKeep: break;
  }
  const std::optional<Time> end = entry.found.record->lease_end;
  if (!end || *end <= clock.Now()) return "kept, runs on in its limits";
  return "kept until " + agent::TimeOfDayText(*end, clock);
}

void WriteRecord(wire::JsonWriter& json, const agent::AgentRecord& record) {
  json.Field("phase", NameOf(record.phase));
  json.Key("causes").BeginArray();
  for (const Cause& cause : record.causes) {
    json.String(cause.limit ? InfoOf(*cause.limit).name : "operator");
  }
  json.EndArray().Key("limits").BeginObject();
  for (const LimitInfo& info : AllLimits()) {
    const std::string& text = record.limits[static_cast<std::size_t>(info.kind)];
    if (!text.empty()) json.Field(info.name, text);
  }
  json.EndObject().Key("usage").BeginObject();
  json.FieldNano("cpu_seconds", record.counters.cpu_ns);
  json.FieldNano("memory_peak_mb", agent::MebiNano(record.counters.memory_peak_bytes));
  json.Field("tokens_consumed", record.counters.tokens_consumed);
  json.Field("requests", record.counters.requests);
  json.FieldNano("cost", record.counters.cost_nano).EndObject();
  json.Field("owner_pid", record.owner.pid).Field("pid", record.leader.pid);
}

}  // namespace

Result<std::vector<GcEntry>> CollectGarbage(Host& host, const std::string& dir, const Clock& clock,
                                            bool dry_run, const std::string& shared) {
  Result<std::vector<FoundAgent>> found = agent::FindAgents(host, dir, clock, shared);
  if (!found) return std::unexpected(found.error());
  std::vector<GcEntry> entries;
  for (FoundAgent& one : *found) {
    GcEntry entry;
    entry.decision = agent::Decide(one, clock.Now());
    entry.had_group = one.group.has_value();
    entry.frozen = one.group && one.group->frozen;
    entry.found = std::move(one);
    ReadCounters(host, &entry);
    UniqueFd leader;
    if (entry.found.record) leader = agent::OpenProcess(entry.found.record->leader);
    if (!dry_run) {
      const Result<void> settled = agent::Settle(host, entry.found, entry.decision);
      if (!settled && settled.error().code == ErrorCode::kInUse && !entry.found.group->leaf) {
        // Empty when it was found: a run has begun in it meanwhile.
        entry.decision = Decision::kLeave;
        entry.found.owner = Owner::kAlive;
      } else if (!settled) {
        entry.error = settled.error();
      }
    }
    if (!dry_run && entry.decision == Decision::kEnd) entry.exit_status = ExitStatusOf(leader);
    // The lock of what was settled goes at once, so that another owner need not wait for the rest.
    entry.found.file.reset();
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string GcText(const std::vector<GcEntry>& entries, const Clock& clock, bool dry_run) {
  if (entries.empty()) return "no agents\n";
  std::string text;
  for (const GcEntry& entry : entries) {
    text += entry.found.name + ": ";
    text += entry.error ? "failed: " + entry.error->ToString() : DoneText(entry, clock, dry_run);
    text += " (" + WhyText(entry) + ")\n";
  }
  return text;
}

std::string GcJson(const std::vector<GcEntry>& entries, bool dry_run) {
  wire::JsonWriter json;
  json.BeginObject().FieldBool("dry_run", dry_run).Key("agents").BeginArray();
  for (const GcEntry& entry : entries) {
    json.BeginObject().Field("id", entry.found.name);
    json.Field("owner", NameOf(entry.found.owner)).Field("action", NameOf(entry.decision));
    json.FieldBool("group", entry.had_group).FieldBool("frozen", entry.frozen);
    if (entry.found.record) WriteRecord(json, *entry.found.record);
    if (entry.decision == Decision::kEnd && !dry_run) {
      json.Key("exit_status");
      entry.exit_status ? json.Int(*entry.exit_status) : json.String("unknown");
    }
    if (entry.error) json.Field("error", entry.error->ToString());
    json.EndObject();
  }
  return json.EndArray().EndObject().Take() + "\n";
}

namespace {

int GcCommand(const Flags& flags) {
  const std::unique_ptr<Host> host = agent::OpenHost();
  if (const std::optional<std::string> inside = host->GroupOf(getpid())) {
    return PrintRefusal({ErrorCode::kNotPermitted,
                         "gc settles agents from outside of them, called inside: " + *inside});
  }
  const std::string dir = agent::RuntimeDir();
  if (Result<void> own = agent::CheckRuntimeDir(dir); !own) return PrintRefusal(own.error());
  const SystemClock clock;
  const bool dry_run = flags.Has("dry-run");
  const Result<std::vector<GcEntry>> entries =
      CollectGarbage(*host, dir, clock, dry_run, agent::SharedDir());
  if (!entries) return PrintRefusal(entries.error());
  Print(flags.Has("json") ? GcJson(*entries, dry_run) : GcText(*entries, clock, dry_run));
  const bool failed =
      std::ranges::any_of(*entries, [](const GcEntry& entry) { return entry.error.has_value(); });
  return failed ? kExitFailure : kExitOk;
}

}  // namespace

extern constinit const Command kGcCommand = {
    .name = "gc",
    .operands = {},
    .summary = "Settle agents whose `mete run` was killed together with its guardian",
    .details =
        "Each agent that is found gets a line: left alone (its owner lives, or no\n"
        "record tells), kept (its lease is valid), thawed, ended, or forgotten (only\n"
        "files of it were left). What a record says of an agent without an owner is\n"
        "done: under `mete run` it is ended. May be called at any time.\n",
    .flags = kFlags,
    .main = GcCommand,
};

}  // namespace mete::cli
