// Recording what happened: at once where nothing follows from it, else the long way.
#include <algorithm>

#include "base/check.h"
#include "base/quote.h"
#include "quota/ledger.h"

namespace mete {
namespace {

// How long until one more request fits; zero also if none ever will.
Duration UntilNextRequest(const Record& account, Time now) {
  RateLimit& rate = *RateIn(account)->rate;
  if (rate.limit() == 0) return Duration(0);
  return rate.TimeUntil(rate.limit() - 1, now);
}

constexpr std::array<Resource, kCounterCount> kResourceOf = {Resource::kCpu, Resource::kMemory,
                                                             Resource::kTokens};
constexpr ResourceSet kQuietResources = {Resource::kCpu, Resource::kMemory, Resource::kTokens};

// The limit behind a ceiling, without looking for its line.
std::int64_t LimitOf(const Record& account, Counter counter) {
  std::int64_t base = 0;
  if (counter == kCpuCounter) base = account.cpu_base;
  if (counter == kTokenCounter) {
    const bool day = (account.flags & Record::kDayIsTighter) != 0;
    base = day ? account.tokens_day_base : account.tokens_base;
  }
  return account.ceiling[counter] + HeldOf(account, kResourceOf[counter]) - base;
}

}  // namespace

Result<void> CheckSigns(const Amounts& amounts) {
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (amounts.Get(resource) >= 0) continue;
    return Fail(ErrorCode::kInvalidArgument, std::string(NameOf(resource)) +
                                                 ": a negative amount; allowed: 0 to " +
                                                 std::to_string(kUnlimited) + ", given " +
                                                 std::to_string(amounts.Get(resource)));
  }
  return {};
}

void SetState(Receipt& receipt, std::uint32_t before, std::uint32_t now) {
  receipt.throttled = (now & Record::kThrottle) != 0;
  receipt.suspended = (now & Record::kSuspend) != 0;
  receipt.terminated = (now & Record::kTerminate) != 0;
  receipt.action_pending = (now & ~before & kCauseFlags) != 0;
}

// Three additions for each account on the path, if all of them stay between their edges: then
// nothing follows, and nothing is written before that is known. Amounts are so far from the end of
// int64 (kQuietAmount), and totals below their edges too (kFarEdge), that no sum here can overflow.
bool Ledger::ReportQuietly(Step& step, const Amounts& amounts, Receipt& receipt) const {
  Record& leaf = step.leaf();
  constexpr std::uint32_t kLongWay = Record::kHasMeasured | Record::kHasLifted;
  if (!(amounts.named() - kQuietResources).empty()) return false;
  if ((leaf.flags & kLongWay) != 0 || ScopeOf(leaf) != QuotaScope::kAgent) return false;
  const std::int64_t memory = amounts.Get(Resource::kMemory);
  std::array<std::int64_t, kCounterCount> rise = {amounts.Get(Resource::kCpu), 0,
                                                  amounts.Get(Resource::kTokens)};
  if (static_cast<std::uint64_t>(rise[kCpuCounter] | rise[kTokenCounter] | memory) >=
      kQuietAmount) {
    return false;
  }
  if (amounts.Has(Resource::kMemory)) rise[kMemoryCounter] = memory - leaf.total[kMemoryCounter];

  step.now = clock.Coarse();
  const std::int64_t look = look_at_disk.load(std::memory_order_relaxed);
  bool quiet = step.now.time_since_epoch().count() < look ||
               (look != Unwritten::kAlwaysLooks.count() && !writer->MustWait());
  for (const Record* at : step) {
    quiet &= step.now < at->look_at;
    for (std::size_t c = 0; c < kCounterCount; ++c) {
      // A total may be past kFarEdge already, by one report: what wraps there is negative.
      const auto after = static_cast<std::int64_t>(static_cast<std::uint64_t>(at->total[c]) +
                                                   static_cast<std::uint64_t>(rise[c]));
      quiet &= after >= 0 && after < at->edge[c];
      if (c == kMemoryCounter) quiet &= after >= at->low_edge;
    }
  }
  if (!quiet) return false;

  // Of each counter, what is left where the least is.
  std::array<std::int64_t, kCounterCount> least;
  least.fill(kUnlimited);
  std::array<const Record*, kCounterCount> tightest{};
  std::uint32_t causes = 0, noted = noted_flag;
  const bool is_nothing = (rise[kCpuCounter] | rise[kMemoryCounter] | rise[kTokenCounter]) == 0;
  const std::uint32_t changed = is_nothing ? 0u : Record::kChanged;
  for (Record* at : step) {
    for (std::size_t c = 0; c < kCounterCount; ++c) {
      const std::int64_t total = at->total[c] += rise[c];
      const std::int64_t ceiling = at->ceiling[c];
      const std::int64_t left = ceiling == kUnlimited ? kUnlimited : ceiling - total;
      tightest[c] = left < least[c] ? at : tightest[c];
      least[c] = std::min(left, least[c]);
    }
    at->peak = std::max(at->peak, at->total[kMemoryCounter]);
    causes |= at->flags;
    noted &= at->flags;
    at->flags |= changed;
  }
  if (noted != noted_flag && !is_nothing) NotePath(step);
  const std::array<std::int64_t, kCounterCount> base = {leaf.cpu_base, 0, leaf.tokens_base};
  for (std::size_t c = 0; c < kCounterCount; ++c) {
    const std::size_t i = IndexOf(kResourceOf[c]);
    if (!amounts.Has(kResourceOf[c])) continue;
    receipt.used[i] = leaf.total[c] - base[c];
    receipt.remaining[i] = std::max<std::int64_t>(least[c], 0);
    receipt.limit[i] =
        tightest[c] == nullptr ? kUnlimited : LimitOf(*tightest[c], static_cast<Counter>(c));
  }
  receipt.recorded = amounts.named();
  receipt.elapsed = step.now - leaf.main_start;
  SetState(receipt, causes, causes);
  return true;
}

