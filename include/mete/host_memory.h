// HostMemory: where the host half gets its memory from. The one interface between the arenas and
// the operating system.
//
// The system's own implementation reserves address space, backs it with huge pages where the
// kernel grants them, and takes everything else from malloc. A program may put another allocator
// under mete by implementing it; tests make each call of a scenario fail in turn.
//
// Every call may fail by returning null or false and has then changed nothing. No call counts
// anything: whoever calls has charged a Budget first.
//
// Thread safety: all calls may run on any thread at any time.
#pragma once

#include <cstddef>

namespace mete {

class HostMemory {
 public:
  // What Reserve aligns to, and the size of a huge page.
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  virtual ~HostMemory() = default;

  // Address space that may not be touched yet, aligned to kHugePage. Null: refused.
  virtual void* Reserve(std::size_t bytes) noexcept = 0;
  virtual void Release(void* begin, std::size_t bytes) noexcept = 0;

  // Makes part of a reservation readable and writable, and has it backed before it returns, so that
  // no page fault waits in the program's loop. Multiples of a page. False: it stays untouchable.
  virtual bool Commit(void* begin, std::size_t bytes) noexcept = 0;
  virtual void Decommit(void* begin, std::size_t bytes) noexcept = 0;

  // Traps every access, or allows it again; the contents stay. For finding stale pointers.
  virtual void Protect(void* begin, std::size_t bytes, bool accessible) noexcept = 0;

  // A block of the heap. `alignment` is a power of two; Free gets what Allocate was given.
  virtual void* Allocate(std::size_t bytes, std::size_t alignment) noexcept = 0;
  virtual void Free(void* block, std::size_t bytes, std::size_t alignment) noexcept = 0;
};

// mmap, madvise and malloc. Lives until the process ends.
HostMemory& SystemHostMemory() noexcept;

}  // namespace mete
