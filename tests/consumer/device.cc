// Links the Vulkan half and its allocator; needs no device.
#include <cstdio>

#include "mete/device_buffers.h"
#include "mete/vulkan/allocators.h"

int main() {
  const auto opened = mete::VMAAllocator::Open({});
  std::puts(opened ? "opened" : opened.error().ToString().c_str());
  return 0;
}