Result<void> Ledger::CheckRise(const Step& step, const Amounts& rise, std::int64_t admitted) const {
  for (const Record* at : step) {
    for (std::size_t i = 0; i < kResourceCount; ++i) {
      const auto resource = static_cast<Resource>(i);
      const std::int64_t taken = TotalOf(*at, resource) + HeldOf(*at, resource);
      std::int64_t room = kUnlimited - taken;
      if (resource == Resource::kRequests) {
        room -= admitted;
        // Its bucket holds also what was admitted and is in no total yet.
        Rare* const rare = RateIn(*at);
        if (rare != nullptr && !rare->rate->Fits(rise.Get(resource), step.now)) room = -1;
      }
      if (rise.Get(resource) <= room) continue;
      return Fail(ErrorCode::kInvalidArgument,
                  std::string(NameOf(resource)) + ": the sum in " + NameOf(*at).ToString() +
                      " would pass " + std::to_string(kUnlimited) + "; given " +
                      std::to_string(rise.Get(resource)) + " beside " + std::to_string(taken));
    }
  }
  return {};
}

void Ledger::Count(Step& step, Resource resource, std::int64_t amount, std::int64_t admitted) {
  if (IsLevel(resource)) {
    SetOwnLevel(step.leaf(), resource, OwnLevel(step.leaf(), resource) + amount);
  }
  for (Record* at : step) {
    Add(*at, resource, amount);
    if (amount != 0) at->flags |= Record::kChanged;
    Rare* const rare = RateIn(*at);
    if (resource != Resource::kRequests || rare == nullptr) continue;
    if (amount > admitted) rare->rate->Report(amount - admitted, step.now);
    rare->rate_used = rare->rate->Used(step.now);
  }
}

