// TestStand: a headless Vulkan device on the CPU, behind mete's layer and with validation on. The
// rules of the layer (layer/rules.h) say what kind of device it looks like.
//
// At its end it aborts the program if there was a message of the validation layers, or if a block
// of device memory is still taken.
#pragma once

#include <vulkan/vulkan.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "mete/memory_allocator.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/layer/control.h"

namespace mete {

// The control functions of the layer in this process.
struct LayerControl {
  decltype(&mete_layer_set_rules) SetRules = nullptr;
  decltype(&mete_layer_heap_count) HeapCount = nullptr;
  decltype(&mete_layer_blocks_tried) BlocksTried = nullptr;
  decltype(&mete_layer_budget_queries) BudgetQueries = nullptr;
};

class TestStand {
 public:
  // One heap, as the driver has it; capped; and a discrete GPU of two heaps and three memory types.
  static constexpr const char* kOneHeap = "";
  static constexpr const char* kSmallHeap = "heaps=256Mi";
  static constexpr const char* kTwoHeaps = "heaps=256Mi,512Mi";

  // kNone: the bare driver, for benchmarks; no rule has an effect then.
  enum class Layers : std::uint8_t { kAll, kNone };

  explicit TestStand(const char* rules = kOneHeap, Layers layers = Layers::kAll);
  ~TestStand();
  TestStand(const TestStand&) = delete;
  TestStand& operator=(const TestStand&) = delete;

  // As the allocators want it.
  VulkanDevice device() const { return device_; }
  void set_callbacks(const VkAllocationCallbacks* callbacks) { device_.callbacks = callbacks; }
  VkQueue queue() const { return queue_; }
  std::uint32_t family() const { return family_; }

  // New rules for the layer, from now on.
  void SetRules(const std::string& rules) const;
  const LayerControl& layer() const { return layer_; }
  std::int64_t LayerBytes(std::uint32_t heap) const { return layer_.HeapCount(heap).bytes; }
  std::int64_t LayerBlocks() const;  // of all heaps

  // Messages so far. Taking them forgives them: for tests that provoke one.
  std::vector<std::string> TakeMessages();

 private:
  void OpenInstance(Layers layers);
  void OpenDevice();
  static VKAPI_ATTR VkBool32 VKAPI_CALL Heard(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                              VkDebugUtilsMessageTypeFlagsEXT type,
                                              const VkDebugUtilsMessengerCallbackDataEXT* data,
                                              void* self);

  LayerControl layer_;
  VulkanDevice device_;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  std::uint32_t family_ = 0;
  std::vector<std::string> messages_;
  std::mutex mutex_;  // guards messages_
};

}  // namespace mete
