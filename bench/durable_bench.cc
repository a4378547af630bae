// Reports that are kept in a state folder, beside reports that are not, and beside SQLite alone.
//
//   durable_report_{1k,100k}/*   one thread that reports for a while to so many agents at random;
//                                `oldest_ms`: the oldest report that was not on disk meanwhile
//   durable_flush/mete           100,000 agents that changed, all written
//   durable_sync_{1,64}/*        so many clients, each report on disk before it is answered; beside
//                                transactions that each hold the rows of all of them
//   durable_start/*              1,000,000 agents, beside a SELECT that fetches every column
//
// The folders lie in the working directory, which should be on a disk. METE_SMOKE: little of it.
#include <benchmark/benchmark.h>
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "mete/resource_manager.h"
#include "mete/store.h"

namespace mete::bench {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::abort();
}

template <class T>
T Must(Result<T> result) {
  if (!result) Die(result.error().ToString());
  return *std::move(result);
}
void Must(const Result<void>& result) {
  if (!result) Die(result.error().ToString());
}

bool IsSmoke() { return std::getenv("METE_SMOKE") != nullptr; }

std::string NameOf(const char* what, int i) {
  char text[48];
  std::snprintf(text, sizeof text, "%s-%08d", what, i);
  return text;
}

double SecondsSince(Steady::time_point began) {
  return std::chrono::duration<double>(Steady::now() - began).count();
}

// A folder that is removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::current_path() / "durable_bench.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) Die("cannot make " + name);
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

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

