// The learned windows, as plain arrays that Python owns. See beampipe.tracking.windows for their meaning.
#pragma once
#include <cstdint>
#include <vector>

#include "array.hpp"

namespace beampipe {

constexpr int kMaxOut = 16;  // most outgoing layer pairs of one layer

struct Windows {
  int n_layers;
  int n_pairs;
  const float* layers;            // (n_layers, 4): r_min, r_max, z_min, z_max [mm]
  const std::int32_t* pairs;      // (n_pairs, 2): inner layer, outer layer; sorted
  const float* pair_windows;      // (n_pairs, 3): kappa_max [1/mm], z0_min, z0_max [mm]
  const std::int32_t* out_begin;  // (n_layers + 1,): first pair of each inner layer
  const float* triplet_windows;   // (n_pairs, kMaxOut, 4): a, b, c, d; a <= 0 where the triplet is never seen
};

// Layer in whose box a hit lies, -1 for none. For a vector reduction GCC 12 takes an MMX register in the baseline library
// and leaves it so, and the next x87 instruction of the process (fmod of numpy) gives NaN: one layer after the other.
inline int layer_at(const float* layers, int n_layers, float r, float z) {
  for (int l = 0; l < n_layers; ++l) {
    const float* box = layers + 4 * l;
    if ((r >= box[0]) & (r <= box[1]) & (z >= box[2]) & (z <= box[3])) return l;
  }
  return -1;
}

// Pair of each inner layer and each outer one, -1 for none: number n_layers * inner + outer.
inline std::vector<std::int32_t> pairs_by_layers(const Windows& w) {
  std::vector<std::int32_t> pair(w.n_layers * w.n_layers, -1);
  for (int p = 0; p < w.n_pairs; ++p) pair[w.pairs[2 * p] * w.n_layers + w.pairs[2 * p + 1]] = p;
  return pair;
}

// Pairs of edges that share a hit and agree in curvature and slope, grouped by that hit from the beam outwards.
struct Triplets {
  Array<std::int64_t> edges;  // (2, n): the edge into the hit, the edge out of it
  Array<float> chi2;          // (n,), in units of the window: < 1

  std::int64_t size() const { return static_cast<std::int64_t>(chi2.size()); }
  const std::int64_t* in_edge() const { return edges.data(); }
  const std::int64_t* out_edge() const { return edges.data() + size(); }
};

}  // namespace beampipe
