#include "quota/state_codec.h"

#include <bit>
#include <cstring>

#include "quota/counting.h"

namespace mete {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

__extension__ using Wide = unsigned __int128;

constexpr std::uint8_t kVersion = 1;
enum Part : std::uint8_t {
  kOperatorSuspendPart = 1 << 0,
  kOperatorTerminatePart = 1 << 1,
  kExtraPart = 1 << 2,
  kRarePart = 1 << 3,
};

constexpr std::size_t kPlainNumbers = 10, kExtraNumbers = 10;
constexpr std::size_t kLineBytes = 3;
// Each number takes at most 8 bytes and a half, and may be copied with 7 behind it.
constexpr std::size_t kMostPlain =
    3 + kLimitKindCount * kLineBytes + (kPlainNumbers + kExtraNumbers) * 9 + 8;

constexpr std::uint64_t ZigZag(std::int64_t value) {
  return static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63);
}
constexpr std::int64_t UnZigZag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

// Of what may be no such numbers at all.
constexpr std::int64_t Less(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

// Half a byte each for how many bytes the numbers take, then those.
template <std::size_t kCount>
char* Pack(const std::array<std::int64_t, kCount>& numbers, char* at) {
  static_assert(kCount % 2 == 0);
  char* const sizes = at;
  at += kCount / 2;
  for (std::size_t i = 0; i < kCount; i += 2) {
    unsigned both = 0;
    for (std::size_t half = 0; half < 2; ++half) {
      const std::uint64_t number = ZigZag(numbers[i + half]);
      const auto size = static_cast<unsigned>(std::bit_width(number) + 7) / 8;
      std::memcpy(at, &number, sizeof number);
      at += size;
      both |= size << (4 * half);
    }
    sizes[i / 2] = static_cast<char>(both);
  }
  return at;
}

// Reads that never pass the end; once one would have, all give zeros.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool failed() const { return failed_; }
  bool is_done() const { return bytes_.empty(); }
  void Fail() { failed_ = true; }

  std::uint64_t Take(std::size_t size) {
    std::uint64_t number = 0;
    if (size > bytes_.size() || size > sizeof number) return failed_ = true, 0;
    std::memcpy(&number, bytes_.data(), size);
    bytes_.remove_prefix(size);
    return number;
  }
  std::uint8_t Byte() { return static_cast<std::uint8_t>(Take(1)); }
  Wide TakeWide() {
    const Wide low = Take(8);
    return low | static_cast<Wide>(Take(8)) << 64;
  }
  Time TakeTime() { return Time(Duration(static_cast<std::int64_t>(Take(8)))); }

  template <std::size_t kCount>
  std::array<std::int64_t, kCount> Unpack() {
    std::array<std::int64_t, kCount> numbers{};
    std::array<std::uint8_t, kCount / 2> sizes{};
    for (std::uint8_t& both : sizes) both = Byte();
    for (std::size_t i = 0; i < kCount; ++i) {
      numbers[i] = UnZigZag(Take(sizes[i / 2] >> (i % 2 * 4) & 0xf));
    }
    return numbers;
  }

 private:
  std::string_view bytes_;
  bool failed_ = false;
};

void Put(std::string& bytes, std::uint64_t number, std::size_t size) {
  bytes.append(reinterpret_cast<const char*>(&number), size);
}
void Put(std::string& bytes, Wide number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}
void Put(std::string& bytes, Time time) {
  Put(bytes, static_cast<std::uint64_t>(time.time_since_epoch().count()), 8);
}

bool HasRequests(const OpenHold& hold) { return hold.reserved.Get(Resource::kRequests) > 0; }

