#include "memory/frame_sizing.h"

#include <gtest/gtest.h>

namespace mete {
namespace {

constexpr std::size_t kGrain = FrameSizing::kGrain;

TEST(FrameSizingTest, GrowsAtOnceAndInGrains) {
  FrameSizing sizing(1);
  EXPECT_EQ(sizing.target(), kGrain);
  EXPECT_EQ(sizing.hint(), kGrain);
  sizing.Add(kGrain);
  EXPECT_EQ(sizing.target(), kGrain);
  sizing.Add(kGrain + 1);
  EXPECT_EQ(sizing.target(), 2 * kGrain);
  EXPECT_EQ(FrameSizing(0).target(), 0u);
}

TEST(FrameSizingTest, ShrinksAfterAQuietWindow) {
  FrameSizing sizing(10 * kGrain);
  for (int i = 0; i < FrameSizing::kWindow - 1; ++i) sizing.Add(kGrain);
  EXPECT_EQ(sizing.target(), 10 * kGrain);
  sizing.Add(kGrain);
  EXPECT_EQ(sizing.target(), kGrain);
}

TEST(FrameSizingTest, ASpikeIsNotKeptForEver) {
  FrameSizing sizing(kGrain);
  for (int i = 0; i < 200; ++i) sizing.Add(kGrain);
  sizing.Add(4 * kGrain);
  EXPECT_EQ(sizing.target(), 4 * kGrain);
  for (int i = 0; i < FrameSizing::kWindow - 1; ++i) sizing.Add(kGrain);
  EXPECT_EQ(sizing.target(), 4 * kGrain);
  sizing.Add(kGrain);
  EXPECT_EQ(sizing.target(), kGrain);
}

TEST(FrameSizingTest, WhatComesEveryFewFramesIsKept) {
  FrameSizing sizing(kGrain);
  for (int i = 0; i < 1000; ++i) sizing.Add(i % 20 == 0 ? 4 * kGrain : kGrain);
  EXPECT_EQ(sizing.target(), 4 * kGrain);
  EXPECT_EQ(sizing.hint(), 4 * kGrain);
}

TEST(FrameSizingTest, TheHintIsThe99thPercentile) {
  FrameSizing sizing(0);
  for (std::size_t i = 1; i <= 100; ++i) sizing.Add(i * kGrain);
  EXPECT_EQ(sizing.hint(), 99 * kGrain);
  for (int i = 0; i < FrameSizing::kWindow; ++i) sizing.Add(0);
  EXPECT_EQ(sizing.hint(), 0u);
}

}  // namespace
}  // namespace mete
