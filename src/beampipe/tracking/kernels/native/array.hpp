// Arrays of plain numbers, which kernels return and numpy takes over without a copy; their memory; their order.
#pragma once

#include <malloc.h>
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <numeric>
#include <utility>
#include <vector>

namespace beampipe {

/// Keeps large blocks of destroyed arrays for new ones: the system clears memory that it hands out, page by page.
class SpareMemory {
public:
  static constexpr std::size_t kLeast = std::size_t{1} << 16, kMost = std::size_t{1} << 28;  // of a block, of all

  /// A block of at least that size; nullptr if there is none.
  void* take(std::size_t bytes) {
    if (bytes < kLeast) return nullptr;
    const std::lock_guard<std::mutex> lock(mutex_);
    std::size_t best = blocks_.size();
    for (std::size_t k = 0; k < blocks_.size(); ++k)
      if (blocks_[k].second >= bytes && blocks_[k].second <= 2 * bytes &&
          (best == blocks_.size() || blocks_[k].second < blocks_[best].second))
        best = k;
    if (best == blocks_.size()) return nullptr;
    void* const block = blocks_[best].first;
    all_ -= blocks_[best].second;
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(best));
    return block;
  }

  /// Keeps a block for later; the blocks kept for longest are freed if there are too many.
  void give(void* block) {
    const std::size_t bytes = malloc_usable_size(block);
    if (bytes < kLeast || bytes > kMost) return std::free(block);
    const std::lock_guard<std::mutex> lock(mutex_);
    for (all_ += bytes; all_ > kMost; blocks_.erase(blocks_.begin())) {
      std::free(blocks_.front().first);
      all_ -= blocks_.front().second;
    }
    blocks_.emplace_back(block, bytes);
  }

private:
  std::mutex mutex_;
  std::vector<std::pair<void*, std::size_t>> blocks_;
  std::size_t all_ = 0;
};

/// The spare memory of this library: its own, or that of the library that opened it. It is never destroyed, as static
/// arrays may be destroyed later.
inline SpareMemory*& spare_memory() {
  static SpareMemory* memory = new SpareMemory;
  return memory;
}

/// A block that starts on a cache line; SpareMemory takes it back. It is never empty, and may be read one
/// vector past its end.
inline void* new_block(std::size_t bytes) {
  constexpr std::size_t kLargePage = std::size_t{1} << 21;
  bytes = (bytes + 127) / 64 * 64;
  if (void* const spare = spare_memory()->take(bytes)) return spare;
  // In large pages where the system has them: first touches of small ones took a quarter of some kernels' time.
  const bool large = bytes >= 2 * kLargePage;
  if (large) bytes = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  void* const block = std::aligned_alloc(large ? kLargePage : 64, bytes);
  if (block == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (large) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}

/// Memory that is reused; elements without a value are not initialised.
template <typename T>
struct SpareAllocator {
  using value_type = T;
  SpareAllocator() = default;
  template <typename Other>
  SpareAllocator(const SpareAllocator<Other>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(new_block(n * sizeof(T))); }
  void deallocate(T* block, std::size_t) { spare_memory()->give(block); }
  template <typename Item>
  void construct(Item* item) {
    ::new (static_cast<void*>(item)) Item;
  }
  friend bool operator==(SpareAllocator, SpareAllocator) { return true; }
  friend bool operator!=(SpareAllocator, SpareAllocator) { return false; }
};

/// Numbers of which there is one for each hit or edge.
template <typename T>
using Array = std::vector<T, SpareAllocator<T>>;

/// A list that grows block by block, each as long as all before it: nothing is copied, and long blocks lie in large pages.
template <typename T>
class List {
public:
  void push_back(const T& item) {
    if (next_ == end_) grow();
    *next_++ = item;
  }
  std::size_t size() const { return blocks_.empty() ? 0 : before_ + (next_ - blocks_.back().data()); }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Array<T>& block : blocks_) {
      const T* const end = &block == &blocks_.back() ? next_ : block.data() + block.size();
      for (const T* item = block.data(); item != end; ++item) visit(*item);
    }
  }

private:
  static constexpr std::size_t kFirst = 64;

  __attribute__((noinline)) void grow() {
    before_ = size();
    blocks_.emplace_back(kFirst << blocks_.size());
    next_ = blocks_.back().data(), end_ = next_ + blocks_.back().size();
  }
  std::vector<Array<T>> blocks_;
  T *next_ = nullptr, *end_ = nullptr;
  std::size_t before_ = 0;  // items in all blocks but the last
};

/// A row of a table, and what it is sorted by.
struct Keyed {
  std::uint32_t key;
  std::int32_t row;
};

/// Sorts by the lowest `bits` of the keys; equal ones stay in order.
inline void sort_by_key(Array<Keyed>& rows, int bits) {
  Array<Keyed> other(rows.size());
  for (int shift = 0; shift < bits; shift += 11) {
    std::array<std::int32_t, 2049> begin{};
    for (const Keyed& x : rows) ++begin[((x.key >> shift) & 2047) + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    for (const Keyed& x : rows) other[begin[(x.key >> shift) & 2047]++] = x;
    rows.swap(other);
  }
}

}  // namespace beampipe