// Agents in sessions of 100 in tenants of 100.
struct Tree {
  Tree(int agents, Durability durability) {
    Open(durability);
    const ResourceLimits limits = FarLimits();
    for (int i = 0; i < agents; ++i) {
      QuotaOptions in;
      if (i % 10'000 == 0) {
        Must(manager->CreateQuota({QuotaScope::kTenant, NameOf("tenant", i / 10'000)}));
      }
      if (i % 100 == 0) {
        in.parent = TargetName{QuotaScope::kTenant, NameOf("tenant", i / 10'000)};
        Must(manager->CreateQuota({QuotaScope::kSession, NameOf("session", i / 100)}, {}, in));
      }
      in.parent = TargetName{QuotaScope::kSession, NameOf("session", i / 100)};
      const std::string name = NameOf("agent", i);
      Must(manager->CreateQuota(name, limits, in));
      handles.push_back(Must(manager->Resolve(name)));
    }
    Must(manager->Flush());
  }
  void Open(Durability durability) {
    ManagerConfig config;
    config.durability = durability;
    config.store_timeout = std::chrono::minutes(1);
    auto store = Must(OpenStore(folder / "state"));
    manager = Must(ResourceManager::Create(config, SystemClock::Instance(), std::move(store)));
  }

  Folder folder;
  std::unique_ptr<ResourceManager> manager;
  std::vector<QuotaHandle> handles;
};

// Made once for all repetitions.
Tree& TreeOf(int agents, Durability durability) {
  static std::map<std::pair<int, Durability>, std::unique_ptr<Tree>> trees;
  std::unique_ptr<Tree>& tree = trees[{agents, durability}];
  if (!tree) tree = std::make_unique<Tree>(agents, durability);
  return *tree;
}

void Reports(benchmark::State& state, int agents, Durability durability) {
  Tree& tree = TreeOf(agents, durability);
  std::mt19937 random(20260101);
  std::vector<QuotaHandle> order(1 << 17);
  for (QuotaHandle& handle : order) handle = tree.handles[random() % tree.handles.size()];
  Duration oldest{0};
  for (auto _ : state) {
    const Steady::time_point began = Steady::now();
    const double length = IsSmoke() ? 0.1 : 0.5;
    std::int64_t reports = 0;
    while (SecondsSince(began) < length) {
      for (int i = 0; i < 4096; ++i, ++reports) {
        benchmark::DoNotOptimize(tree.manager->ReportUsage(
            order[static_cast<std::size_t>(reports) % order.size()], AmountsAt(i)));
      }
      oldest = std::max(oldest, tree.manager->store_status().oldest_unwritten);
    }
    state.SetIterationTime(SecondsSince(began) / static_cast<double>(reports));
  }
  Must(tree.manager->Flush());  // so that none writes while the other is measured
  state.counters["oldest_ms"] = std::chrono::duration<double, std::milli>(oldest).count();
}

void Flush(benchmark::State& state) {
  Tree& tree = TreeOf(100'000, Durability::kNone);
  int round = 0;
  for (auto _ : state) {
    ++round;
    for (const QuotaHandle handle : tree.handles) {
      Must(tree.manager->ReportUsage(handle, AmountsAt(round)));
    }
    const Steady::time_point began = Steady::now();
    Must(tree.manager->Flush());
    state.SetIterationTime(SecondsSince(began));
  }
}

// Per report, of all clients together.
void Sync(benchmark::State& state, int clients) {
  Tree& tree = TreeOf(clients, Durability::kSync);
  const double length = IsSmoke() ? 0.05 : 0.5;
  for (auto _ : state) {
    std::atomic<bool> stop{false};
    std::vector<std::vector<double>> took(static_cast<std::size_t>(clients));
    const Steady::time_point began = Steady::now();
    {
      std::vector<std::jthread> threads;
      for (std::size_t client = 0; client < took.size(); ++client) {
        threads.emplace_back([&, client] {
          for (int i = 0; !stop; ++i) {
            const Steady::time_point asked = Steady::now();
            Must(tree.manager->ReportUsage(tree.handles[client], AmountsAt(i)));
            took[client].push_back(SecondsSince(asked));
          }
        });
      }
      std::this_thread::sleep_for(std::chrono::duration<double>(length));
      stop = true;
    }
    const double seconds = SecondsSince(began);
    std::vector<double> all;
    for (const auto& one : took) all.insert(all.end(), one.begin(), one.end());
    const auto p99 = all.begin() + static_cast<std::ptrdiff_t>(all.size() * 99 / 100);
    std::nth_element(all.begin(), p99, all.end());
    state.SetIterationTime(seconds / static_cast<double>(all.size()));
    state.counters["p99_ms"] = *p99 * 1e3;
  }
}

// SQLite

struct Closer {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, Closer>;
using Query = std::unique_ptr<sqlite3_stmt, Closer>;

Database OpenDatabase(const std::string& path, int flags) {
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &database, flags, nullptr);
  if (code != SQLITE_OK) Die("cannot open " + path);
  return Database(database);
}

void Run(sqlite3* database, const char* text) {
  if (sqlite3_exec(database, text, nullptr, nullptr, nullptr) != SQLITE_OK) {
    Die(std::string(text) + ": " + sqlite3_errmsg(database));
  }
}

Query Prepare(sqlite3* database, const std::string& text) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database, text.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
    Die(text + ": " + sqlite3_errmsg(database));
  }
  return Query(statement);
}

// Transactions one after the other, each with a row for every client and for what is above them, as
// wide as mete's; per client.
void RawSync(benchmark::State& state, int clients) {
  const Folder folder;
  const Database database =
      OpenDatabase(folder / "raw.db", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  Run(database.get(), "PRAGMA journal_mode = WAL");
  Run(database.get(), "PRAGMA synchronous = FULL");
  Run(database.get(), "CREATE TABLE usage (slot INTEGER PRIMARY KEY, state BLOB)");
  const Query put = Prepare(database.get(),
                            "INSERT INTO usage VALUES (?, ?) ON CONFLICT (slot) "
                            "DO UPDATE SET state = excluded.state");
  const double length = IsSmoke() ? 0.05 : 0.5;
  std::vector<double> commits;
  for (auto _ : state) {
    std::int64_t done = 0;
    const Steady::time_point began = Steady::now();
    while (SecondsSince(began) < length) {
      const Steady::time_point asked = Steady::now();
      Run(database.get(), "BEGIN IMMEDIATE");
      for (int slot = 0; slot < clients + 2; ++slot) {
        char row[64] = {};
        std::snprintf(row, sizeof row, "%lld", static_cast<long long>(done));
        sqlite3_bind_int(put.get(), 1, slot);
        sqlite3_bind_blob(put.get(), 2, row, sizeof row, SQLITE_STATIC);
        if (sqlite3_step(put.get()) != SQLITE_DONE) Die(sqlite3_errmsg(database.get()));
        sqlite3_reset(put.get());
      }
      Run(database.get(), "COMMIT");
      commits.push_back(SecondsSince(asked));
      done += clients;
    }
    state.SetIterationTime(SecondsSince(began) / static_cast<double>(done));
  }
  const auto middle = commits.begin() + static_cast<std::ptrdiff_t>(commits.size() / 2);
  std::nth_element(commits.begin(), middle, commits.end());
  state.counters["commit_ms"] = *middle * 1e3;
}

Tree& StartTree() {
  static Tree tree(IsSmoke() ? 10'000 : 1'000'000, Durability::kNone);
  tree.manager.reset();  // the state folder is free
  return tree;
}

void Start(benchmark::State& state) {
  Tree& tree = StartTree();
  for (auto _ : state) {
    const Steady::time_point began = Steady::now();
    tree.Open(Durability::kNone);
    state.SetIterationTime(SecondsSince(began));
    tree.manager.reset();
  }
}

void RawStart(benchmark::State& state) {
  Tree& tree = StartTree();
  for (auto _ : state) {
    const Steady::time_point began = Steady::now();
    const Database database =
        OpenDatabase((tree.folder / "state") + "/ledger.db", SQLITE_OPEN_READONLY);
    std::int64_t bytes = 0;
    for (const char* table : {"quotas", "usage"}) {
      const Query all = Prepare(database.get(), std::string("SELECT * FROM ") + table);
      const int columns = sqlite3_column_count(all.get());
      while (sqlite3_step(all.get()) == SQLITE_ROW) {
        for (int i = 0; i < columns; ++i) {
          switch (sqlite3_column_type(all.get(), i)) {
            case SQLITE_INTEGER: bytes += sqlite3_column_int64(all.get(), i) & 7; break;
            case SQLITE_NULL: break;
            default:
              benchmark::DoNotOptimize(sqlite3_column_blob(all.get(), i));
              bytes += sqlite3_column_bytes(all.get(), i);
          }
        }
      }
    }
    benchmark::DoNotOptimize(bytes);
    state.SetIterationTime(SecondsSince(began));
  }
}

void Register(const std::string& name, std::function<void(benchmark::State&)> run,
              benchmark::TimeUnit unit) {
  benchmark::RegisterBenchmark(name.c_str(), std::move(run))
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(unit);
}

}  // namespace

void RegisterAll() {
  for (const int agents : {1'000, 100'000}) {
    const std::string name = agents == 1'000 ? "durable_report_1k/" : "durable_report_100k/";
    for (const Durability durability : {Durability::kBounded, Durability::kNone}) {
      Register(
          name + std::string(NameOf(durability)),
          [=](benchmark::State& state) { Reports(state, agents, durability); },
          benchmark::kNanosecond);
    }
  }
  Register("durable_flush/mete", Flush, benchmark::kMillisecond);
  for (const int clients : {1, 64}) {
    const std::string name = "durable_sync_" + std::to_string(clients);
    Register(
        name + "/mete", [=](benchmark::State& state) { Sync(state, clients); },
        benchmark::kMicrosecond);
    Register(
        name + "/raw", [=](benchmark::State& state) { RawSync(state, clients); },
        benchmark::kMicrosecond);
  }
  Register("durable_start/mete", Start, benchmark::kMillisecond);
  Register("durable_start/raw", RawStart, benchmark::kMillisecond);
}

}  // namespace mete::bench

int main(int count, char** values) {
  benchmark::Initialize(&count, values);
  mete::bench::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
