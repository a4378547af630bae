// Accounts that come and go.
#include <algorithm>

#include "base/check.h"
#include "base/quote.h"
#include "quota/ledger.h"
#include "quota/window.h"

namespace mete {

namespace {

// Invisible characters that change how what stands around them is shown (Unicode 15, section 23.2,
// and the explicit directional formatting of UAX #9).
constexpr bool IsFormatting(char32_t c) {
  return c == 0x061c || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

constexpr bool IsControl(char32_t c) { return c < 0x20 || (c >= 0x7f && c <= 0x9f); }

// The next character, and moves past it; nothing where the text is no UTF-8 (RFC 3629).
std::optional<char32_t> NextCharacter(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return ++at, lead;
  const std::size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at <= more) return std::nullopt;
  char32_t character = lead & (0x3f >> more);
  for (std::size_t i = 1; i <= more; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return std::nullopt;
    character = (character << 6) | (byte(at + i) & 0x3f);
  }
  constexpr char32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  if (character < kLeast[more] || character > 0x10ffff) return std::nullopt;
  if (character >= 0xd800 && character <= 0xdfff) return std::nullopt;
  at += more + 1;
  return character;
}

Result<void> CheckId(Target target) {
  const std::string_view id = target.id;
  const auto refuse = [&](const std::string& why, std::size_t at) -> Result<void> {
    return Fail(ErrorCode::kInvalidArgument,
                std::string(NameOf(target.scope)) + " id: " + why + "; allowed: 1 to " +
                    std::to_string(ResourceManager::kMaxIdBytes) +
                    " bytes of UTF-8 without '/' and control characters, given " + Quoted(id, at));
  };
  if (id.empty()) return refuse("empty", 0);
  if (id.size() > ResourceManager::kMaxIdBytes) {
    return refuse("too long, " + std::to_string(id.size()) + " bytes", 0);
  }
  for (std::size_t at = 0; at < id.size();) {
    const std::size_t from = at;
    const std::optional<char32_t> character = NextCharacter(id, at);
    if (!character) return refuse("not UTF-8", from);
    if (*character == '/') return refuse("a '/'", from);
    if (IsControl(*character)) return refuse("a control character", from);
    if (IsFormatting(*character)) return refuse("an invisible character", from);
  }
  return {};
}

// It may be anything.
std::string Given(Target target) {
  return std::string(NameOf(target.scope)) + " " + Quoted(target.id);
}

Result<void> CheckParent(Target target, const std::optional<TargetName>& parent) {
  if (!parent || parent->scope > target.scope) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "parent: of the wrong scope; allowed: " +
                  std::string(target.scope == QuotaScope::kAgent     ? "a session or a tenant"
                              : target.scope == QuotaScope::kSession ? "a tenant"
                                                                     : "none for a tenant") +
                  ", given " + Given(*parent));
}

}  // namespace

Result<void> CheckLimits(const ResourceLimits& limits) {
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit>& limit = limits[info.kind];
    if (!limit || limit->amount >= 0) continue;
    return Fail(ErrorCode::kInvalidArgument, std::string(info.name) +
                                                 ": a negative limit; allowed: 0 and more, given " +
                                                 std::to_string(limit->amount));
  }
  return {};
}

std::string TargetName::ToString() const { return std::string(NameOf(scope)) + " " + id; }

ResourceLimits DefaultLimits() {
  ResourceLimits limits;
  limits[LimitKind::kCpu] = *ParseLimit(LimitKind::kCpu, "2");
  limits[LimitKind::kMemory] = *ParseLimit(LimitKind::kMemory, "2Gi");
  limits[LimitKind::kTokensPerHour] = *ParseLimit(LimitKind::kTokensPerHour, "100000");
  return limits;
}

Result<std::uint16_t> Ledger::InternTerms(const QuotaOptions& options) {
  Terms wanted{.policies = config.policies, .window = options.window.value_or(config.window)};
  if (wanted.window < kShortestWindow) {
    return Fail(ErrorCode::kInvalidArgument,
                "window: too short; allowed: 1s and more, given " + FormatDuration(wanted.window));
  }
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    if (options.policies[i]) wanted.policies[i] = *options.policies[i];
  }
  if (const auto index = terms.IndexOf(wanted)) return *index;
  return Fail(ErrorCode::kInvalidArgument,
              "policy: too many different ones, with their windows; allowed: " +
                  std::to_string(TermsPool::kMax));
}

