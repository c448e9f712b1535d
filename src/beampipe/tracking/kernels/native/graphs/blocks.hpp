// The graph that kernels work on: hits, edges and triplets. Several events are one graph: hits in blocks, and no edge
// from one block to another. Labels of hits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "array.hpp"

namespace beampipe {

struct Blocks {
  const std::int64_t* begin;  // first hit of each block, and the end
  std::int64_t n;

  std::int64_t size(std::int64_t block) const { return begin[block + 1] - begin[block]; }
};

/// Hits, and the threads that may work on them.
struct Hits {
  const float* position;  // (n, 3): r [mm], phi [rad] between -pi and pi, z [mm]
  std::int64_t n;
  Blocks events;  // not read by kernels that treat each hit or edge alone
  int threads;

  /// The hits of one event, for so many threads.
  Hits of(std::int64_t event, int n_threads) const {
    return {position + 3 * events.begin[event], events.size(event), {}, n_threads};
  }
};

/// Edges from an inner hit to an outer one, sorted by inner hit.
struct EdgeList {
  std::int64_t n;
  const std::int64_t *inner, *outer;
};

/// Pairs of edges that share a hit, from the beam outwards.
struct TripletList {
  std::int64_t n;
  const std::int64_t *in_edge, *out_edge;  // the edge into the hit, the edge out of it
  const float* chi2;                       // in units of the window: < 1
};

/// `find(event, its hits)` for each event. Large ones share the threads; small ones, which cannot, are shared among
/// them.
template <typename Find>
void for_each_event(const Hits& hits, Find&& find) {
  constexpr std::int64_t kLarge = 20000;  // hits
  const Blocks& blocks = hits.events;
  const int threads = hits.threads;
  std::vector<std::int64_t> order(blocks.n);
  std::iota(order.begin(), order.end(), 0);
  if (blocks.n > 1 && threads > 1)
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return blocks.size(a) > blocks.size(b); });
  std::int64_t first = 0;
  for (; first < blocks.n && (blocks.n == 1 || threads == 1 || blocks.size(order[first]) >= kLarge); ++first)
    find(order[first], hits.of(order[first], threads));
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (first < blocks.n)
  for (std::int64_t k = first; k < blocks.n; ++k) find(order[k], hits.of(order[k], 1));
}

/// The edges of all blocks as one list, (2, n_edges). Those of a block count its hits from its first one.
inline Array<std::int64_t> joined(const Blocks& blocks, std::vector<Array<std::int64_t>>& edges) {
  if (blocks.n == 1) return std::move(edges[0]);
  std::int64_t n_edges = 0, to = 0;
  for (const auto& part : edges) n_edges += static_cast<std::int64_t>(part.size() / 2);
  Array<std::int64_t> all(2 * n_edges);
  for (std::int64_t block = 0; block < blocks.n; ++block) {
    const Array<std::int64_t>& part = edges[block];
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