// In the order of their limits: when they warned; then the rate, what is lifted, and of open holds
// what they took from rates.
void EncodeRare(const Record& record, const HoldBook& holds, std::string& bytes) {
  Rare& rare = *RareIn(record);
  const auto put_warned = [&](const Line& line) {
    if (line.is_set && line.warned) Put(bytes, rare.warned_at[IndexOf(line.kind)]);
  };
  for (const Line& line : record.lines) put_warned(line);
  for (const Line& line : rare.lines) put_warned(line);
  Put(bytes, rare.rate.has_value() ? 1 : 0, 1);
  Put(bytes, rare.rate_number, 4);
  if (rare.rate) {
    const RateLimit::Content content = rare.rate->content_at_rest();
    Put(bytes, content.added);
    Put(bytes, content.gone);
    Put(bytes, content.drained_at);
  }
  Put(bytes, rare.lifted.size(), 4);
  for (const Rare::Lifted& lifted : rare.lifted) {
    Put(bytes, lifted.account, 4);
    Put(bytes, IndexOf(lifted.limit), 1);
  }
  std::string slots;
  std::uint32_t count = 0;
  for (const HoldId id : rare.holds) {
    const std::optional<OpenHold> hold = holds.Find(id);
    if (!hold || !HasRequests(*hold)) continue;
    ++count;
    Put(slots, id, 8);
    for (std::size_t level = 0; level < hold->slots.size(); ++level) {
      Put(slots, hold->rates[level], 4);
      Put(slots, static_cast<std::uint64_t>(hold->slots[level].count), 8);
      Put(slots, hold->slots[level].end);
    }
  }
  Put(bytes, count, 4);
  bytes += slots;
}

void DecodeRare(Reader& reader, Record& record, std::vector<StoredSlots>& slots) {
  Rare& rare = RareOf(record);
  ForEachLine(record, [&](const Line& line) {
    if (line.warned) rare.warned_at[IndexOf(line.kind)] = reader.TakeTime();
  });
  const bool has_rate = reader.Byte() != 0;
  rare.rate_number = static_cast<std::uint32_t>(reader.Take(4));
  if (has_rate != rare.rate.has_value()) return reader.Fail();
  if (has_rate) {
    RateLimit::Content content;
    content.added = reader.TakeWide();
    content.gone = reader.TakeWide();
    content.drained_at = reader.TakeTime();
    rare.rate->Restore(content);
  }
  for (std::uint64_t left = reader.Take(4); left > 0 && !reader.failed(); --left) {
    const auto account = static_cast<RecordIndex>(reader.Take(4));
    const std::uint8_t kind = reader.Byte();
    if (kind >= kLimitKindCount) return reader.Fail();
    rare.lifted.push_back({account, static_cast<LimitKind>(kind)});
    record.flags |= Record::kHasLifted;
  }
  for (std::uint64_t left = reader.Take(4); left > 0 && !reader.failed(); --left) {
    StoredSlots& one = slots.emplace_back();
    one.hold = reader.Take(8);
    for (std::size_t level = 0; level < one.slots.size(); ++level) {
      one.rates[level] = static_cast<std::uint32_t>(reader.Take(4));
      one.slots[level].count = static_cast<std::int64_t>(reader.Take(8));
      one.slots[level].end = reader.TakeWide();
    }
  }
}

void DecodeLines(Reader& reader, Record& record, std::size_t count) {
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    const std::uint8_t kind = reader.Byte();
    Line* const line =
        kind < kLimitKindCount ? FindLine(record, static_cast<LimitKind>(kind)) : nullptr;
    if (line == nullptr) return reader.Fail();
    line->armed = reader.Byte();
    const unsigned state = reader.Byte();
    line->warned = (state & 1) != 0;
    line->acted = (state & 2) != 0;
    line->lifted = (state & 4) != 0;
    line->is_cause = (state & 8) != 0;
    line->action = static_cast<QuotaAction>(state >> 4 & 3);
  }
}

}  // namespace

