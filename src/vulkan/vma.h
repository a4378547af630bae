// The Vulkan Memory Allocator, as mete compiles it. The implementation is in vma.cc alone: it takes
// longer to compile than the rest of this folder together.
#pragma once

#define VMA_STATIC_VULKAN_FUNCTIONS 0
#define VMA_DYNAMIC_VULKAN_FUNCTIONS 1
#define VMA_VULKAN_VERSION 1003000

#include <vk_mem_alloc.h>
