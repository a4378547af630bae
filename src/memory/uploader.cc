// Batches of copies, and what has become of them.
#include <algorithm>
#include <cstring>
#include <new>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "memory/bridge_parts.h"

namespace mete {

using Reason = DeviceError::Reason;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kStep{5};  // of a wait, before the cancellation is looked at

}  // namespace

// For whoever needs the room that copies hold which wait for their batch to fill.
DeviceResult<bool> BudgetBridge::Parts::FlushUploaders(Lock& held) {
  held.unlock();
  DeviceResult<bool> any = false;
  {
    const std::lock_guard listed(uploaders_lock);
    for (Uploader::Parts* one = uploaders; one != nullptr; one = one->next) {
      const auto flushed = one->FlushPending();
      if (!flushed) {
        any = std::unexpected(flushed.error());
      } else if (any && *flushed) {
        any = true;
      }
    }
  }
  held.lock();
  return any;
}

Uploader::Uploader(BudgetBridge& bridge, ITransferQueue& queue, const UploadOptions& options)
    : parts_(std::make_unique<Parts>()) {
  METE_CHECK(options.batch_bytes > 0 && options.batch_copies > 0);
  parts_->bridge = &bridge;
  parts_->queue = &queue;
  parts_->options = options;
  parts_->pending.reserve(static_cast<std::size_t>(options.batch_copies));
  parts_->copies.reserve(static_cast<std::size_t>(options.batch_copies));
  BudgetBridge::Parts& shared = *bridge.parts_;
  const std::lock_guard listed(shared.uploaders_lock);
  parts_->next = shared.uploaders;
  shared.uploaders = parts_.get();
}

Uploader::~Uploader() {
  BudgetBridge::Parts& shared = *parts_->bridge->parts_;
  {
    const std::lock_guard listed(shared.uploaders_lock);
    Parts** link = &shared.uploaders;
    while (*link != parts_.get()) link = &(*link)->next;
    *link = parts_->next;
  }
  std::ignore = parts_->FlushPending();
  parts_->pending.clear();
  if (parts_->pinned) shared.Unpin(*parts_->queue);
}

// The timeline is pinned before the first batch is submitted: afterwards there is no way back for
// slices that nobody could follow.
DeviceResult<bool> Uploader::Parts::FlushPending() noexcept {
  const std::lock_guard held(lock);
  if (pending.empty()) return false;
  BudgetBridge::Parts& shared = *bridge->parts_;
  if (!pinned && !shared.Pin(*queue)) {
    return std::unexpected(DeviceError{.reason = Reason::kTooMany, .bytes = pending_bytes});
  }
  pinned = true;
  copies.clear();
  for (const Pending& one : pending) copies.push_back(one.copy);
  if (submitted.size() == submitted.capacity() && !MakeRoomForOneMore()) {
    return std::unexpected(DeviceError{.reason = Reason::kHostMemory, .bytes = pending_bytes});
  }
  const auto value = queue->Submit(copies);
  if (!value) return std::unexpected(value.error());
  for (Pending& one : pending) {
    const auto followed = one.slice.Submitted(*queue, *value);
    METE_CHECK(followed);
  }
  pending.clear();
  pending_bytes = 0;
  submitted.push_back({batch++, *value});
  return true;
}