void EncodeState(const Record& record, const HoldBook& holds, std::string& bytes) {
  char packed[kMostPlain];
  const Extra* const extra = record.extra.get();
  const Rare* const rare = RareIn(record);
  unsigned parts = 0;
  if ((record.flags & Record::kOperatorSuspend) != 0) parts |= kOperatorSuspendPart;
  if ((record.flags & Record::kOperatorTerminate) != 0) parts |= kOperatorTerminatePart;
  if (extra != nullptr) parts |= kExtraPart;
  if (rare != nullptr) parts |= kRarePart;
  packed[0] = static_cast<char>(kVersion);
  packed[1] = static_cast<char>(parts);
  char* at = packed + 3;
  const auto put_line = [&](const Line& line) {
    at[0] = static_cast<char>(line.kind);
    at[1] = static_cast<char>(line.armed);
    at[2] = static_cast<char>((line.warned ? 1 : 0) | (line.acted ? 2 : 0) | (line.lifted ? 4 : 0) |
                              (line.is_cause ? 8 : 0) | static_cast<int>(line.action) << 4);
    at += kLineBytes;
  };
  for (const Line& line : record.lines) {
    if (line.is_set) put_line(line);
  }
  if (rare != nullptr) {
    for (const Line& line : rare->lines) put_line(line);
  }
  packed[2] = static_cast<char>(static_cast<std::size_t>(at - packed - 3) / kLineBytes);
  at = Pack<kPlainNumbers>(
      {record.total[kCpuCounter], record.total[kMemoryCounter], record.total[kTokenCounter],
       record.total[kCpuCounter] - record.cpu_base,
       record.total[kTokenCounter] - record.tokens_base,
       record.total[kTokenCounter] - record.tokens_day_base, record.peak, record.peak_before,
       record.main_start.time_since_epoch().count(), record.day_start.time_since_epoch().count()},
      at);
  if (extra != nullptr) {
    at = Pack<kExtraNumbers>(
        {extra->own_memory, extra->own_gpu_memory, extra->gpu_memory, extra->gpu_peak,
         extra->gpu_peak_before, extra->requests, extra->requests - extra->requests_base,
         extra->cost, extra->cost - extra->cost_base, extra->cost - extra->cost_main_base},
        at);
  }
  bytes.append(packed, static_cast<std::size_t>(at - packed));
  if (rare != nullptr) EncodeRare(record, holds, bytes);
}

Result<void> DecodeState(std::string_view bytes, Record& record, std::vector<StoredSlots>& slots) {
  Reader reader(bytes);
  const std::uint8_t version = reader.Byte();
  const unsigned parts = reader.Byte();
  const std::size_t lines = reader.Byte();
  if (version != kVersion) reader.Fail();
  DecodeLines(reader, record, lines);
  const auto plain = reader.Unpack<kPlainNumbers>();
  std::copy_n(plain.begin(), kCounterCount, record.total.begin());
  record.cpu_base = Less(plain[0], plain[3]);
  record.tokens_base = Less(plain[2], plain[4]);
  record.tokens_day_base = Less(plain[2], plain[5]);
  record.peak = plain[6];
  record.peak_before = plain[7];
  record.main_start = Time(Duration(plain[8]));
  record.day_start = Time(Duration(plain[9]));
  if ((parts & kOperatorSuspendPart) != 0) record.flags |= Record::kOperatorSuspend;
  if ((parts & kOperatorTerminatePart) != 0) record.flags |= Record::kOperatorTerminate;
  if ((parts & kExtraPart) != 0) {
    const auto more = reader.Unpack<kExtraNumbers>();
    Extra& extra = ExtraOf(record);
    extra.own_memory = more[0];
    extra.own_gpu_memory = more[1];
    extra.gpu_memory = more[2];
    extra.gpu_peak = more[3];
    extra.gpu_peak_before = more[4];
    extra.requests = more[5];
    extra.requests_base = Less(more[5], more[6]);
    extra.cost = more[7];
    extra.cost_base = Less(more[7], more[8]);
    extra.cost_main_base = Less(more[7], more[9]);
  }
  if ((parts & kRarePart) != 0) DecodeRare(reader, record, slots);
  if (!reader.failed() && reader.is_done()) return {};
  return Fail(ErrorCode::kStoreUnavailable,
              "store: damaged: the state of " + NameOf(record).ToString() + " cannot be read");
}

void ShiftTimes(Record& record, Duration by) {
  record.main_start += by;
  record.day_start += by;
  Rare* const rare = RareIn(record);
  if (rare == nullptr) return;
  for (Time& at : rare->warned_at) at += by;
  if (!rare->rate) return;
  RateLimit::Content content = rare->rate->content_at_rest();
  content.drained_at += by;
  rare->rate->Restore(content);
}

}  // namespace mete
