// How a snapshot of a device reads: for people, for programs, for a table of benchmarks.
#include <algorithm>
#include <string>
#include <string_view>

#include "base/quote.h"
#include "memory/device_parts.h"
#include "memory/snapshot_text.h"

namespace mete {

using snapshot::AddLine;
using snapshot::Fields;
using snapshot::JsonOf;
using snapshot::JsonString;
using std::memory_order_acquire;
using std::memory_order_relaxed;

DeviceSnapshot DeviceBudgetManager::snapshot() const {
  DeviceSnapshot shot;
  Parts& parts = *parts_;
  {
    const std::lock_guard lock(parts.frame_lock);
    shot.device = device_.snapshot();
    shot.frame = parts.Frame(device_);
    shot.device.peak = std::max(shot.device.peak, parts.peak_before);
  }
  const DeviceMemoryLayout& layout = allocator_->layout();
  const MemoryStatistics statistics = allocator_->Statistics();
  {
    const std::lock_guard lock(parts.limits_lock);
    for (std::uint32_t heap = 0; heap < layout.heap_count; ++heap) {
      shot.heaps.push_back({parts.heaps[heap].budget->snapshot(), layout.heaps[heap].bytes,
                            layout.heaps[heap].device_local, statistics[heap],
                            parts.heaps[heap].driver});
    }
    shot.driver_asked = parts.driver_asked;
    if (parts.driver_answered) {
      shot.driver_age = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::steady_clock::now() - *parts.driver_answered);
    }
  }
  for (std::size_t kind = 0; kind < kDeviceKinds; ++kind) {
    shot.kinds[kind] = parts.kinds[kind]->snapshot();
  }
  for (const DeviceOwner* owner = parts.owners.load(memory_order_acquire); owner != nullptr;
       owner = owner->next_) {
    shot.owners.push_back({owner->name(), owner->live_count(), owner->budget().snapshot()});
  }
  std::ranges::sort(shot.owners, {}, &DeviceOwnerUsage::name);
  shot.refusals = parts.refusals.load(memory_order_relaxed);
  shot.evictions = parts.evictions.load(memory_order_relaxed);
  return shot;
}

std::string DeviceSnapshot::Text() const {
  std::string text;
  AddLine(text, "device", device);
  for (std::size_t heap = 0; heap < heaps.size(); ++heap) {
    AddLine(text, "heap " + std::to_string(heap), heaps[heap].blocks);
  }
  for (std::size_t kind = 0; kind < kDeviceKinds; ++kind) {
    AddLine(text, kDeviceKindNames[kind], kinds[kind]);
  }
  text += "frame " + std::to_string(frame.frame) + ": " + std::to_string(frame.created) +
          " created, " + FormatBytes(frame.created_bytes) + " taken, " +
          FormatBytes(frame.freed_bytes) + " freed, " + std::to_string(refusals) + " refused and " +
          std::to_string(evictions) + " evicted so far\n";
  for (const DeviceOwnerUsage& owner : owners) {
    text += "owner " + Quoted(owner.name) + ": " + std::to_string(owner.count) + " resources, " +
            FormatBytes(owner.usage.used) + "\n";
  }
  if (driver_age.count() >= 0) {
    text += "driver: asked " + std::to_string(driver_asked) + " times, " +
            std::to_string(driver_age.count()) + " ms ago\n";
  }
  return text;
}

std::string DeviceSnapshot::Json() const {
  Fields fields;
  fields.Add("device", JsonOf(device));
  std::string list;
  for (const DeviceHeapUsage& heap : heaps) {
    Fields one;
    one.Add("blocks", JsonOf(heap.blocks));
    one.Add("bytes", heap.bytes);
    one.Add("device_local", heap.device_local ? "true" : "false");
    one.Add("block_count", heap.statistics.blocks);
    one.Add("allocations", heap.statistics.allocations);
    one.Add("allocation_bytes", heap.statistics.allocation_bytes);
    one.Count("driver_budget", heap.driver.budget);
    one.Count("driver_usage", heap.driver.usage);
    list += (list.empty() ? "" : ",") + one.Object();
  }
  fields.Add("heaps", "[" + list + "]");
  for (std::size_t kind = 0; kind < kDeviceKinds; ++kind) {
    fields.Add(kDeviceKindNames[kind], JsonOf(kinds[kind]));
  }
  Fields of_frame;
  of_frame.Count("frame", frame.frame);
  of_frame.Add("created", frame.created);
  of_frame.Add("created_bytes", frame.created_bytes);
  of_frame.Add("freed_bytes", frame.freed_bytes);
  of_frame.Add("net_bytes", frame.net_bytes);
  of_frame.Add("peak_block_bytes", frame.peak_block_bytes);
  fields.Add("frame", of_frame.Object());
  list.clear();
  for (const DeviceOwnerUsage& owner : owners) {
    Fields one;
    one.Add("name", JsonString(owner.name));
    one.Add("count", owner.count);
    one.Add("usage", JsonOf(owner.usage));
    list += (list.empty() ? "" : ",") + one.Object();
  }
  fields.Add("owners", "[" + list + "]");
  fields.Add("refusals", refusals);
  fields.Add("evictions", evictions);
  fields.Add("driver_asked", driver_asked);
  fields.Add("driver_age_ms", std::int64_t{driver_age.count()});
  return fields.Object();
}

std::string DeviceSnapshot::BenchRow() const {
  std::string row;
  const auto add = [&row](std::string_view of, std::string_view what, std::int64_t value) {
    if (!row.empty()) row += ' ';
    row.append(of).append(what).append("=").append(std::to_string(value));
  };
  add("device", "_used", device.used);
  add("device", "_peak", device.peak);
  for (std::size_t heap = 0; heap < heaps.size(); ++heap) {
    const std::string name = "heap" + std::to_string(heap);
    add(name, "_used", heaps[heap].blocks.used);
    add(name, "_peak", heaps[heap].blocks.peak);
  }
  for (std::size_t kind = 0; kind < kDeviceKinds; ++kind) {
    add(kDeviceKindNames[kind], "_used", kinds[kind].used);
  }
  add("refusals", "", refusals);
  return row;
}

}  // namespace mete