Result<Receipt> Ledger::Report(Step& step, const Amounts& amounts, Source source) {
  if (auto good = CheckSigns(amounts); !good) return std::unexpected(good.error());
  Begin(step);
  const Record& leaf = step.leaf();
  Receipt receipt;
  if (source == Source::kReported) receipt.measured = amounts.named() & MeasuredOf(leaf);
  receipt.recorded = amounts.named() - receipt.measured;
  Amounts rise;
  ForEachResource(receipt.recorded, [&](Resource resource) {
    const std::int64_t before = IsLevel(resource) ? OwnLevel(leaf, resource) : 0;
    rise.Set(resource, amounts.Get(resource) - before);
  });
  if (auto good = CheckRise(step, rise); !good) {
    Finish(step);
    return std::unexpected(good.error());
  }
  const std::uint32_t before = HeldBack(leaf);
  const Duration grace =
      source == Source::kReported ? config.soft_grace_reported : config.soft_grace_sampled;
  ForEachResource(receipt.recorded,
                  [&](Resource resource) { Count(step, resource, rise.Get(resource)); });
  // Nothing used is no charge; a level that stays above its limit is one each time it is seen.
  ForEachResource(receipt.recorded, [&](Resource resource) {
    LookUpwards(step, resource, amounts.Get(resource) > 0, grace);
  });
  Finish(step);
  FillFigures(step, receipt);
  SetState(receipt, before, HeldBack(leaf));
  return receipt;
}

// The limit that leaves the least, over all accounts on the path.
void Ledger::FillFigures(const Step& step, Receipt& receipt) const {
  const Record& leaf = step.leaf();
  receipt.elapsed = step.now - leaf.main_start;
  const ResourceUsage usage = WindowUsage(leaf);
  const std::array<std::int64_t, kResourceCount> used = {
      usage.cpu_ns,          usage.memory_bytes, usage.gpu_memory_bytes,
      usage.tokens_consumed, usage.requests,     usage.cost_nano};
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    if (!receipt.recorded.Has(static_cast<Resource>(i))) continue;
    receipt.used[i] = used[i];
    receipt.remaining[i] = receipt.limit[i] = kUnlimited;
  }
  for (Record* at : step) {
    ForEachLine(*at, [&](Line& line) {
      const Resource resource = InfoOf(line.kind).resource;
      const std::size_t i = IndexOf(resource);
      if (!IsCompared(*at, line) || !receipt.recorded.Has(resource)) return;
      if (line.kind == LimitKind::kRequestsPerMinute) {
        const Duration wait = UntilNextRequest(*at, step.now);
        receipt.retry_after = std::max(receipt.retry_after, wait);
      }
      const std::int64_t limit = EffectiveLimit(line, TermsOf(*at));
      const std::int64_t taken = UsedOf(*at, line.kind) + HeldOf(*at, InfoOf(line.kind).resource);
      const std::int64_t left = limit - taken;
      if (left >= receipt.remaining[i]) return;
      receipt.remaining[i] = left;
      receipt.limit[i] = limit;
    });
  }
  for (std::int64_t& left : receipt.remaining) left = std::max<std::int64_t>(left, 0);
}

// Under the key of an earlier report it counts nothing, and answers what is so now.
Result<Receipt> Ledger::ReportOnce(Step& step, const Amounts& amounts,
                                   const ReportOptions& options) {
  if (options.key.empty()) return Report(step, amounts, options.source);
  if (auto good = CheckSigns(amounts); !good) return std::unexpected(good.error());
  const auto source = static_cast<std::uint64_t>(options.source);
  const Result<std::optional<KeyBook::Entry>> seen =
      FindKey(step, options.key, ContentOf(kReportContent, amounts, source));
  if (!seen) return std::unexpected(seen.error());
  if (!*seen) {
    Result<Receipt> receipt = Report(step, amounts, options.source);
    if (receipt) {
      KeepKey(step, options.key, {.content = ContentOf(kReportContent, amounts, source)});
    }
    return receipt;
  }
  Begin(step, Access::kLook);
  Finish(step);
  Receipt receipt;
  receipt.replayed = true;
  if (options.source == Source::kReported) {
    receipt.measured = amounts.named() & MeasuredOf(step.leaf());
  }
  receipt.recorded = amounts.named() - receipt.measured;
  FillFigures(step, receipt);
  SetState(receipt, HeldBack(step.leaf()), HeldBack(step.leaf()));
  return receipt;
}

Result<std::optional<KeyBook::Entry>> Ledger::FindKey(const Step& step, std::string_view key,
                                                      std::uint64_t content) {
  if (auto good = KeyBook::Check(key); !good) return std::unexpected(good.error());
  const std::optional<KeyBook::Entry> seen = keys.Find(step.index, key, Now());
  if (!seen || seen->content == content) return seen;
  return Fail(ErrorCode::kInvalidArgument,
              "key: used before with another content; allowed: a new key, given " + Quoted(key));
}

