// The edges of a graph, and the work on lists of them that needs no geometry.
#pragma once

#include <cstdint>
#include <utility>

#include "array.hpp"
#include "windows/windows.hpp"

namespace beampipe {

struct Edges {
  Array<std::int64_t> index;  // (2, n): inner hits, then outer hits; sorted by inner, then outer hit

  std::int64_t size() const { return static_cast<std::int64_t>(index.size() / 2); }
  const std::int64_t* inner() const { return index.data(); }
  const std::int64_t* outer() const { return index.data() + size(); }
};

/// Those of the edges for which `stays(edge)`, in order.
template <typename Stays>
Edges kept(const Edges& edges, Stays&& stays) {
  const std::int64_t n = edges.size();
  std::int64_t n_kept = 0, to = 0;
  for (std::int64_t e = 0; e < n; ++e) n_kept += stays(e);
  Edges result{Array<std::int64_t>(2 * n_kept)};
  for (std::int64_t e = 0; e < n; ++e) {
    if (!stays(e)) continue;
    result.index[to] = edges.inner()[e];
    result.index[n_kept + to++] = edges.outer()[e];
  }
  return result;
}

/// Edges with at least one partner, and what their triplets say of each.
struct PairedEdges {
  Edges edges;
  Triplets triplets;           // their edges are numbered as in `edges`
  Array<float> pair_features;  // (n_edges, 6)
};

/// Drops the edges that take part in no triplet. Both edges of a triplet do, so all triplets stay.
PairedEdges partnered(const Edges& edges, Triplets triplets, const Array<float>& pair_features);

}  // namespace beampipe
