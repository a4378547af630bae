#define VMA_IMPLEMENTATION
#include "vulkan/vma.h"
