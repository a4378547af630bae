// A landscape, lit by a compute shader on a device without a window, within a memory budget.
//
//   terrain [FRAMES [PICTURE.png]]     by default 120 frames, and no picture
//
// It uploads heights and colours through a staging quota smaller than they are, lets the sun go
// round for that many frames, reads the last one back, and says what its budgets do while it runs.
//
// What to look at: every byte of the device has an owner and a limit, and so has what the driver
// takes on the host; staging stays at its quota whatever is uploaded; the loop allocates nothing.

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "headless_vulkan.h"
#include "mete/budget_bridge.h"
#include "mete/device_budget_manager.h"
#include "mete/device_buffers.h"
#include "mete/host_budget_manager.h"
#include "mete/vulkan/allocators.h"
#include "png.h"
#include "terrain_shader.h"

namespace {

constexpr std::uint32_t kSide = 512;
constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kStagingQuota = kMiB / 2;

template <class T>
T Take(mete::Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().ToString().c_str());
  std::exit(1);
}
template <class T>
T Take(mete::DeviceResult<T> result) {
  if constexpr (std::is_void_v<T>) {
    if (result) return;
  } else {
    if (result) return std::move(*result);
  }
  std::fprintf(stderr, "%s\n", result.error().ToError().ToString().c_str());
  std::exit(1);
}

// Noise between the points of a lattice, smooth in between.
float Noise(float x, float y) {
  const auto at = [](int column, int row) {
    auto hash = static_cast<std::uint32_t>(column) * 0x9E3779B1U ^
                static_cast<std::uint32_t>(row) * 0x85EBCA77U;
    hash = (hash ^ hash >> 15) * 0xC2B2AE3DU;
    return static_cast<float>(hash >> 8) / static_cast<float>(1 << 24);
  };
  const int column = static_cast<int>(std::floor(x));
  const int row = static_cast<int>(std::floor(y));
  const float u = x - static_cast<float>(column);
  const float v = y - static_cast<float>(row);
  const float s = u * u * (3 - 2 * u);
  const float t = v * v * (3 - 2 * v);
  return std::lerp(std::lerp(at(column, row), at(column + 1, row), s),
                   std::lerp(at(column, row + 1), at(column + 1, row + 1), s), t);
}

void MakeHeights(std::span<float> heights) {
  for (std::uint32_t y = 0; y < kSide; ++y) {
    for (std::uint32_t x = 0; x < kSide; ++x) {
      float height = 0;
      float scale = 4.0F / static_cast<float>(kSide);
      float weight = 0.5F;
      for (int octave = 0; octave < 7; ++octave, scale *= 2, weight /= 2) {
        height += weight * Noise(static_cast<float>(x) * scale, static_cast<float>(y) * scale);
      }
      heights[std::size_t{y} * kSide + x] = height;
    }
  }
}

struct Colour {
  float red, green, blue, alpha;
};

// Deep and shallow water, sand, grass, rock, snow.
void MakePalette(std::span<Colour> palette) {
  struct Stop {
    float height;
    Colour colour;
  };
  constexpr Stop kStops[] = {{0.00F, {0.02F, 0.07F, 0.25F, 1}}, {0.37F, {0.10F, 0.40F, 0.60F, 1}},
                             {0.39F, {0.85F, 0.78F, 0.55F, 1}}, {0.45F, {0.25F, 0.50F, 0.18F, 1}},
                             {0.58F, {0.16F, 0.36F, 0.14F, 1}}, {0.66F, {0.45F, 0.40F, 0.36F, 1}},
                             {0.74F, {0.95F, 0.96F, 0.98F, 1}}, {1.01F, {1.00F, 1.00F, 1.00F, 1}}};
  for (std::size_t i = 0; i < palette.size(); ++i) {
    const float height = static_cast<float>(i) / static_cast<float>(palette.size());
    const Stop* to = kStops + 1;
    while (height >= to->height) ++to;
    const Stop* const from = to - 1;
    const float t = (height - from->height) / (to->height - from->height);
    palette[i] = {std::lerp(from->colour.red, to->colour.red, t),
                  std::lerp(from->colour.green, to->colour.green, t),
                  std::lerp(from->colour.blue, to->colour.blue, t), 1};
  }
}

void Show(const mete::HostBudgetManager& host, const mete::DeviceBudgetManager& device,
          const mete::BudgetBridge& bridge, const mete::DriverHostMemory& driver, int frame) {
  const mete::StagingUsage staging = bridge.usage();
  std::printf("--- frame %d\n%s", frame, device.snapshot().Text().c_str());
  std::printf("staging: %lld of %lld bytes, peak %lld; waited %lld times\n",
              static_cast<long long>(staging.charged), static_cast<long long>(staging.quota),
              static_cast<long long>(staging.peak), static_cast<long long>(staging.waits));
  std::printf("host: %lld of %lld bytes; the driver has %lld bytes of them in %lld pieces\n",
              static_cast<long long>(host.snapshot().host.used),
              static_cast<long long>(host.snapshot().host.limit),
              static_cast<long long>(driver.live_bytes()), static_cast<long long>(driver.live()));
}

}  // namespace

