// What a ResourceManager keeps over a restart, and the interface to where it is kept.
//
// The manager is the authority while it lives; a store is where it comes from and goes to. It
// writes by batches: what changed since the last one, as absolute values, each batch the state of
// whole trees between two of their steps, with the events of those steps. So the same batch, or a
// later one, may be written again after a failure, and nothing is counted twice.
//
// Two stores: OpenStore's on a folder, and NewMemoryStore's for tests and for what need not last.
// Whoever writes another one has the contract below, which src/quota/store_contract_test.h tests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/clock.h"
#include "mete/error.h"
#include "mete/quota.h"
#include "mete/quota_event.h"

namespace mete {

// Where the manager keeps an account, from its creation to its removal; then another may get it.
using AccountSlot = std::uint32_t;

// An account as it was asked for: written when it is created, and when that changes.
struct StoredQuota {
  AccountSlot slot = 0;
  std::optional<AccountSlot> parent = std::nullopt;
  TargetName target{};
  ResourceLimits limits{};  // those that are set
  PolicySet policies{};
  Duration window{};  // the main one
};

// What accounts have used, their windows, warnings and causes: of each account so many bytes, in a
// form that is the manager's own.
struct StoredStates {
  struct Size {
    AccountSlot slot = 0;
    std::uint32_t bytes = 0;
  };
  std::vector<Size> sizes;  // each slot at most once, in no order
  std::string bytes;        // of one after the other
};

// A reservation. One that was settled stays for a while, for its answer.
struct StoredHold {
  std::uint64_t id = 0;
  AccountSlot account = 0;
  Amounts reserved{};
  std::optional<Time> ends = std::nullopt;  // by its time to live
  bool is_detached = false;                 // outlives the process that reserved
  bool is_settled = false;
  Amounts used{}, above_hold{};  // once it is
};

// An idempotency key that was used (rule 17).
struct StoredKey {
  AccountSlot account = 0;
  std::string key{};
  std::uint64_t content = 0;  // a hash of what was asked with it
  std::uint64_t hold = 0;     // the hold that it made, or 0
  Time time{};                // of its use
};

// The moment of a batch. Times in a store are of the boot that the mark names; the wall clock leads
// over a reboot (rule 7).
struct StoredMark {
  std::uint64_t batch = 0;  // 1, 2, .. without gaps; 0: nothing was ever written
  Time time{};
  WallTime wall_time{};
  std::string boot_id{};
  std::uint64_t last_event = 0;  // the number of the last event that was ever raised
  std::uint64_t last_hold = 0;   // and of the last hold
};

// What one transaction makes durable. Of an account that was removed and whose slot was given away
// in the same batch, `removed` comes first.
struct StoreBatch {
  StoredMark mark{};
  std::vector<AccountSlot> removed{};  // with their states; what else is of them is named itself
  std::vector<StoredQuota> quotas{};   // new or changed
  StoredStates states{};
  std::vector<StoredHold> holds{};  // new or changed
  std::vector<std::uint64_t> ended_holds{};
  std::vector<StoredKey> keys{};
  std::vector<StoredKey> ended_keys{};  // account and key are looked at
  // By rising numbers, not each of them, and above those of earlier batches; of a batch that failed
  // they may come again.
  std::vector<Event> events{};
};

// What Load hands over, each kind completely before the next. What is handed over may be moved
// from. The views end with the call. A visitor that answers an error ends the loading.
struct StoreVisitor {
  std::function<Result<void>(StoredQuota&)> quota;                         // by rising slots
  std::function<Result<void>(AccountSlot, std::string_view bytes)> state;  // in no order
  std::function<Result<void>(StoredHold&)> hold;                           // by rising ids
  std::function<Result<void>(StoredKey&)> key;                             // by rising times
  std::function<Result<void>(Event&)> event;  // the last ones, by rising numbers
};

// Thread safety: one thread at a time.
class Store {
 public:
  virtual ~Store() = default;

  // Everything that was written, and the mark of the last batch. Of the events the last `events`.
  // E2079: it cannot be read; or it is damaged, with what is wrong and where the latest backup is:
  // never a part of it without an error.
  virtual Result<StoredMark> Load(const StoreVisitor& visitor, std::size_t events) = 0;

  // All of it or nothing, on disk when this returns. E2079: it could not be written, or it is not
  // known whether it was; the next Write, with the same content or later one, mends that by itself
  // once the disk can be written again. REQUIRES: Load succeeded; batch.mark.batch is one more
  // than the last one that was written, or the same again after a failure.
  virtual Result<void> Write(const StoreBatch& batch) = 0;

  // After a Write, when its answer has been passed on: the time for what a store can put off, so
  // that nobody waits for it. It may fail in silence; a store that is not asked does it in a Write.
  virtual void CatchUp() {}

  // For messages: the folder, or "memory".
  virtual const std::string& name() const = 0;
};

// A store that keeps what is written in `kept`, which outlives it; null: one of its own.
struct MemoryStoreContent;
std::unique_ptr<Store> NewMemoryStore(std::shared_ptr<MemoryStoreContent> kept = nullptr);
std::shared_ptr<MemoryStoreContent> NewMemoryStoreContent();

struct StoreOptions {
  std::uint64_t events_kept = 1'000'000;  // older ones are deleted
  // Beside the ledger's own way of writing, the system calls of SQLite: the name of a registered
  // sqlite3_vfs; empty: the default one.
  std::string vfs{};
};

// The store in a folder (made if it is not there, mode 0700), which is then locked: E2080 names the
// process that has it. E2079: it cannot be opened, or is damaged, or of a newer version. An older
// version is brought forward, after a backup beside it. In mete::store.
Result<std::unique_ptr<Store>> OpenStore(const std::string& folder,
                                         const StoreOptions& options = {});

}  // namespace mete
