// The learned windows, as plain arrays that Python owns, and the order in which layers are searched.
//
// beampipe.tracking.windows gives their meaning, and repeats the order of growth in numpy.
#pragma once

#include <algorithm>
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

constexpr int kSeeded = 0;  // stage of the seed layers

/// Where tracks begin, and which of them are looked for.
struct Growth {
  int seed_depth;         // most layers before a seed layer
  float least_curvature;  // share of each pair's kappa_max below which doublets are left out
  bool continued;         // whether triplets that lead out of the seed layers must be continued by another one
};

/// The number of layers other than `own` that the straight line from the origin crosses on its way to (r, z).
inline int layers_before(const Windows& w, int own, float r, float z) {
  int n = 0;
  for (int l = 0; l < w.n_layers; ++l) {
    const float* box = w.layers + 4 * l;
    const bool begins_before = box[0] < r && (z > 0 ? box[2] < z : z == 0 || box[3] > z);
    // The line separates the corners of the boxes that it crosses. Products are compared, not subtracted: no compiler
    // may fuse them, and numpy finds the same.
    const float low = z > 0 ? box[1] : box[0], high = z > 0 ? box[0] : box[1];
    n += l != own && begins_before && box[2] * r <= low * z && box[3] * r >= high * z;
  }
  return n;
}

/// The least number of layers before one, on the ways to the middles of the four sides of its box.
inline int depth_of(const Windows& w, int layer) {
  const float* box = w.layers + 4 * layer;
  const float r = 0.5f * (box[0] + box[1]), z = 0.5f * (box[2] + box[3]);
  return std::min(std::min(layers_before(w, layer, box[0], z), layers_before(w, layer, box[1], z)),
                  std::min(layers_before(w, layer, r, box[2]), layers_before(w, layer, r, box[3])));
}

/// Whether a track may begin with a doublet between two layers. Between barrels, most doublets are long, but hardly any
/// track has lost two hits in a row. Such a track begins with its second hit, if there are seed layers beyond that.
inline bool may_begin(const Windows& w, int inner, int outer, int seed_depth) {
  const auto barrel = [&](int layer) {
    const float* box = w.layers + 4 * layer;
    return box[1] - box[0] < box[3] - box[2];
  };
  if (!barrel(inner) || !barrel(outer)) return true;
  const int depth = depth_of(w, outer);
  return depth - depth_of(w, inner) <= 2 || depth >= seed_depth;
}

/// The stage in which the hits of each layer are searched around.
///
/// Layers with at most `seed_depth` others before them are seed layers, as are those on which no pair ends: around their
/// hits, all doublets are tried. On the others only those doublets go on that are edges already, so a layer's stage is
/// one more than the last of the layers from which pairs lead to it. Layers on a ring of pairs, or behind one, have no
/// such stage: they are seed layers, too.
inline std::vector<int> stages_of(const Windows& w, int seed_depth) {
  constexpr int kUnknown = -1;
  std::vector<int> stage(w.n_layers, kSeeded);
  for (int p = 0; p < w.n_pairs; ++p) stage[w.pairs[2 * p + 1]] = kUnknown;
  for (int l = 0; l < w.n_layers; ++l)
    if (stage[l] == kUnknown && depth_of(w, l) <= seed_depth) stage[l] = kSeeded;
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<int> next(w.n_layers, kSeeded + 1);
    for (int p = 0; p < w.n_pairs; ++p) {
      const int from = stage[w.pairs[2 * p]];
      int& to = next[w.pairs[2 * p + 1]];
      to = from == kUnknown || to == kUnknown ? kUnknown : std::max(to, from + 1);
    }
    for (int l = 0; l < w.n_layers; ++l)
      if (stage[l] == kUnknown && next[l] != kUnknown) stage[l] = next[l], changed = true;
  }
  for (int& s : stage) s = std::max(s, kSeeded);  // stages that are not determined yet
  return stage;
}

}  // namespace beampipe
