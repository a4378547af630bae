#include "quota/slab.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>

namespace mete {
namespace {

struct Counted {
  Counted() { ++alive; }
  ~Counted() { --alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  static inline int alive = 0;
  int value = 0;
};

TEST(Slab, WhatIsMadeStaysWhereItIs) {
  {
    Slab<Counted, 4, 3> slab;
    EXPECT_EQ(slab.size(), 0u);
    Counted* made[12];
    for (std::uint32_t i = 0; i < 12; ++i) {
      made[i] = &slab.Grow();
      made[i]->value = static_cast<int>(i);
      EXPECT_EQ(slab.size(), i + 1);
    }
    for (std::uint32_t i = 0; i < 12; ++i) {
      EXPECT_EQ(&slab[i], made[i]);
      EXPECT_EQ(slab[i].value, static_cast<int>(i));
    }
    EXPECT_EQ(Counted::alive, 12);
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(Slab, KeepsTheAlignmentOfWhatItHolds) {
  struct alignas(64) Wide {
    char bytes[65];
  };
  auto slab = std::make_unique<Slab<Wide, 1000, 2>>();
  for (int i = 0; i < 1001; ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&slab->Grow()) % 64, 0u);
  }
}

TEST(SlabDeathTest, IsNotAskedForMoreThanItHolds) {
  Slab<int, 1, 2> slab;
  slab.Grow();
  slab.Grow();
  EXPECT_DEATH(slab.Grow(), "size_ < kMax");
}

}  // namespace
}  // namespace mete
