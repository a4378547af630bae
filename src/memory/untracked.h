// The counters of mete::new_hook, which lives in a library of its own: whoever links it replaces
// operator new of the whole program.
#pragma once

#include <atomic>
#include <cstdint>

namespace mete::untracked {

inline constinit std::atomic<bool> g_counted{false};
inline constinit std::atomic<std::int64_t> g_allocations{0};
inline constinit std::atomic<std::int64_t> g_live{0};
inline constinit std::atomic<std::int64_t> g_live_bytes{0};

}  // namespace mete::untracked
