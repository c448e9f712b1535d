// The order in which layers are searched for the middle hits of triplets: from the beam outwards, as tracks grow.
// Told again, slowly, by `stages` of beampipe.tracking.kernels.growth.
#pragma once

#include <algorithm>
#include <vector>

#include "windows/windows.hpp"

namespace beampipe {

constexpr int kSeedDepth = 2;  // most pairs of layers from an innermost layer to a seed layer
constexpr int kSeeded = 0;     // stage of the seed layers

/// The stage in which the hits of each layer are searched around.
///
/// Tracks begin on the innermost layers, on which no pair ends. Layers at most kSeedDepth pairs away from one are seed
/// layers: around their hits, all doublets are tried. On the others only those doublets go on that are edges already,
/// so a layer's stage is one more than the last of the layers from which pairs lead to it. Layers on a ring of pairs, or
/// behind one, have no such stage: they are seed layers, too.
inline std::vector<int> stages_of(const Windows& w) {
  constexpr int kUnknown = -1;
  std::vector<int> depth(w.n_layers, 0);
  for (int p = 0; p < w.n_pairs; ++p) depth[w.pairs[2 * p + 1]] = kSeedDepth + 1;
  for (int round = 0; round < kSeedDepth; ++round)
    for (int p = 0; p < w.n_pairs; ++p)
      if (depth[w.pairs[2 * p]] <= round) {
        int& outer = depth[w.pairs[2 * p + 1]];
        outer = std::min(outer, round + 1);
      }
  std::vector<int> stage(w.n_layers);
  for (int l = 0; l < w.n_layers; ++l) stage[l] = depth[l] <= kSeedDepth ? kSeeded : kUnknown;
  for (int round = 0; round < w.n_layers; ++round) {
    std::vector<int> next(w.n_layers, kSeeded + 1);
    for (int p = 0; p < w.n_pairs; ++p) {
      const int from = stage[w.pairs[2 * p]];
      int& to = next[w.pairs[2 * p + 1]];
      to = from == kUnknown || to == kUnknown ? kUnknown : std::max(to, from + 1);
    }
    for (int l = 0; l < w.n_layers; ++l)
      if (stage[l] == kUnknown) stage[l] = next[l];
  }
  for (int& s : stage) s = std::max(s, kSeeded);  // what is still unknown
  return stage;
}

}  // namespace beampipe