int main(int argc, char** argv) {
  const int frames = argc > 1 ? std::atoi(argv[1]) : 120;
  const char* const picture_path = argc > 2 ? argv[2] : nullptr;

  mete::HostOptions host_options;
  host_options.limit = 64 * kMiB;
  const auto host = Take(mete::HostBudgetManager::Open(host_options));
  mete::DriverHostMemory driver(*Take(host->Owner("driver", 32 * kMiB)));
  const example::HeadlessDevice vulkan(driver.callbacks());
  std::printf("%s\n", vulkan.name().c_str());

  // Blocks of 2 MiB, since this is a small program; without, VMA takes 256 MiB at a time.
  auto allocator = Take(mete::VMAAllocator::Open(vulkan.ForMete(), 2 * kMiB));
  mete::DeviceOptions device_options;
  device_options.limit = 16 * kMiB;
  const auto device = Take(mete::DeviceBudgetManager::Open(std::move(allocator), device_options));
  const auto warnings = device->Subscribe([](const mete::BudgetWarning& warning) {
    std::printf("warning: %s: %d %%\n", std::string(warning.budget).c_str(), warning.percent);
  });
  const auto queue =
      Take(mete::VulkanTransferQueue::Open(vulkan.ForMete(), vulkan.queue(), vulkan.family()));
  const auto bridge = Take(mete::BudgetBridge::Open(
      {.quota = kStagingQuota, .block_bytes = kStagingQuota / 2}, host->budget(), *device));
  mete::Uploader uploader(*bridge, *queue, {.batch_bytes = kStagingQuota / 4});
  mete::BufferHelpers buffers(*device, *bridge, uploader, *queue,
                              Take(device->Owner("terrain", 12 * kMiB)));

  mete::OwnerResource resource(*Take(host->Owner("terrain")));
  std::pmr::vector<float> heights(std::size_t{kSide} * kSide, &resource);
  std::pmr::vector<Colour> palette(256, &resource);
  MakeHeights(heights);
  MakePalette(palette);
  const mete::UploadedBuffer ground = Take(buffers.Storage(std::as_bytes(std::span(heights))));
  const mete::UploadedBuffer colours = Take(buffers.Storage(std::as_bytes(std::span(palette))));
  const std::int64_t picture_bytes = std::int64_t{kSide} * kSide * 4;
  const mete::TrackedBuffer picture = Take(buffers.Storage(picture_bytes));
  const mete::TrackedBuffer readback = Take(buffers.Readback(picture_bytes));
  const mete::TrackedBuffer constants =
      Take(buffers.Uniform(sizeof(example::ComputePass::Constants)));
  if (auto ready = uploader.Wait(colours.ready); !ready) return 1;

  example::ComputePass pass(
      vulkan, kTerrainShader,
      {mete::ToVulkan(ground.buffer->buffer), mete::ToVulkan(colours.buffer->buffer),
       mete::ToVulkan(picture->buffer), mete::ToVulkan(constants->buffer)},
      kSide);
  for (int frame = 0; frame < frames; ++frame) {
    if (frame % 60 == 0) Show(*host, *device, *bridge, driver, frame);
    const example::ComputePass::Constants now{kSide, 0.8F + 0.02F * static_cast<float>(frame)};
    Take(buffers.Write(constants, 0, std::as_bytes(std::span(&now, 1))));
    pass.Run();
    host->BeginFrame();
    device->BeginFrame();
  }
  const auto pixels = Take(buffers.Read(picture, readback, picture_bytes));
  Show(*host, *device, *bridge, driver, frames);
  std::printf("%s\n", device->snapshot().BenchRow().c_str());

  const std::span rgba(reinterpret_cast<const std::uint8_t*>(pixels.data()), pixels.size());
  if (picture_path != nullptr && !example::PngWriter::Write(picture_path, kSide, kSide, rgba)) {
    std::fprintf(stderr, "%s: cannot be written\n", picture_path);
    return 1;
  }
  // What it promises, it checks: the whole quota was used, and not a byte more.
  const bool kept = bridge->usage().peak <= kStagingQuota &&
                    device->snapshot().device.peak <= device_options.limit;
  const bool drawn = rgba[3] == 255 && rgba[0] != 0;
  if (!kept || !drawn) std::fprintf(stderr, "%s\n", kept ? "no picture" : "over a budget");
  return kept && drawn ? 0 : 1;
}
