// Hit features and the embedding network, a block of hits at a time: everything in between stays in L1.
#include "dense.hpp"
#include "geometry.hpp"
#include "kernels.hpp"

namespace beampipe {
namespace {

constexpr int kFeatures = 5;

/// Columns of features (kFeatures, kBlock); position is (kBlock, 3).
void hit_features(const float* position, float* out) {
  for (int i = 0; i < kBlock; i += kLanes) {
    float column[3][kLanes];
    for (int l = 0; l < kLanes; ++l)
      for (int c = 0; c < 3; ++c) column[c][l] = position[3 * (i + l) + c];
    const Vec r = load(column[0]), phi = wrap(load(column[1])), z = load(column[2]);
    Vec sine, cosine;
    sine_cosine(0.5f * phi, sine, cosine);
    store(out + i, r * 1e-3f);
    store(out + kBlock + i, 1.0f - 2.0f * sine * sine);
    store(out + 2 * kBlock + i, 2.0f * sine * cosine);
    store(out + 3 * kBlock + i, z * 1e-3f);
    store(out + 4 * kBlock + i, pseudorapidity(r, z) * 0.25f);
  }
}

}  // namespace

Array<float> embed(const float* position, std::int64_t n, const float* packed, const int* widths, int n_layers,
                   int threads) {
  const int n_out = widths[n_layers];
  int widest = 0;
  for (int k = 1; k <= n_layers; ++k) widest = widths[k] > widest ? widths[k] : widest;
  const std::int64_t n_blocks = (n + kBlock - 1) / kBlock;
  Array<float> out(n * n_out);
#pragma omp parallel num_threads(threads)
  {
    Array<float> features(kFeatures * kBlock), a(widest * kBlock), b(widest * kBlock);
    float inside[3 * kBlock] = {};
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < n_blocks; ++block) {
      const std::int64_t first = block * kBlock;
      const int size = static_cast<int>(n - first < kBlock ? n - first : kBlock);
      for (int i = 0; i < 3 * size; ++i) inside[i] = position[3 * first + i];
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

}  // namespace beampipe
