// What the layer offers to the program that it is loaded into, besides the rules it reads from the
// environment variable METE_VULKAN_RULES when an instance is made. C, found with dlsym.
//
// Thread safety: all of it may be called on any thread.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// New rules (rules.h has the text). Heaps and hide_budget hold for instances made from now on, the
// others at once. 0, or -1 and the old rules stay.
int mete_layer_set_rules(const char* rules);

struct mete_layer_heap {
  int64_t blocks;
  int64_t bytes;
  int64_t peak_bytes;
};

// What the process has taken from that heap, and the most it had since the rules were set.
struct mete_layer_heap mete_layer_heap_count(uint32_t heap);

// Blocks asked for since the rules were set, refused ones included.
int64_t mete_layer_blocks_tried(void);

// How often this thread has asked for the driver's budget.
int64_t mete_layer_budget_queries(void);

#ifdef __cplusplus
}
#endif