void Ledger::KeepKey(const Step& step, std::string_view key, KeyBook::Entry entry) {
  entry.time = step.now;
  keys.Remember(step.index, key, entry);
  NoteKey(step, step.index, std::string(key));
}

void Ledger::NoteKey(const Step& step, RecordIndex account, std::string key) {
  if (writer)
    writer->unwritten().ChangesOf(step.root_index).keys.emplace_back(account, std::move(key));
}

// With a store it may have to wait for that: before it records, so that memory does not run ahead
// of the disk, or until it is on disk. Nobody else waits meanwhile.
template <class Reach>
Result<Receipt> Ledger::ReportWithCare(Step& step, const Amounts& amounts,
                                       const ReportOptions& options, Reach&& reach) {
  if (step.root != nullptr && writer && writer->MustWait()) {
    step.Leave();
    if (!EnterToChange(step, reach)) {
      return Fail(ErrorCode::kNotFound, "quota: was removed meanwhile");
    }
  }
  Result<Receipt> receipt = ReportOnce(step, amounts, options);
  if (writer == nullptr || !receipt) return receipt;
  // Nobody waits for the answer to what mete measures, but what follows from it is waited for.
  if (options.source == Source::kSampled) {
    step.Leave();
    receipt->durable = writer->IsAvailable();
    return receipt;
  }
  if (auto done = Conclude(step); !done) return std::unexpected(done.error());
  receipt->durable = writer->is_sync() || writer->IsAvailable();
  return receipt;
}

Result<Receipt> ResourceManager::ReportUsage(Target target, const Amounts& amounts, Source source) {
  Ledger::Step step;
  Result<Receipt> receipt;
  const auto reach = [&] { return ledger_->Enter(step, target); };
  if (!reach()) [[unlikely]] {
    receipt = std::unexpected(ledger_->NotFound(target));
    return receipt;
  }
  if (!ledger_->ReportQuietly(step, amounts, *receipt)) [[unlikely]] {
    receipt = ledger_->ReportWithCare(step, amounts, {.source = source}, reach);
  }
  return receipt;
}

Result<Receipt> ResourceManager::ReportUsage(QuotaHandle handle, const Amounts& amounts,
                                             Source source) {
  Ledger::Step step;
  Result<Receipt> receipt;
  if (handle.index_ == QuotaHandle::kNone) [[unlikely]] {
    receipt = Fail(ErrorCode::kNotFound, "handle: of no quota");
    return receipt;
  }
  const auto reach = [&] { return ledger_->Enter(step, handle); };
  if (!reach()) [[unlikely]] {
    receipt = Fail(ErrorCode::kNotFound, "handle: its quota was removed");
    return receipt;
  }
  if (!ledger_->ReportQuietly(step, amounts, *receipt)) [[unlikely]] {
    receipt = ledger_->ReportWithCare(step, amounts, {.source = source}, reach);
  }
  return receipt;
}

Result<Receipt> ResourceManager::ReportUsage(Target target, const Amounts& amounts,
                                             const ReportOptions& options) {
  Ledger::Step step;
  const auto reach = [&] { return ledger_->Enter(step, target); };
  if (!reach()) return std::unexpected(ledger_->NotFound(target));
  return ledger_->ReportWithCare(step, amounts, options, reach);
}

double Receipt::load(Resource resource) const noexcept {
  const std::int64_t of = limit[IndexOf(resource)];
  if (of == kUnlimited || of == 0) return of == 0 ? 1.0 : 0.0;
  return static_cast<double>(of - remaining[IndexOf(resource)]) / static_cast<double>(of);
}

double Receipt::rate_per_second(Resource resource) const noexcept {
  const bool level = resource == Resource::kMemory || resource == Resource::kGpuMemory;
  if (level || elapsed <= Duration(0)) return 0;  // a level is held, not used up
  const double seconds = std::chrono::duration<double>(elapsed).count();
  return static_cast<double>(used[IndexOf(resource)]) / seconds;
}

std::optional<Duration> Receipt::time_to_exhaustion(Resource resource) const noexcept {
  return TimeToExhaustion(remaining[IndexOf(resource)], rate_per_second(resource));
}

}  // namespace mete
