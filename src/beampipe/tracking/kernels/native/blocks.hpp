// Several events as one graph: hits in blocks, and no edge from one block to another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace beampipe {

struct Blocks {
  const std::int64_t* begin;  // first hit of each block, and the end
  std::int64_t n;

  std::int64_t size(std::int64_t block) const { return begin[block + 1] - begin[block]; }
};

/// `find(block, threads)` for each block. Large blocks share the threads; small ones, which cannot, are shared among
/// them.
template <typename Find>
void for_each_block(const Blocks& blocks, int threads, Find&& find) {
  constexpr std::int64_t kLarge = 20000;  // hits
  std::vector<std::int64_t> order(blocks.n);
  std::iota(order.begin(), order.end(), 0);
  if (blocks.n > 1 && threads > 1)
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return blocks.size(a) > blocks.size(b); });
  std::int64_t first = 0;
  for (; first < blocks.n && (blocks.n == 1 || threads == 1 || blocks.size(order[first]) >= kLarge); ++first)
    find(order[first], threads);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (first < blocks.n)
  for (std::int64_t k = first; k < blocks.n; ++k) find(order[k], 1);
}

}  // namespace beampipe