// A record that was removed has its own lock: whoever still holds its index finds it free there.
// So it changes trees under both locks; nobody else ever takes two.
Result<void> Ledger::Insert(Target target, const ResourceLimits& limits,
                            const QuotaOptions& options, std::uint16_t terms_index,
                            ResourceQuota& made, std::uint64_t& batch) {
  Step parent;
  if (options.parent && !Enter(parent, *options.parent)) {
    return Fail(ErrorCode::kInvalidArgument,
                "parent: no such quota; given " + Given(*options.parent));
  }
  if (parent.root != nullptr) Begin(parent);
  if (free_records.empty()) {
    const RecordIndex next = records.size();
    if (next == NameTable::kMaxIndex) {
      return Fail(ErrorCode::kInvalidArgument,
                  "quotas: too many; allowed: " + std::to_string(next));
    }
    records.Grow().root.store(next, std::memory_order_relaxed);
    if (writer) writer->unwritten().Grow();
    record_count.store(next + 1, std::memory_order_release);
    free_records.push_back(next);
  }
  const RecordIndex index = free_records.back();
  Record& account = records[index];
  Step step;
  Lock(step, account);
  free_records.pop_back();

  account.flags = Record::kLive;
  account.terms = terms_index;
  if (!account.name.Set(target.scope, target.id)) RareOf(account).long_name = target.id;
  if (parent.root != nullptr) {
    const RecordIndex above = parent.index;
    account.parent = above;
    auto& children = ExtraOf(records[above]).children;
    account.place = static_cast<std::uint32_t>(children.size());
    children.push_back(index);
    account.root.store(records[above].root.load(std::memory_order_relaxed),
                       std::memory_order_release);
    step.Leave();  // from here on the parent's lock is its lock
    step.root = std::exchange(parent.root, nullptr);
  }
  SetPath(step, index);
  step.now = Now();
  Note(step, index);
  if (writer) account.flags |= Record::kUnwrittenQuota;
  account.main_start = account.day_start = step.now;
  Emit({.kind = EventKind::kCreated}, step, account, account, nullptr);
  for (const LimitInfo& info : AllLimits()) {
    const bool has_default = target.scope == QuotaScope::kAgent && !limits[info.kind];
    const std::optional<Limit>& limit =
        has_default ? config.default_limits[info.kind] : limits[info.kind];
    if (!limit || limit->amount == kUnlimited) continue;
    Line& line = AddLine(account, info.kind);
    line.limit = limit->amount;
    line.text = texts.Take(limit->text);
    if (info.counting == Counting::kRate) StartRate(RareOf(account), limit->amount, step.now);
  }
  if (target.scope == QuotaScope::kAgent) Inherit(step, account);
  Finish(step);
  Schedule(account.look_at + Clock::kCoarseLag, Deadlines::Kind::kWindows,
           DeadlineId(index, account.generation));
  made = QuotaOf(step, account);
  batch = BatchOf(step);
  step.Leave();
  names.Insert(HashOf(target.scope, target.id), index, account.parent,
               [this](RecordIndex other) { return HashOf(records[other]); });
  return {};
}

Result<ResourceQuota> ResourceManager::CreateQuota(Target target, const ResourceLimits& limits,
                                                   const QuotaOptions& options) {
  if (auto good = CheckId(target); !good) return std::unexpected(good.error());
  if (auto good = CheckParent(target, options.parent); !good) return std::unexpected(good.error());
  if (auto good = CheckLimits(limits); !good) return std::unexpected(good.error());
  const Result<std::uint16_t> terms = ledger_->InternTerms(options);
  if (!terms) return std::unexpected(terms.error());

  ResourceQuota made;
  std::uint64_t batch = 0;
  if (ledger_->writer) ledger_->writer->AwaitRoom();
  {
    const std::lock_guard lock(ledger_->accounts_mutex);
    Ledger::Step step;
    if (ledger_->Enter(step, target)) {
      if (!options.exist_ok) {
        return Fail(ErrorCode::kAlreadyExists,
                    std::string(NameOf(target.scope)) + ": exists already: " + Quoted(target.id));
      }
      ledger_->Begin(step, Access::kLook);
      ledger_->Finish(step);
      made = ledger_->QuotaOf(step, step.leaf());
      batch = ledger_->BatchOf(step);  // of whoever has just made it
    } else {
      if (auto good = ledger_->CheckStore(); !good) return std::unexpected(good.error());
      auto done = ledger_->Insert(target, limits, options, *terms, made, batch);
      if (!done) return std::unexpected(done.error());
    }
  }
  if (auto done = ledger_->Await(batch); !done) return std::unexpected(done.error());
  return made;
}

// Whatever is open is given back first; then the record is empty but for its generation, so that
// an old handle does not find its next owner.
void Ledger::Forget(Step& step, Record& account) {
  const RecordIndex index = step.index;
  for (const Resource level : {Resource::kMemory, Resource::kGpuMemory}) {
    const std::int64_t own = OwnLevel(account, level);
    if (own > 0) Count(step, level, -own);
    LookUpwards(step, level, false, Duration(0));
  }
  if (const Rare* const rare = RareIn(account)) {
    for (const HoldId id : std::vector<HoldId>(rare->holds)) {
      if (const auto hold = holds.Find(id); hold && holds.Close(id)) GiveBack(step, id, *hold, 0);
    }
  }
  ForEachLine(account, [&](Line& line) {
    // Who is above does not hear of causes that end because the account does.
    line.is_cause = false;
    texts.Release(line.text);
  });
  if (writer) {
    for (const HoldId id : holds.ForgetAccount(index)) NoteHold(step, id);
  }
  for (std::string& key : keys.Forget(index)) NoteKey(step, index, std::move(key));
  Event removed{.kind = EventKind::kRemoved};
  removed.usage = LifetimeUsage(account);
  Emit(std::move(removed), step, account, account, nullptr);
  names.Erase(HashOf(account), index, [this](RecordIndex other) { return HashOf(records[other]); });

  if (account.parent != kNoRecord) {
    auto& siblings = records[account.parent].extra->children;
    siblings[account.place] = siblings.back();
    records[siblings[account.place]].place = account.place;
    siblings.pop_back();
  }
  if (writer) writer->unwritten().NoteRemoved(index);
  const auto generation = static_cast<std::uint16_t>(account.generation + 1);
  account.flags = 0;
  account.parent = kNoRecord;
  account.total.fill(0);
  account.peak = account.peak_before = 0;
  account.cpu_base = account.tokens_base = account.tokens_day_base = 0;
  account.extra.reset();
  account.lines = {};
  account.generation = generation;
  account.root.store(index, std::memory_order_release);
  // A generation comes again after 65536 owners; a record that had as many stays unused.
  if (generation != 0) free_records.push_back(index);
}

