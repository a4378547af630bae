// The values in which usage goes in and comes out: whose, of what, how much.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "mete/quota.h"

namespace mete {

// The accounts that can have a quota, named by scope and id. A view: the text outlives the call.
struct Target {
  constexpr Target(std::string_view agent) noexcept : id(agent) {}  // NOLINT: reads as the agent
  constexpr Target(const char* agent) noexcept : id(agent) {}       // NOLINT
  Target(const std::string& agent) noexcept : id(agent) {}          // NOLINT
  constexpr Target(QuotaScope scope_in, std::string_view id_in) noexcept
      : scope(scope_in), id(id_in) {}

  QuotaScope scope = QuotaScope::kAgent;
  std::string_view id;
};

// The same with a text of its own.
struct TargetName {
  QuotaScope scope = QuotaScope::kAgent;
  std::string id;

  operator Target() const noexcept { return {scope, id}; }  // NOLINT: the view of it
  std::string ToString() const;                             // "session nightly"
  friend bool operator==(const TargetName&, const TargetName&) = default;
};

// A set of resources.
class ResourceSet {
 public:
  constexpr ResourceSet() noexcept = default;
  constexpr ResourceSet(std::initializer_list<Resource> resources) noexcept {
    for (const Resource resource : resources) Insert(resource);
  }

  constexpr void Insert(Resource resource) noexcept {
    bits_ = static_cast<std::uint8_t>(bits_ | Bit(resource));
  }
  constexpr bool Has(Resource resource) const noexcept { return (bits_ & Bit(resource)) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  constexpr ResourceSet operator&(ResourceSet other) const noexcept {
    return ResourceSet(bits_ & other.bits_);
  }
  constexpr ResourceSet operator+(ResourceSet other) const noexcept {
    return ResourceSet(bits_ | other.bits_);
  }
  constexpr ResourceSet operator-(ResourceSet other) const noexcept {
    return ResourceSet(bits_ & ~other.bits_);
  }
  friend bool operator==(const ResourceSet&, const ResourceSet&) = default;

 private:
  explicit constexpr ResourceSet(int bits) noexcept : bits_(static_cast<std::uint8_t>(bits)) {}
  static constexpr int Bit(Resource resource) noexcept { return 1 << static_cast<int>(resource); }

  std::uint8_t bits_ = 0;
};

// In the order of the enumeration.
template <class Function>
constexpr void ForEachResource(ResourceSet resources, Function&& function) {
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (resources.Has(resource)) function(resource);
  }
}

// Amounts of some resources, in base units: nanoseconds, bytes, counts, nano-units of money. One
// that is not named is not looked at (rule 9), which is not the same as zero.
class Amounts {
 public:
  constexpr Amounts() noexcept = default;

  constexpr Amounts& Set(Resource resource, std::int64_t amount) noexcept {
    values_[static_cast<std::size_t>(resource)] = amount;
    named_.Insert(resource);
    return *this;
  }
  constexpr bool Has(Resource resource) const noexcept { return named_.Has(resource); }
  constexpr ResourceSet named() const noexcept { return named_; }
  // 0 for one that is not named.
  constexpr std::int64_t Get(Resource resource) const noexcept {
    return values_[static_cast<std::size_t>(resource)];
  }
  friend bool operator==(const Amounts&, const Amounts&) = default;

 private:
  std::array<std::int64_t, kResourceCount> values_{};  // 0 where not named
  ResourceSet named_;
};

// Reported by the target itself, or sampled by mete from outside: they differ in the grace that a
// soft limit gives (rule 10), and in what a target that is measured may say (rule 15).
enum class Source : std::uint8_t { kReported, kSampled };

// What was used: in the main window (`ResourceQuota::usage`), or since the account was created
// (`ResourceManager::GetUsage`). Levels are what is held now; their peaks are of that same span.
struct ResourceUsage {
  std::int64_t cpu_ns = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t memory_peak_bytes = 0;
  std::int64_t gpu_memory_bytes = 0;
  std::int64_t gpu_memory_peak_bytes = 0;
  std::int64_t tokens_consumed = 0;
  std::int64_t requests = 0;
  std::int64_t cost_nano = 0;

  double cpu_seconds() const noexcept { return static_cast<double>(cpu_ns) / 1e9; }
  double memory_peak_mb() const noexcept {  // MiB
    return static_cast<double>(memory_peak_bytes) / (1 << 20);
  }
  friend bool operator==(const ResourceUsage&, const ResourceUsage&) = default;
};
using QuotaUsage = ResourceUsage;

}  // namespace mete
