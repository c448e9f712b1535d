// The networks that see one hit or one edge at a time, a block of them together: everything in between stays in L1. Hit
// features and the embedding network; edge features and the filter network, of which only the score of each edge is kept.
#include <algorithm>

#include "geometry.hpp"
#include "kernels.hpp"
#include "networks/dense.hpp"

namespace beampipe {
namespace {

constexpr int kHitFeatures = 5;

/// Columns of features (kHitFeatures, kBlock); position is (kBlock, 3).
void hit_features(const float* position, float* out) {
  for (int i = 0; i < kBlock; i += kLanes) {
    float column[3][kLanes];
    for (int l = 0; l < kLanes; ++l)
      for (int c = 0; c < 3; ++c) column[c][l] = position[3 * (i + l) + c];
    const Vec r = load(column[0]), phi = wrap(load(column[1])), z = load(column[2]);
    Vec sine, cosine;
    sine_cosine(0.5f * phi, sine, cosine);
    store(out + i, r * kLengthScale);
    store(out + kBlock + i, 1.0f - 2.0f * sine * sine);
    store(out + 2 * kBlock + i, 2.0f * sine * cosine);
    store(out + 3 * kBlock + i, z * kLengthScale);
    store(out + 4 * kBlock + i, pseudorapidity(r, z) * kEtaScale);
  }
}

constexpr int kFilterFeatures = 13;
constexpr int kVecs = kBlock / kLanes;  // edges are the lanes here: one vector per kLanes edges of the block

/// Columns of the network's input (kFilterFeatures, kBlock).
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

Array<float> embed(Hits hits, const float* packed, const int* widths, int n_layers) {
  const int n_out = widths[n_layers];
  int widest = 0;
  for (int k = 1; k <= n_layers; ++k) widest = widths[k] > widest ? widths[k] : widest;
  const std::int64_t n_blocks = (hits.n + kBlock - 1) / kBlock;
  Array<float> out(hits.n * n_out);
#pragma omp parallel num_threads(hits.threads)
  {
    Array<float> features(kHitFeatures * kBlock), a(widest * kBlock), b(widest * kBlock);
    float inside[3 * kBlock] = {};
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < n_blocks; ++block) {
      const std::int64_t first = block * kBlock;
      const int size = static_cast<int>(std::min<std::int64_t>(hits.n - first, kBlock));
      for (int i = 0; i < 3 * size; ++i) inside[i] = hits.position[3 * first + i];
      hit_features(inside, features.data());
      const float* next = packed;
      for (int k = 0; k < n_layers; ++k) {
        const Linear layer(next, widths[k], widths[k + 1]);
        const float* x = k == 0 ? features.data() : a.data();
        const std::int64_t row = k == 0 ? 1 : layer.n_in, step = k == 0 ? kBlock : 1;
        const auto bias = [&](int, int c) { return load(layer.bias + c); };
        if (k + 1 < n_layers) {
          dense(kBlock, x, row, step, layer.n_in, layer.weight, layer.width, bias,
                [&](int r, int c, Vec v) { store(b.data() + r * layer.width + c, silu(v)); });
          std::swap(a, b);
        } else {
          dense(kBlock, x, row, step, layer.n_in, layer.weight, layer.width, bias, [&](int r, int c, Vec v) {
            if (r < size) store(out.data() + (first + r) * n_out + c, v);
          });
        }
      }
    }
  }
  return out;
}

Array<float> filter_logits(Hits hits, EdgeList edges, const float* dist2, const float* packed, int hidden) {
  // packed: weight (hidden, 13) by rows, bias (hidden), weight of the output (hidden), its bias
  const float *weight = packed, *bias = weight + hidden * kFilterFeatures, *last = bias + hidden;
  const Array<Node> nodes = make_nodes(hits);
  const std::int64_t n_blocks = (edges.n + kBlock - 1) / kBlock;
  Array<float> logit(edges.n);
#pragma omp parallel num_threads(hits.threads)
  {
    Ends ends;
    alignas(64) float features[kFilterFeatures * kBlock], d2[kBlock] = {};
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < n_blocks; ++block) {
      const std::int64_t first = block * kBlock;
      const int size = static_cast<int>(std::min<std::int64_t>(edges.n - first, kBlock));
      ends.gather(nodes.data(), edges.inner + first, edges.outer + first, size);
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
          multiply<kStep, 3>(weight + h * kFilterFeatures, kFilterFeatures, 1, kFilterFeatures,
                             features + part * kLanes, kBlock, acc);
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
