// Edge features and the filter network in one pass; only the score of each edge is kept.
#include <cmath>

#include "geometry.hpp"
#include "kernels.hpp"
#include "networks/dense.hpp"

namespace beampipe {
namespace {

constexpr int kFeatures = 13;
constexpr int kVecs = kBlock / kLanes;  // edges are the lanes here: one vector per kLanes edges of the block

/// Columns of the network's input (kFeatures, kBlock).
void filter_features(const Ends& ends, const float* dist2, float* out) {
  for (int i = 0; i < kBlock; i += kLanes) {
    const Doublet d = ends.doublet(i);
    edge_features(d, out + i, kBlock);
    for (int side = 0; side < 2; ++side) {
      store(out + (6 + 3 * side) * kBlock + i, load(ends.column[side][Node::kR] + i) * kLengthScale);
      store(out + (7 + 3 * side) * kBlock + i, load(ends.column[side][Node::kZ] + i) * kLengthScale);
      store(out + (8 + 3 * side) * kBlock + i, load(ends.column[side][Node::kEta] + i));
    }
    store(out + 12 * kBlock + i, load(dist2 + i));
  }
}

}  // namespace

Array<float> filter_logits(const float* position, std::int64_t n, const std::int64_t* inner, const std::int64_t* outer,
                           const float* dist2, std::int64_t n_edges, const float* packed, int hidden, int threads) {
  // packed: weight (hidden, 13) by rows, bias (hidden), weight of the output (hidden), its bias
  const float *weight = packed, *bias = weight + hidden * kFeatures, *last = bias + hidden;
  const Array<Node> nodes = make_nodes(position, n, threads);
  const std::int64_t n_blocks = (n_edges + kBlock - 1) / kBlock;
  Array<float> logit(n_edges);
#pragma omp parallel num_threads(threads)
  {
    Ends ends;
    alignas(64) float features[kFeatures * kBlock], d2[kBlock] = {};
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < n_blocks; ++block) {
      const std::int64_t first = block * kBlock;
      const int size = static_cast<int>(n_edges - first < kBlock ? n_edges - first : kBlock);
      ends.gather(nodes.data(), inner + first, outer + first, size);
      for (int i = 0; i < size; ++i) d2[i] = dist2[first + i];
      filter_features(ends, d2, features);
      Vec score[kVecs];
      for (int v = 0; v < kVecs; ++v) score[v] = splat(last[hidden]);
      constexpr int kStep = kRegisters / 3;
      for (int part = 0; part < kVecs; part += 3) {
        for (int h = 0; h < hidden; h += kStep) {
          Vec acc[kStep][3];
#pragma GCC unroll 32
          for (int r = 0; r < kStep; ++r) acc[r][0] = acc[r][1] = acc[r][2] = splat(bias[h + r]);
          multiply<kStep, 3>(weight + h * kFeatures, kFeatures, 1, kFeatures, features + part * kLanes, kBlock, acc);
#pragma GCC unroll 32
          for (int r = 0; r < kStep; ++r)
#pragma GCC unroll 3
            for (int v = 0; v < 3; ++v) score[part + v] += last[h + r] * silu(acc[r][v]);
        }
      }
      alignas(64) float out[kBlock];
      for (int v = 0; v < kVecs; ++v) store(out + v * kLanes, score[v]);
      for (int i = 0; i < size; ++i) logit[first + i] = out[i];
    }
  }
  return logit;
}

}  // namespace beampipe
