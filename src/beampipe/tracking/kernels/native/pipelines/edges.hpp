// The edges of a graph, and the work on lists of them that needs no geometry.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

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

/// Edges, and the triplets that they make.
struct Graph {
  Edges edges;
  Triplets triplets;  // their edges are numbered as in `edges`
};

/// Whether each of n edges takes part in one of the triplets.
std::vector<char> partnered(const Triplets& triplets, std::int64_t n);

/// The edges that stay, and the triplets of which both do.
Graph part_of(const Graph& graph, const std::vector<char>& stays);

/// One row of `columns` numbers for each edge that stays.
Array<float> rows_of(const Array<float>& table, std::size_t columns, const std::vector<char>& stays);

constexpr std::size_t kPairFeatures = 6;

/// Whether each edge lies on a chain of triplets of at least `min_hits` hits, and of three.
std::vector<char> long_chains(const Array<float>& pair_features, int min_hits);

/// A graph whose edges all lie on chains that may become tracks, and what its triplets say of each.
struct PairedEdges {
  Graph graph;
  Array<float> pair_features;  // (n_edges, kPairFeatures)
};

}  // namespace beampipe
