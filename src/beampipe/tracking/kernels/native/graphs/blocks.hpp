// Several events as one graph: hits in blocks, and no edge from one block to another. Labels of hits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "array.hpp"

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

/// The edges of all blocks as one list, (2, n_edges). `edges_of(block)` gives those of a block, counted from its first
/// hit.
template <typename EdgesOf>
Array<std::int64_t> joined(const Blocks& blocks, EdgesOf&& edges_of) {
  std::int64_t n_edges = 0, to = 0;
  for (std::int64_t block = 0; block < blocks.n; ++block)
    n_edges += static_cast<std::int64_t>(edges_of(block).size() / 2);
  Array<std::int64_t> all(2 * n_edges);
  for (std::int64_t block = 0; block < blocks.n; ++block) {
    const Array<std::int64_t>& part = edges_of(block);
    const std::int64_t size = static_cast<std::int64_t>(part.size() / 2), first = blocks.begin[block];
    for (std::int64_t e = 0; e < size; ++e, ++to) all[to] = part[e] + first, all[n_edges + to] = part[size + e] + first;
  }
  return all;
}

/// Numbers the labels of n hits from 0 in the order of their first hits; gives how many there are. `number` becomes the
/// number of each label; before the call it is -1 for each label of these hits.
inline std::int64_t number_by_first_hit(std::int64_t* label, std::int64_t n, std::vector<std::int64_t>& number) {
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (label[i] < 0) continue;
    std::int64_t& mine = number[label[i]];
    if (mine < 0) mine = next++;
    label[i] = mine;
  }
  return next;
}

}  // namespace beampipe