bool Uploader::Parts::MakeRoomForOneMore() noexcept {
  try {
    if (const auto reached = queue->Reached()) Forget(*reached);
    if (submitted.size() == submitted.capacity()) submitted.reserve(2 * submitted.size() + 16);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void Uploader::Parts::Forget(std::uint64_t reached) {
  const auto left = std::ranges::find_if(
      submitted, [reached](const Submitted& one) { return one.value > reached; });
  submitted.erase(submitted.begin(), left);
}

DeviceResult<UploadTicket> Uploader::Upload(BufferHandle target, std::int64_t offset,
                                            std::span<const std::byte> data,
                                            const StagingWait& wait) {
  Parts& parts = *parts_;
  UploadTicket ticket;
  std::uint64_t upload = 0;
  {
    const std::lock_guard held(parts.lock);
    upload = ++parts.uploads;
    ticket.batch = parts.batch - (parts.pending.empty() ? 1 : 0);  // of nothing: what there is
  }
  if (target == BufferHandle::kNone || offset < 0) {
    return std::unexpected(DeviceError{.reason = Reason::kArgument});
  }
  const auto piece =
      static_cast<std::size_t>(std::min(parts.bridge->block_bytes(), parts.options.batch_bytes));
  while (!data.empty()) {
    const std::span<const std::byte> part = data.first(std::min(piece, data.size()));
    const auto done = parts.UploadPiece(target, offset, part, upload, wait);
    if (!done) {
      parts.Abandon(upload);
      return std::unexpected(done.error());
    }
    ticket = *done;
    data = data.subspan(part.size());
    offset += static_cast<std::int64_t>(part.size());
  }
  return ticket;
}

DeviceResult<UploadTicket> Uploader::Parts::UploadPiece(BufferHandle target, std::int64_t offset,
                                                        std::span<const std::byte> data,
                                                        std::uint64_t upload,
                                                        const StagingWait& wait) {
  const auto bytes = static_cast<std::int64_t>(data.size());
  auto slice = bridge->Acquire(bytes, wait);
  if (!slice) return std::unexpected(slice.error());
  std::memcpy(slice->data(), data.data(), data.size());
  if (const auto flushed = slice->Flush(); !flushed) return std::unexpected(flushed.error());
  UploadTicket ticket;
  bool full = false;
  {
    const std::lock_guard held(lock);
    pending.push_back({.copy = {.source = slice->buffer(),
                                .target = target,
                                .source_offset = slice->offset(),
                                .target_offset = offset,
                                .bytes = bytes},
                       .slice = std::move(*slice),
                       .upload = upload});
    pending_bytes += bytes;
    ticket.batch = batch;
    full = pending_bytes >= options.batch_bytes ||
           pending.size() >= static_cast<std::size_t>(options.batch_copies);
  }
  if (full) {
    if (const auto flushed = FlushPending(); !flushed) return std::unexpected(flushed.error());
  }
  return ticket;
}

void Uploader::Parts::Abandon(std::uint64_t upload) {
  const std::lock_guard held(lock);
  std::erase_if(pending, [&](const Pending& one) {
    if (one.upload == upload) pending_bytes -= one.copy.bytes;
    return one.upload == upload;
  });
}

DeviceResult<void> Uploader::Flush() noexcept {
  const auto flushed = parts_->FlushPending();
  if (!flushed) return std::unexpected(flushed.error());
  return {};
}

DeviceResult<bool> Uploader::IsDone(UploadTicket ticket) noexcept {
  Parts& parts = *parts_;
  const auto reached = parts.queue->Reached();
  const std::lock_guard held(parts.lock);
  if (reached) parts.Forget(*reached);
  const bool submitted = ticket.batch < parts.batch;
  if (submitted && (parts.submitted.empty() || ticket.batch < parts.submitted.front().batch)) {
    return true;
  }
  if (!reached) return std::unexpected(reached.error());
  return false;
}

DeviceResult<void> Uploader::Wait(UploadTicket ticket, const StagingWait& wait) noexcept {
  Parts& parts = *parts_;
  for (;;) {
    const auto done = IsDone(ticket);
    if (!done) return std::unexpected(done.error());
    if (*done) {
      std::ignore = parts.bridge->Collect();
      return {};
    }
    std::uint64_t value = 0;
    bool fills = false;
    {
      const std::lock_guard held(parts.lock);
      fills = ticket.batch >= parts.batch;
      for (const Parts::Submitted& one : parts.submitted) {
        if (one.batch <= ticket.batch) value = one.value;
      }
    }
    if (fills) {
      if (const auto flushed = Flush(); !flushed) return flushed;
      continue;
    }
    if (wait.cancelled.stop_requested()) {
      return std::unexpected(DeviceError{.reason = Reason::kCancelled});
    }
    const auto left = wait.deadline - Clock::now();
    const auto waited = parts.queue->Wait(value, std::clamp<Clock::duration>(left, {}, kStep));
    if (waited || left > Clock::duration{0}) continue;
    return std::unexpected(DeviceError{.reason = Reason::kTimeout});
  }
}

}  // namespace mete
