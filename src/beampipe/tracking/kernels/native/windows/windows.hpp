// The learned windows, as plain arrays that Python owns, and the order in which layers are searched.
//
// beampipe.tracking.windows gives their meaning, and repeats the order of growth in numpy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "array.hpp"
#include "graphs/blocks.hpp"

namespace beampipe {

constexpr int kMaxOut = 16;  // most outgoing layer pairs of one layer

constexpr int kNoLine = 1000;  // the fewest layers where there is no line

/// Numbers of layers on straight lines from the beam line; see crossings_of.
struct Crossings {
  std::vector<std::int32_t> before, most_before;  // (n_layers,): fewest and most before each, on lines from the origin
  std::vector<std::int32_t> between;  // (n_layers, n_layers): fewest between an inner and an outer one, on any line
};

struct Windows {
  int n_layers;
  int n_pairs;
  const float* layers;            // (n_layers, 4): r_min, r_max, z_min, z_max [mm]
  const std::int32_t* pairs;      // (n_pairs, 2): inner layer, outer layer; sorted
  const float* pair_windows;      // (n_pairs, 3): kappa_max [1/mm], z0_min, z0_max [mm]
  const std::int32_t* out_begin;  // (n_layers + 1,): first pair of each inner layer
  const float* triplet_windows;   // (n_pairs, kMaxOut, 4): a, b, c, d; a <= 0 where the triplet is never seen
  const Crossings* crossings;
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

// A TripletList, grouped by the shared hit from the beam outwards, and its memory.
struct Triplets {
  Array<std::int64_t> edges;  // (2, n)
  Array<float> chi2;          // (n,)

  TripletList view() const {
    const auto n = static_cast<std::int64_t>(chi2.size());
    return {n, edges.data(), edges.data() + n, chi2.data()};
  }
};

/// Where tracks begin, and which of them are looked for.
struct Growth {
  int seed_depth;         // most layers before a seed layer
  float least_curvature;  // share of each pair's kappa_max below which doublets are left out
};

/// The stage in which the hits of each layer are searched around: one more than the last of the layers from which pairs
/// lead to it. Layers on a ring of pairs, or behind one, have no such stage: the number of layers, beyond all others.
inline std::vector<int> stages_of(const Windows& w) {
  std::vector<int> stage(w.n_layers, 0);
  for (int round = 0; round < w.n_layers; ++round)
    for (int p = 0; p < w.n_pairs; ++p) {
      int& to = stage[w.pairs[2 * p + 1]];
      to = std::min(std::max(to, stage[w.pairs[2 * p]] + 1), w.n_layers);
    }
  return stage;
}

/// Whether a track may begin with each triplet of the windows: number kMaxOut * pair inside + slot of the pair outside.
///
/// The middle hit must lie on a seed layer, one with at most `seed_depth` others before it, and no layer may be skipped,
/// or one where the triplet ends on one of the first layers. Most other triplets agree by chance, and a track that has
/// begun goes on across all gaps of the windows. Around hits of layers without a stage, tracks begin with any triplet.
inline std::vector<char> may_begin(const Windows& w, const std::vector<int>& stage, int seed_depth) {
  constexpr int kFirst = 3;  // most layers before one of the first
  const auto& [before, most_before, between] = *w.crossings;
  std::vector<char> begins(static_cast<std::size_t>(w.n_pairs) * kMaxOut, 0);
  for (int p = 0; p < w.n_pairs; ++p) {
    const int a = w.pairs[2 * p], b = w.pairs[2 * p + 1];
    for (int q = w.out_begin[b]; q < w.out_begin[b + 1]; ++q) {
      const int c = w.pairs[2 * q + 1], skipped = between[a * w.n_layers + b] + between[b * w.n_layers + c];
      begins[p * kMaxOut + q - w.out_begin[b]] =
          stage[b] == w.n_layers || (before[b] <= seed_depth && skipped <= (most_before[c] <= kFirst));
    }
  }
  return begins;
}

}  // namespace beampipe
