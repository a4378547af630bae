// Reports of CPU time, memory and tokens to an agent in a session in a tenant, beside the same
// bookkeeping without limits: nine relaxed additions, after a lookup by name in a
// boost::unordered_flat_map, or on records that are known.
//
//   report_name_*, report_handle_*   1 agent, and 100,000 at random in 10,000 sessions of 100
//   tenants report_2t_*                      both threads, each with an agent of its own; per
//   operation of one agent_memory                     `bytes` per account at 100,000 agents with
//   three limits
#include <benchmark/benchmark.h>
#include <malloc.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bursts.h"
#include "mete/resource_manager.h"

namespace mete::bench {
namespace {

constexpr int kAgents = 100'000;
constexpr int kSessions = 10'000;
constexpr int kTenants = 100;

[[noreturn]] void Die(const Error& error) {
  std::fprintf(stderr, "%s\n", error.ToString().c_str());
  std::abort();
}

template <class T>
T Must(Result<T> result) {
  if (!result) Die(result.error());
  return *std::move(result);
}

std::string NameOf(const char* what, int i) {
  char text[48];
  std::snprintf(text, sizeof text, "%s-%08d", what, i);
  return text;
}

// Limits that are never reached: what is measured is the usual case.
ResourceLimits FarLimits() {
  ResourceLimits limits;
  limits[LimitKind::kCpu] = Must(ParseLimit(LimitKind::kCpu, "100000"));
  limits[LimitKind::kMemory] = Must(ParseLimit(LimitKind::kMemory, "64Gi"));
  limits[LimitKind::kTokensPerHour] = Must(ParseLimit(LimitKind::kTokensPerHour, "1P"));
  return limits;
}

Amounts AmountsAt(int i) {
  return Amounts()
      .Set(Resource::kCpu, 1'000'000 + i)
      .Set(Resource::kMemory, (64 << 20) + (i & 1023) * 4096)
      .Set(Resource::kTokens, 150 + (i & 63));
}

// The order in which agents report, the same for everyone.
const std::vector<std::uint32_t>& Order() {
  static const auto order = [] {
    std::vector<std::uint32_t> made(1 << 18);
    std::mt19937 random(20260101);
    for (auto& index : made) index = static_cast<std::uint32_t>(random() % kAgents);
    return made;
  }();
  return order;
}

struct MeteTree {
  explicit MeteTree(int agents) : manager(Must(ResourceManager::Create({}))) {
    const int sessions = std::min(agents, kSessions), tenants = std::min(agents, kTenants);
    const ResourceLimits limits = FarLimits();
    for (int i = 0; i < tenants; ++i) {
      Must(manager->CreateQuota({QuotaScope::kTenant, NameOf("tenant", i)}));
    }
    for (int i = 0; i < sessions; ++i) {
      QuotaOptions in;
      in.parent = TargetName{QuotaScope::kTenant, NameOf("tenant", i % tenants)};
      Must(manager->CreateQuota({QuotaScope::kSession, NameOf("session", i)}, {}, in));
    }
    for (int i = 0; i < agents; ++i) {
      QuotaOptions in;
      in.parent = TargetName{QuotaScope::kSession, NameOf("session", i % sessions)};
      names.push_back(NameOf("agent", i));
      Must(manager->CreateQuota(names.back(), limits, in));
      handles.push_back(Must(manager->Resolve(names.back())));
    }
  }

  std::unique_ptr<ResourceManager> manager;
  std::vector<std::string> names;
  std::vector<QuotaHandle> handles;
};

struct BareTree {
  struct alignas(64) Record {
    std::atomic<std::int64_t> cpu{0}, memory{0}, tokens{0};
    Record* parent = nullptr;

    void Report(const Amounts& amounts) {
      for (Record* at = this; at != nullptr; at = at->parent) {
        at->cpu.fetch_add(amounts.Get(Resource::kCpu), std::memory_order_relaxed);
        at->memory.fetch_add(amounts.Get(Resource::kMemory), std::memory_order_relaxed);
        at->tokens.fetch_add(amounts.Get(Resource::kTokens), std::memory_order_relaxed);
      }
    }
  };

  explicit BareTree(int agents) : records(static_cast<std::size_t>(agents + kSessions + kTenants)) {
    const int sessions = std::min(agents, kSessions), tenants = std::min(agents, kTenants);
    Record* const first_session = records.data() + kTenants;
    Record* const first_agent = first_session + kSessions;
    for (int i = 0; i < sessions; ++i) first_session[i].parent = &records[i % tenants];
    for (int i = 0; i < agents; ++i) {
      first_agent[i].parent = &first_session[i % sessions];
      names.push_back(NameOf("agent", i));
      by_name.emplace(names.back(), &first_agent[i]);
      known.push_back(&first_agent[i]);
    }
  }

