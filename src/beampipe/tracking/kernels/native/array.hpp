// An owning array of plain numbers: what a kernel returns. Its memory goes to numpy without a copy.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace beampipe {

template <typename T>
class Array {
public:
  Array() = default;

  /// `size` elements, not initialised, on a cache line.
  explicit Array(std::size_t size) : size_(size) {
    // Never empty; may be read one vector past its end.
    const std::size_t bytes = (size * sizeof(T) + 127) / 64 * 64;
    // In large pages where the system has them: first touches of small ones took a quarter of some kernels' time.
    const bool large = bytes >= 2 * kLargePage;
    data_ = static_cast<T*>(std::aligned_alloc(large ? kLargePage : 64,
                                               large ? (bytes + kLargePage - 1) / kLargePage * kLargePage : bytes));
    if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (large) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  Array(std::size_t size, T value) : Array(size) {
    for (std::size_t i = 0; i < size; ++i) data_[i] = value;
  }
  Array(Array&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Array& operator=(Array&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Array() { std::free(data_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }

  /// Forget the elements past `size`.
  void truncate(std::size_t size) { size_ = size; }
  /// Give up the memory; the caller frees it with std::free.
  T* release() { return std::exchange(data_, nullptr); }

private:
  static constexpr std::size_t kLargePage = std::size_t{1} << 21;
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A list that grows block by block, each as long as all before it: nothing is copied, and long blocks lie in large pages.
template <typename T>
class List {
public:
  void push_back(const T& item) {
    if (next_ == end_) grow();
    *next_++ = item;
  }
  std::size_t size() const { return blocks_.empty() ? 0 : before_ + (next_ - blocks_.back().data()); }
  T& operator[](std::size_t i) {
    const std::size_t place = i + kFirst;
    const int block = 63 - __builtin_clzll(place) - kFirstBits;
    return blocks_[block][place - (kFirst << block)];
  }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Array<T>& block : blocks_) {
      const T* const end = &block == &blocks_.back() ? next_ : block.data() + block.size();
      for (const T* item = block.data(); item != end; ++item) visit(*item);
    }
  }

private:
  static constexpr int kFirstBits = 6;
  static constexpr std::size_t kFirst = std::size_t{1} << kFirstBits;

  __attribute__((noinline)) void grow() {
    before_ = size();
    blocks_.emplace_back(kFirst << blocks_.size());
    next_ = blocks_.back().data(), end_ = next_ + blocks_.back().size();
  }
  std::vector<Array<T>> blocks_;
  T *next_ = nullptr, *end_ = nullptr;
  std::size_t before_ = 0;  // items in all blocks but the last
};

}  // namespace beampipe