Result<void> Ledger::Remove(Step& step, Record& account, bool cascade) {
  const bool has_children = account.extra && !account.extra->children.empty();
  if (!cascade && (has_children || (account.flags & Record::kRunning) != 0)) {
    return Fail(ErrorCode::kInUse, NameOf(account).ToString() +
                                       (has_children ? ": has accounts below it" : ": is running") +
                                       "; end that first, or cascade");
  }
  const RecordIndex index = step.index;
  while (account.extra && !account.extra->children.empty()) {
    const RecordIndex child = account.extra->children.back();
    SetPath(step, child);
    [[maybe_unused]] Result<void> removed = Remove(step, records[child], true);
  }
  SetPath(step, index);
  Record* const above = account.parent == kNoRecord ? nullptr : &records[account.parent];
  Forget(step, account);
  if (above != nullptr) Watch(*above, TermsOf(*above), thresholds);
  return {};
}

Result<void> ResourceManager::CleanupQuota(Target target, bool cascade) {
  if (auto good = ledger_->CheckStore(); !good) return good;
  std::uint64_t batch = 0;
  if (ledger_->writer) ledger_->writer->AwaitRoom();
  {
    const std::lock_guard lock(ledger_->accounts_mutex);
    Ledger::Step step;
    if (!ledger_->Enter(step, target)) return {};
    ledger_->Begin(step);
    const RecordIndex parent = step.leaf().parent;
    Result<void> removed = ledger_->Remove(step, step.leaf(), cascade);
    batch = ledger_->BatchOf(step);
    if (removed && parent != kNoRecord) ledger_->SetPath(step, parent);
    if (!removed || parent != kNoRecord) ledger_->Finish(step);
    if (!removed) return removed;
  }
  return ledger_->Await(batch);
}

Result<QuotaHandle> ResourceManager::Resolve(Target target) {
  Ledger::Step step;
  if (!ledger_->Enter(step, target)) return std::unexpected(ledger_->NotFound(target));
  QuotaHandle handle;
  handle.index_ = step.index;
  handle.above_ = step.leaf().parent;
  handle.root_ = step.leaf().root.load(std::memory_order_relaxed);
  handle.generation_ = step.leaf().generation;
  return handle;
}

Result<void> ResourceManager::Attach(Target target, const Running& running) {
  Ledger::Step step;
  if (!ledger_->Enter(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step);
  Record& account = step.leaf();
  account.flags &= ~(Record::kHasMeasured | Record::kCpuHeld | Record::kIsThrottled |
                     Record::kIsSuspended | Record::kIsTerminated);
  if ((account.flags & Record::kInFlight) != 0) account.flags |= Record::kRestarted;
  // What ends here: an operator asked for the end of the one that ran before, and cores that the
  // kernel holds are not counted.
  if ((account.flags & Record::kOperatorTerminate) != 0) {
    ledger_->EndCause(step, account, nullptr, QuotaAction::kTerminate);
  }
  if (Line* cpu = FindLine(account, LimitKind::kCpu); running.cpu_held && cpu && cpu->is_cause) {
    ledger_->EndCause(step, account, cpu, cpu->action);
  }
  account.flags |= Record::kRunning | (running.cpu_held ? Record::kCpuHeld : 0u) |
                   (running.measured.empty() ? 0u : Record::kHasMeasured);
  if (!running.measured.empty()) RareOf(account).measured = running.measured;
  if (Rare* const rare = RareIn(account)) rare->failures = 0;
  ledger_->QueueIntent(account, step.index);
  ledger_->Finish(step);
  return {};
}

Result<void> ResourceManager::Detach(Target target) {
  Ledger::Step step;
  if (!ledger_->Enter(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step);
  Record& account = step.leaf();
  for (const Resource level : {Resource::kMemory, Resource::kGpuMemory}) {
    const std::int64_t own = OwnLevel(account, level);
    if (own > 0) ledger_->Count(step, level, -own);
    ledger_->LookUpwards(step, level, false, Duration(0));
  }
  account.flags &= ~(Record::kRunning | Record::kHasMeasured | Record::kCpuHeld);
  ledger_->Finish(step);
  return {};
}

}  // namespace mete
