// How a snapshot reads: for people, for programs, for a table of benchmarks.
#include <string>

#include "base/quote.h"
#include "memory/snapshot_text.h"
#include "memory/untracked.h"
#include "mete/host_budget_manager.h"
#include "mete/units.h"

namespace mete {

using snapshot::AddLine;
using snapshot::Fields;
using snapshot::Fixed;
using snapshot::JsonOf;
using snapshot::JsonString;

namespace {

std::string JsonOf(const FrameStatistics& frame) {
  Fields fields;
  fields.Count("frame", frame.frame);
  fields.Count("committed", frame.committed);
  fields.Count("committed_all", frame.committed_all);
  fields.Count("high_water", frame.high_water);
  fields.Count("size_hint", frame.size_hint);
  fields.Add("utilisation", Fixed(frame.utilisation, 4));
  fields.Count("requests", frame.requests);
  fields.Count("fallbacks", frame.fallbacks);
  fields.Count("late", frame.late);
  fields.Add("fallback_ratio", Fixed(frame.fallback_ratio, 6));
  fields.Add("late_ratio", Fixed(frame.late_ratio, 6));
  fields.Count("peak", frame.peak);
  fields.Count("total_requests", frame.total_requests);
  fields.Count("total_fallbacks", frame.total_fallbacks);
  return fields.Object();
}

}  // namespace

UntrackedMemory CountUntracked() noexcept {
  return {.counted = untracked::g_counted.load(),
          .allocations = untracked::g_allocations.load(),
          .live = untracked::g_live.load(),
          .live_bytes = untracked::g_live_bytes.load()};
}

std::string HostSnapshot::Text() const {
  std::string text;
  AddLine(text, "host", host);
  AddLine(text, "frames", frames);
  AddLine(text, "persistent", persistent);
  AddLine(text, "heap", heap);
  text += "frame " + std::to_string(frame.frame) + ": high water " +
          FormatBytes(static_cast<std::int64_t>(frame.high_water)) + " of " +
          FormatBytes(static_cast<std::int64_t>(frame.committed)) + " ready, utilisation " +
          Fixed(frame.utilisation * 100, 1) + " %, " + std::to_string(frame.requests) +
          " requests, " + Fixed(frame.fallback_ratio * 100, 2) + " % by the heap, " +
          Fixed(frame.late_ratio * 100, 2) + " % late, size hint " +
          FormatBytes(static_cast<std::int64_t>(frame.size_hint)) + "\n";
  if (deferred > 0) text += "deferred: " + std::to_string(deferred) + " objects\n";
  for (const HostOwnerUsage& owner : owners) {
    text += "owner " + Quoted(owner.name) + ": " + std::to_string(owner.count) + " allocations, " +
            FormatBytes(owner.bytes) + "\n";
  }
  if (untracked.counted) {
    text += "untracked: " + std::to_string(untracked.live) + " allocations, " +
            FormatBytes(untracked.live_bytes) + "\n";
  }
  return text;
}

std::string HostSnapshot::Json() const {
  Fields fields;
  fields.Add("host", JsonOf(host));
  fields.Add("frames", JsonOf(frames));
  fields.Add("persistent", JsonOf(persistent));
  fields.Add("heap", JsonOf(heap));
  fields.Add("frame", JsonOf(frame));
  fields.Count("persistent_committed", persistent_committed);
  fields.Add("deferred", deferred);
  std::string list;
  for (const HostOwnerUsage& owner : owners) {
    Fields one;
    one.Add("name", JsonString(owner.name));
    one.Add("count", owner.count);
    one.Add("bytes", owner.bytes);
    one.Add("heap", JsonOf(owner.heap));
    list += (list.empty() ? "" : ",") + one.Object();
  }
  fields.Add("owners", "[" + list + "]");
  if (untracked.counted) {
    Fields one;
    one.Add("allocations", untracked.allocations);
    one.Add("live", untracked.live);
    one.Add("live_bytes", untracked.live_bytes);
    fields.Add("untracked", one.Object());
  } else {
    fields.Add("untracked", "null");
  }
  return fields.Object();
}

std::string HostSnapshot::BenchRow() const {
  return "host_used=" + std::to_string(host.used) + " host_peak=" + std::to_string(host.peak) +
         " frames_used=" + std::to_string(frames.used) +
         " persistent_used=" + std::to_string(persistent.used) +
         " heap_used=" + std::to_string(heap.used) + " heap_peak=" + std::to_string(heap.peak) +
         " high_water=" + std::to_string(frame.high_water) +
         " utilisation=" + Fixed(frame.utilisation, 4) +
         " fallback_ratio=" + Fixed(frame.fallback_ratio, 6) +
         " late_ratio=" + Fixed(frame.late_ratio, 6);
}

}  // namespace mete
