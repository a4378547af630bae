#include "agent/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/quote.h"

namespace mete::agent {
namespace {

constexpr std::string_view kMagic = "mete-record";
constexpr std::uint64_t kVersion = 1;
// A record that holds more than this many is of no use to anyone; the rest is left out.
constexpr std::size_t kMostCauses = 16;

// CRC-32 as in ISO 3309, bit by bit: a record has some hundred bytes.
std::uint32_t Checksum(std::string_view text) {
  std::uint32_t crc = ~0u;
  for (unsigned char byte : text) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

// A value fits on its line.
std::string Escaped(std::string_view text) {
  std::string line;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '%') {
      fmt::format_to(std::back_inserter(line), "%{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

template <class Number>
bool Parse(std::string_view text, Number* number, int base = 10) {
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, *number, base);
  return parsed.ec == std::errc() && parsed.ptr == end;
}

std::string Unescaped(std::string_view line) {
  std::string text;
  while (!line.empty()) {
    unsigned byte = 0;
    if (line[0] == '%' && line.size() >= 3 && Parse(line.substr(1, 2), &byte, 16)) {
      text += static_cast<char>(byte);
      line.remove_prefix(3);
    } else {
      text += line[0];
      line.remove_prefix(1);
    }
  }
  return text;
}

std::string_view TakeUntil(std::string_view* rest, char separator) {
  const std::size_t end = rest->find(separator);
  const std::string_view word = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  return word;
}

constexpr Phase kPhases[] = {Phase::kStarting, Phase::kRunning, Phase::kSuspended, Phase::kEnding};
constexpr OrphanPolicy kOrphanPolicies[] = {OrphanPolicy::kEnd, OrphanPolicy::kThaw};

template <class Value, std::size_t kCount>
bool ParseName(std::string_view text, const Value (&all)[kCount], Value* value) {
  const auto found = std::ranges::find(all, text, [](Value one) { return NameOf(one); });
  if (found != std::end(all)) *value = *found;
  return found != std::end(all);
}

bool ParseProcess(std::string_view text, ProcessId* process) {
  return Parse(TakeUntil(&text, ' '), &process->pid) && Parse(text, &process->start);
}

bool ParseOptional(std::string_view text, std::optional<std::int64_t>* value) {
  return Parse(text, &value->emplace());
}

// "suspend agent tokens_per_hour run-1"; the limit of an operator is "-".
std::string CauseText(const Cause& cause) {
  return fmt::format("{} {} {} {}", NameOf(cause.action), NameOf(cause.account.scope),
                     cause.limit ? InfoOf(*cause.limit).name : "-", Escaped(cause.account.id));
}

bool ParseCause(std::string_view text, std::vector<Cause>* causes) {
  const std::optional<QuotaAction> action = FindAction(TakeUntil(&text, ' '));
  const std::optional<QuotaScope> scope = FindScope(TakeUntil(&text, ' '));
  const std::string_view limit = TakeUntil(&text, ' ');
  const std::optional<LimitKind> kind = FindLimit(limit);
  if (!action || !scope || (!kind && limit != "-")) return false;
  causes->push_back({{*scope, Unescaped(text)}, kind, *action});
  return true;
}

// The counters, in the order in which they are written.
constexpr std::int64_t ResourceUsage::* kCounters[] = {&ResourceUsage::cpu_ns,
                                                       &ResourceUsage::memory_bytes,
                                                       &ResourceUsage::memory_peak_bytes,
                                                       &ResourceUsage::gpu_memory_bytes,
                                                       &ResourceUsage::gpu_memory_peak_bytes,
                                                       &ResourceUsage::tokens_consumed,
                                                       &ResourceUsage::requests,
                                                       &ResourceUsage::cost_nano};

bool ParseCounters(std::string_view text, ResourceUsage* counters) {
  for (auto counter : kCounters) {
    if (!Parse(TakeUntil(&text, ' '), &(counters->*counter))) return false;
  }
  return true;
}

bool ParseLimitText(std::string_view text, AgentRecord* record) {
  const std::optional<LimitKind> kind = FindLimit(TakeUntil(&text, ' '));
  if (kind) record->limits[static_cast<std::size_t>(*kind)] = Unescaped(text);
  return true;  // a limit of a later version
}

bool ParseKernel(std::string_view key, std::string_view value, KernelLimits* kernel) {
  if (key == "kernel.cpu") return ParseOptional(value, &kernel->cpu_nanocores);
  if (key == "kernel.memory") return ParseOptional(value, &kernel->memory_max);
  if (key == "kernel.memory_line") return ParseOptional(value, &kernel->memory_line);
  if (key == "kernel.swap") return ParseOptional(value, &kernel->swap_max);
  if (key == "kernel.pids") return Parse(value, &kernel->pids_max);
  if (key == "kernel.die_together") kernel->die_together = value == "1";
  return true;
}

bool ParseLine(std::string_view key, std::string_view value, AgentRecord* record) {
  if (key.starts_with("kernel.")) return ParseKernel(key, value, &record->kernel);
  if (key == "id") record->id = Unescaped(value);
  if (key == "group") record->group = Unescaped(value);
  if (key == "boot") record->boot = Unescaped(value);
  if (key == "group_id") return Parse(value, &record->group_id);
  if (key == "pid_space") return Parse(value, &record->pid_space);
  if (key == "owner") return ParseProcess(value, &record->owner);
  if (key == "leader") return ParseProcess(value, &record->leader);
  if (key == "phase") return ParseName(value, kPhases, &record->phase);
  if (key == "orphan") return ParseName(value, kOrphanPolicies, &record->orphan);
  if (key == "cpu_rate") return ParseOptional(value, &record->cpu_rate);
  if (key == "limit") return ParseLimitText(value, record);
  if (key == "cause") return ParseCause(value, &record->causes);
  if (key == "counters") return ParseCounters(value, &record->counters);
  if (key == "lease_end") {
    std::int64_t end = 0;
    if (!Parse(value, &end)) return false;
    record->lease_end = Time(Duration(end));
  }
  return true;
}

std::unexpected<Error> Bad(const char* what) {
  return Fail(ErrorCode::kInvalidArgument, std::string("not a record of an agent: ") + what);
}

void AddKernel(std::string* text, const KernelLimits& kernel) {
  const auto add = [text](const char* key, const std::optional<std::int64_t>& value) {
    if (value) fmt::format_to(std::back_inserter(*text), "kernel.{} {}\n", key, *value);
  };
  add("cpu", kernel.cpu_nanocores);
  add("memory", kernel.memory_max);
  add("memory_line", kernel.memory_line);
  add("swap", kernel.swap_max);
  add("pids", kernel.pids_max);
  add("die_together", kernel.die_together ? 1 : 0);
}

}  // namespace

std::string_view NameOf(Phase phase) noexcept {
  switch (phase) {
    case Phase::kStarting: return "starting";
    case Phase::kRunning: return "running";
    case Phase::kSuspended: return "suspended";
    case Phase::kEnding: return "ending";
  }
  return "ending";
}

std::string_view NameOf(OrphanPolicy policy) noexcept {
  return policy == OrphanPolicy::kThaw ? "thaw" : "end";
}

std::string EncodeRecord(const AgentRecord& record) {
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "id {}\ngroup {}\ngroup_id {}\nboot {}\n", Escaped(record.id),
                 Escaped(record.group), record.group_id, Escaped(record.boot));
  fmt::format_to(out, "pid_space {}\nowner {} {}\nleader {} {}\n", record.pid_space,
                 record.owner.pid, record.owner.start, record.leader.pid, record.leader.start);
  fmt::format_to(out, "phase {}\norphan {}\n", NameOf(record.phase), NameOf(record.orphan));
  if (record.lease_end) {
    fmt::format_to(out, "lease_end {}\n", record.lease_end->time_since_epoch().count());
  }
  AddKernel(&text, record.kernel);
  if (record.cpu_rate) fmt::format_to(out, "cpu_rate {}\n", *record.cpu_rate);
  for (const LimitInfo& info : AllLimits()) {
    const std::string& limit = record.limits[static_cast<std::size_t>(info.kind)];
    if (!limit.empty()) fmt::format_to(out, "limit {} {}\n", info.name, Escaped(limit));
  }
  for (std::size_t i = 0; i < std::min(record.causes.size(), kMostCauses); ++i) {
    fmt::format_to(out, "cause {}\n", CauseText(record.causes[i]));
  }
  text += "counters";
  for (auto counter : kCounters) fmt::format_to(out, " {}", record.counters.*counter);
  text += '\n';
  return fmt::format("{} {} {} {} {:08x}\n{}", kMagic, kVersion, record.sequence, text.size(),
                     Checksum(text), text);
}

Result<AgentRecord> DecodeRecord(std::string_view text) {
  std::string_view first = TakeUntil(&text, '\n');
  std::uint64_t version = 0;
  std::size_t length = 0;
  std::uint32_t checksum = 0;
  AgentRecord record;
  if (TakeUntil(&first, ' ') != kMagic) return Bad("it does not begin like one");
  if (!Parse(TakeUntil(&first, ' '), &version)) return Bad("it has no version");
  if (version != kVersion) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a record of an agent of another version: allowed {}, given {}",
                            kVersion, version));
  }
  if (!Parse(TakeUntil(&first, ' '), &record.sequence) || !Parse(TakeUntil(&first, ' '), &length) ||
      !Parse(first, &checksum, 16)) {
    return Bad("its first line is incomplete");
  }
  if (length > text.size()) return Bad("it is cut short");
  text = text.substr(0, length);
  if (Checksum(text) != checksum) return Bad("its checksum is wrong");
  while (!text.empty()) {
    std::string_view line = TakeUntil(&text, '\n');
    const std::string_view key = TakeUntil(&line, ' ');
    if (!ParseLine(key, line, &record)) {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("not a record of an agent: {} cannot be {}", Quoted(key), Quoted(line)));
    }
  }
  if (record.id.empty() || record.group.empty()) return Bad("it names no agent");
  return record;
}

}  // namespace mete::agent
