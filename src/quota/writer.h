// The thread that keeps a store up to date with the ledger, and those who wait for it.
//
// Only this thread touches the store. It cuts a batch (cut.cc): of each tree that changed, what
// that is between two of its steps; then it writes it, outside of all locks. When a batch is cut
// depends on the mode: at once (kSync), so that those who come while one is written share the next;
// kPause after the first change (kBounded); when asked for and at the end (kNone).
//
// A batch that fails is taken apart: what it had is noted as changed again, and the next one has it
// with its values of then. Until one succeeds the store counts as unavailable, as it does while a
// write has not returned for ManagerConfig::store_timeout.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mete/resource_manager.h"
#include "mete/store.h"
#include "quota/bell.h"
#include "quota/unwritten.h"

namespace mete {

class Writer {
 public:
  // In kBounded no change is answered when the oldest one that is not on disk is older than
  // kPromise, with something left for whoever is interrupted in between. The exact clock is read
  // only from kLook on by the coarse one, since it costs 22 ns; so that one may be behind by the
  // difference: a processor that a hypervisor has taken away gives no ticks (12 ms were seen).
  static constexpr Duration kPromise = std::chrono::milliseconds(100);
  static constexpr Duration kAhead = kPromise - std::chrono::milliseconds(5);
  static constexpr Duration kLook = std::chrono::milliseconds(60);
  static constexpr Duration kPause = std::chrono::milliseconds(40);

  // Goes on after `mark`. The thread starts with Start.
  Writer(Ledger& ledger, std::unique_ptr<Store> store, const StoredMark& mark);
  ~Writer() { End(); }
  void WriteFirst() { WriteNext(); }  // what is noted, before Start
  void Start();
  void End();  // writes what is left

  Unwritten& unwritten() { return unwritten_; }
  void NoteEvent(RecordIndex root, Event event);

  bool is_sync() const { return durability_ == Durability::kSync; }
  // False from the first write that failed or did not return in time.
  bool IsAvailable();
  Result<void> CheckAvailable();  // E2079

  // kBounded: whether the disk is so far behind that nothing more is recorded, and until it is not.
  bool MustWait() const;
  void AwaitRoom();
  // Until the batch is on disk; E2079: not in time, which is over at once where the store has not
  // been available for that long.
  Result<void> Await(std::uint64_t batch);
  Result<void> Flush();
  StoreStatus status();

 private:
  using Steady = std::chrono::steady_clock;

  void Run();
  Duration UntilNext();
  bool WriteNext();
  // cut.cc
  Unwritten::List Cut();
  void LockTree(RecordIndex root);
  void UnlockTree(RecordIndex root);
  void CutTree(RecordIndex root);
  void CutAccount(RecordIndex index, Record& account);
  void NoteAgain();

  void Succeed(const Unwritten::List& list, bool is_empty);
  void Fail(std::uint64_t number, const Error& error);
  void SetUnavailable(const std::string& error);
  void TellStore(EventKind kind, const std::string& detail);
  void Urge();
  void WakeAll();
  Duration Ahead() const;

  Ledger& ledger_;
  const std::unique_ptr<Store> store_;
  const Durability durability_;
  const Duration timeout_;
  const std::string boot_id_;
  Bell bell_;
  Unwritten unwritten_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> urged_{false};
  std::atomic<std::size_t> events_waiting_{0};

  std::atomic<std::uint64_t> written_{0};      // the last batch on disk, by Unwritten's count
  std::atomic<std::uint64_t> failed_{0};       // the last one that failed
  std::atomic<std::uint32_t> news_{0};         // changes with either, and with the availability
  std::atomic<std::int64_t> write_began_{0};   // by the steady clock; 0: none is under way
  std::atomic<std::int64_t> failing_from_{0};  // the same; 0: it is available

  // The thread's own.
  std::uint64_t batch_number_ = 0;  // of the last one that was written, by the store's count
  std::uint64_t numbered_ = 0;      // events, in the last mark
  std::uint64_t last_good_ = 0;     // by Unwritten's count
  StoreBatch batch_;                // the last one; keeps its memory
  std::vector<RecordIndex> slots_, slots_sorted_;  // of the tree that is cut
  Steady::time_point cut_at_{}, first_seen_{}, retry_at_{};
  bool has_seen_ = false;
  std::uint64_t shown_ = 0;  // events that are given out
  Duration retry_pause_{0};
  // Of batches that failed.
  std::vector<HoldId> ended_holds_;
  std::vector<StoredKey> ended_keys_;
  std::vector<Event> events_;
  std::uint64_t events_dropped_ = 0;

  mutable std::mutex mutex_;
  StoreStatus status_;
};

}  // namespace mete