  std::vector<Record> records;
  boost::unordered_flat_map<std::string, Record*> by_name;
  std::vector<std::string> names;
  std::vector<Record*> known;
};

std::size_t At(int agents, int i) {
  return agents == 1 ? 0 : Order()[static_cast<std::size_t>(i) % Order().size()];
}

void MeteByName(benchmark::State& state) {
  const auto agents = static_cast<int>(state.range(0));
  MeteTree tree(agents);
  int i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(tree.manager->ReportUsage(tree.names[At(agents, i)], AmountsAt(i)));
    ++i;
  }
}
BENCHMARK(MeteByName)->Name("report_name/mete")->Arg(1)->Arg(kAgents);

void BareByName(benchmark::State& state) {
  const auto agents = static_cast<int>(state.range(0));
  BareTree tree(agents);
  int i = 0;
  for (auto _ : state) {
    tree.by_name.find(tree.names[At(agents, i)])->second->Report(AmountsAt(i));
    ++i;
  }
}
BENCHMARK(BareByName)->Name("report_name/bare")->Arg(1)->Arg(kAgents);

void MeteByHandle(benchmark::State& state) {
  const auto agents = static_cast<int>(state.range(0));
  MeteTree tree(agents);
  int i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(tree.manager->ReportUsage(tree.handles[At(agents, i)], AmountsAt(i)));
    ++i;
  }
}
BENCHMARK(MeteByHandle)->Name("report_handle/mete")->Arg(1)->Arg(kAgents);

void BareKnown(benchmark::State& state) {
  const auto agents = static_cast<int>(state.range(0));
  BareTree tree(agents);
  int i = 0;
  for (auto _ : state) {
    tree.known[At(agents, i)]->Report(AmountsAt(i));
    ++i;
  }
}
BENCHMARK(BareKnown)->Name("report_handle/bare")->Arg(1)->Arg(kAgents);

void TwoThreads(benchmark::State& state, int first, int second) {
  MeteTree tree(kTenants + 1);  // the last agent shares session and tenant with the first
  const std::array<QuotaHandle, 2> handles = {tree.handles[static_cast<std::size_t>(first)],
                                              tree.handles[static_cast<std::size_t>(second)]};
  for (auto _ : state) {
    const BurstResult result = MeasureBursts(
        2000, 60, 1500,
        [&](int self, int count) {
          const QuotaHandle handle = handles[static_cast<std::size_t>(self)];
          for (int i = 0; i < count; ++i) {
            benchmark::DoNotOptimize(tree.manager->ReportUsage(handle, AmountsAt(i)));
          }
        },
        [] {});
    if (result.counted == 0) {
      state.SkipWithError("no burst in which both threads ran without preemption");
      return;
    }
    state.SetIterationTime(result.median_ns * 1e-9);
    state.counters["bursts"] = result.counted;
  }
}
void TwoTenants(benchmark::State& state) { TwoThreads(state, 0, 1); }
BENCHMARK(TwoTenants)->Name("report_2t/two_tenants")->UseManualTime()->Iterations(1);
void OneTenant(benchmark::State& state) { TwoThreads(state, 0, kTenants); }
BENCHMARK(OneTenant)->Name("report_2t/one_tenant")->UseManualTime()->Iterations(1);

std::int64_t ResidentBytes() {
  long total = 0, resident = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%ld %ld", &total, &resident) != 2) std::abort();
  std::fclose(file);
  return resident * sysconf(_SC_PAGESIZE);
}

// Every account has the three limits; names are 31 bytes long.
void AgentMemory(benchmark::State& state) {
  double bytes = 0;
  for (auto _ : state) {
    const ResourceLimits limits = FarLimits();
    malloc_trim(0);  // what other rows left would serve this one, and not be seen
    const std::int64_t before = ResidentBytes();
    auto manager = Must(ResourceManager::Create({}));
    Must(manager->CreateQuota({QuotaScope::kTenant, "tenant"}));
    QuotaOptions in;
    for (int i = 0; i < kAgents; ++i) {
      if (i % 10 == 0) {
        const std::string session = NameOf("session-of-31-bytes-12", i / 10);
        in.parent = TargetName{QuotaScope::kTenant, "tenant"};
        Must(manager->CreateQuota({QuotaScope::kSession, session}, limits, in));
        in.parent = TargetName{QuotaScope::kSession, session};
      }
      Must(manager->CreateQuota(NameOf("an-agent-of-31-bytes-1", i), limits, in));
    }
    bytes = static_cast<double>(ResidentBytes() - before) / kAgents;
  }
  state.counters["bytes"] = bytes;
}
BENCHMARK(AgentMemory)->Name("agent_memory/mete")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mete::bench

BENCHMARK_MAIN();
