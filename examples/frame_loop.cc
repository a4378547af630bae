// A frame loop with mixed allocations that says what its memory does, once a second and at the end.
//
//   frame_loop [FRAMES]      600 frames of a made-up world, 100 to a second
//
// What to look at: nothing in the loop says where its memory comes from, nothing is freed by hand,
// and the heap is not asked once the loop has warmed up.

#include <cstdio>
#include <cstdlib>
#include <memory_resource>
#include <utility>
#include <vector>

#include "mete/host_budget_manager.h"
#include "mete/tracked_allocation.h"

namespace {

struct Particle {
  float position[3], speed[3];
};

struct Texture {  // stands for what a device may still be reading
  std::byte texels[4096];
};

// What a frame needs rises and falls, as in a game.
std::size_t ParticlesIn(int frame) {
  return 8000 + static_cast<std::size_t>(frame * 37 % 2000) + (frame % 200 == 150 ? 40000 : 0);
}

bool RunFrame(mete::HostBudgetManager& host, int frame) {
  // Arrays for this frame: value-initialised, gone by themselves.
  auto particles = host.RequestStackResource<Particle>(ParticlesIn(frame));
  if (!particles) return false;
  for (Particle& particle : *particles) particle.speed[1] = -9.81f;

  // Standard containers, and what they hold, in the frame.
  mete::FrameResource resource(host.frames());
  std::pmr::vector<std::pmr::string> visible(&resource);
  for (int i = 0; i < 100; ++i)
    visible.emplace_back("a name too long for the string object itself");

  // Memory for a part of the frame, used again by the next part.
  for (int pass = 0; pass < 4; ++pass) {
    mete::FrameMark mark(host.frames());
    if (!host.RequestStackResource<int>(20000, mete::Initialize::kForOverwrite)) return false;
  }

  // An object that must outlive the frame by as many as are in flight.
  auto texture = mete::TrackedAllocation<Texture>::Make(host, mete::AllocationScope::kPersistent);
  return texture && host.Defer(std::move(*texture));
}

}  // namespace

int main(int argc, char** argv) {
  const int frames = argc > 1 ? std::atoi(argv[1]) : 600;
  mete::HostOptions options;
  options.limit = std::int64_t{64} << 20;
  options.frames.frames_in_flight = 2;
  auto opened = mete::HostBudgetManager::Open(options);
  if (!opened) {
    std::printf("%s\n", opened.error().ToString().c_str());
    return 1;
  }
  mete::HostBudgetManager& host = **opened;
  const auto warned = host.Subscribe([](const mete::BudgetWarning& warning) {
    std::printf("warning: %.*s at %d %%\n", static_cast<int>(warning.budget.size()),
                warning.budget.data(), warning.percent);
  });
  auto level = (*host.Owner("level"))->RequestAllocation(3 << 20, 64, mete::AllocationScope::kHeap);
  if (!level) return 1;

  for (int frame = 1; frame <= frames; ++frame) {
    if (!RunFrame(host, frame)) {
      std::printf("frame %d: out of memory\n", frame);
      return 1;
    }
    host.BeginFrame();
    if (frame % 100 == 0) std::printf("%s\n", host.snapshot().BenchRow().c_str());
  }
  std::printf("%s%s\n", host.snapshot().Text().c_str(), host.snapshot().Json().c_str());
  return host.frames().statistics().total_fallbacks == 0 ? 0 : 1;
}
