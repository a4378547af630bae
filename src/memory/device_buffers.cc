#include "mete/device_buffers.h"

#include <cstring>
#include <utility>

namespace mete {
namespace {

std::unexpected<DeviceError> RefuseArgument(std::int64_t bytes) noexcept {
  return std::unexpected(
      DeviceError{.reason = DeviceError::Reason::kArgument, .bytes = bytes, .budget = {}});
}

}  // namespace

DeviceResult<UploadedBuffer> BufferHelpers::Upload(std::uint32_t usage,
                                                   std::span<const std::byte> data,
                                                   const StagingWait& wait) {
  auto buffer = device_->CreateBuffer(
      {.bytes = std::ssize(data), .usage = usage | kBufferCopyTarget | kBufferCopySource}, {},
      {.owner = owner_});
  if (!buffer) return std::unexpected(buffer.error());
  const auto ready = uploader_->Upload((*buffer)->buffer, 0, data, wait);
  if (!ready) {
    // A part may be on its way, so the buffer may not go before that is over. Where the device is
    // lost, it is.
    static_cast<void>(bridge_->Drain());
    return std::unexpected(ready.error());
  }
  return UploadedBuffer{.buffer = std::move(*buffer), .ready = *ready};
}

DeviceResult<UploadedBuffer> BufferHelpers::Vertex(std::span<const std::byte> data,
                                                   const StagingWait& wait) {
  return Upload(kBufferVertex, data, wait);
}

DeviceResult<UploadedBuffer> BufferHelpers::Index(std::span<const std::byte> data,
                                                  const StagingWait& wait) {
  return Upload(kBufferIndex, data, wait);
}

DeviceResult<UploadedBuffer> BufferHelpers::Storage(std::span<const std::byte> data,
                                                    const StagingWait& wait) {
  return Upload(kBufferStorage, data, wait);
}

DeviceResult<TrackedBuffer> BufferHelpers::Storage(std::int64_t bytes) {
  return device_->CreateBuffer(
      {.bytes = bytes, .usage = kBufferStorage | kBufferCopySource | kBufferCopyTarget}, {},
      {.owner = owner_});
}

DeviceResult<TrackedBuffer> BufferHelpers::Uniform(std::int64_t bytes) {
  return device_->CreateBuffer({.bytes = bytes, .usage = kBufferUniform},
                               {.use = MemoryUse::kUpload, .mapped = true}, {.owner = owner_});
}

DeviceResult<void> BufferHelpers::Write(const TrackedBuffer& uniform, std::int64_t offset,
                                        std::span<const std::byte> data) {
  void* const mapped = uniform->info.mapped;
  const std::int64_t bytes = std::ssize(data);
  if (mapped == nullptr || offset < 0 || bytes > uniform->bytes ||
      offset > uniform->bytes - bytes) {
    return RefuseArgument(bytes);
  }
  if (!data.empty())
    std::memcpy(static_cast<std::byte*>(mapped) + offset, data.data(), data.size());
  return device_->allocator().Flush(uniform->memory, offset, bytes);
}

DeviceResult<TrackedBuffer> BufferHelpers::Readback(std::int64_t bytes) {
  return device_->CreateBuffer({.bytes = bytes, .usage = kBufferCopyTarget},
                               {.use = MemoryUse::kReadback, .mapped = true},
                               {.owner = owner_, .staging = true});
}

DeviceResult<std::span<const std::byte>> BufferHelpers::Read(const TrackedBuffer& source,
                                                             const TrackedBuffer& readback,
                                                             std::int64_t bytes,
                                                             std::int64_t offset,
                                                             std::chrono::nanoseconds timeout) {
  void* const mapped = readback->info.mapped;
  if (mapped == nullptr || bytes <= 0 || bytes > readback->bytes || offset < 0 ||
      offset > source->bytes - bytes) {
    return RefuseArgument(bytes);
  }
  const BufferCopy copy{.source = source->buffer,
                        .target = readback->buffer,
                        .source_offset = offset,
                        .bytes = bytes};
  const auto value = queue_->Submit({&copy, 1});
  if (!value) return std::unexpected(value.error());
  if (const auto done = queue_->Wait(*value, timeout); !done) {
    return std::unexpected(done.error());
  }
  if (const auto seen = device_->allocator().Invalidate(readback->memory, 0, bytes); !seen) {
    return std::unexpected(seen.error());
  }
  return std::span(static_cast<const std::byte*>(mapped), static_cast<std::size_t>(bytes));
}

}  // namespace mete
