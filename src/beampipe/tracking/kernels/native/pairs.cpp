// Pairs of edges that share a hit and agree in curvature and slope, and what they tell about each edge.
#include "kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace beampipe {
namespace {

constexpr int kChunk = 1024;  // middle hits per task
constexpr float kPi = 3.14159265358979f;

// Rank of each hit by r^2 + z^2, equal ones by row: the order in which a particle from the beam line meets them.
std::vector<std::int32_t> rank_outwards(const float* position, std::int64_t n) {
  std::vector<std::uint32_t> key(n);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* p = position + 3 * i;
    const float rho2 = p[0] * p[0] + p[2] * p[2];
    std::memcpy(&key[i], &rho2, 4);  // non-negative floats sort as their bits do
  }
  std::vector<std::int32_t> order(n), other(n);
  std::iota(order.begin(), order.end(), 0);
  for (const int shift : {0, 11, 22}) {
    std::array<std::int32_t, 2049> begin{};
    for (const std::int32_t i : order) ++begin[((key[i] >> shift) & 2047) + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    for (const std::int32_t i : order) other[begin[(key[i] >> shift) & 2047]++] = i;
    order.swap(other);
  }
  return order;
}

struct Doublets {
  std::vector<float> kappa, cot, weight;
  std::vector<std::int32_t> pair;  // layer pair, -1 where the windows know none
};

Doublets measure(const float* position, const Array<std::int16_t>& layer, const std::int64_t* inner,
                 const std::int64_t* outer, std::int64_t n_edges, const Windows& w, int threads) {
  std::vector<std::int32_t> pair_of(w.n_layers * w.n_layers, -1);
  for (int p = 0; p < w.n_pairs; ++p) pair_of[w.pairs[2 * p] * w.n_layers + w.pairs[2 * p + 1]] = p;
  Doublets d;
  for (auto* column : {&d.kappa, &d.cot, &d.weight}) column->resize(n_edges);
  d.pair.resize(n_edges);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t e = 0; e < n_edges; ++e) {
    const float *a = position + 3 * inner[e], *b = position + 3 * outer[e];
    const int layer_a = layer[inner[e]], layer_b = layer[outer[e]];
    d.pair[e] = layer_a < 0 || layer_b < 0 ? -1 : pair_of[layer_a * w.n_layers + layer_b];
    const float dr = b[0] - a[0];
    float dphi = b[1] - a[1];
    dphi = dphi > kPi ? dphi - 2 * kPi : (dphi < -kPi ? dphi + 2 * kPi : dphi);
    const float half = std::sin(0.5f * dphi);
    const float inverse = 1.0f / std::max(dr * dr + 4 * a[0] * b[0] * half * half, 1e-6f);
    const float k = 2 * std::sin(dphi) * std::sqrt(inverse);
    const float ds = dr * (1 + k * k * (1.0f / 24) * (a[0] * a[0] + a[0] * b[0] + b[0] * b[0]));
    d.kappa[e] = k;
    d.cot[e] = (b[2] - a[2]) / (std::fabs(ds) < 1e-3f ? 1e-3f : ds);
    d.weight[e] = inverse;
  }
  return d;
}

}  // namespace

Triplets triplets(const float* position, std::int64_t n, const std::int64_t* inner, const std::int64_t* outer,
                  std::int64_t n_edges, const Windows& w, int threads) {
  const Array<std::int16_t> layer = assign_layers(position, n, w, threads);
  const Doublets d = measure(position, layer, inner, outer, n_edges, w, threads);
  const auto group = [&](const std::int64_t* end, std::vector<std::int32_t>& begin, std::vector<std::int32_t>& edge) {
    begin.assign(n + 1, 0);
    for (std::int64_t e = 0; e < n_edges; ++e) begin[end[e] + 1] += d.pair[e] >= 0;
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    edge.resize(begin.back());
    std::vector<std::int32_t> next(begin.begin(), begin.end() - 1);
    for (std::int64_t e = 0; e < n_edges; ++e)
      if (d.pair[e] >= 0) edge[next[end[e]]++] = static_cast<std::int32_t>(e);
  };
  std::vector<std::int32_t> in_begin, in_edge, out_begin, out_edge;
  group(outer, in_begin, in_edge);
  group(inner, out_begin, out_edge);

  std::vector<std::int32_t> middle = rank_outwards(position, n);
  const auto lonely = [&](std::int32_t b) {
    return in_begin[b] == in_begin[b + 1] || out_begin[b] == out_begin[b + 1];
  };
  middle.erase(std::remove_if(middle.begin(), middle.end(), lonely), middle.end());
  const int n_chunks = (static_cast<int>(middle.size()) + kChunk - 1) / kChunk;
  struct Found {
    std::vector<std::int32_t> in_edge, out_edge;
    std::vector<float> chi2;
  };
  std::vector<Found> found(n_chunks);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int chunk = 0; chunk < n_chunks; ++chunk) {
    Found& mine = found[chunk];
    const std::size_t last = std::min(middle.size(), static_cast<std::size_t>(chunk + 1) * kChunk);
    for (std::size_t m = static_cast<std::size_t>(chunk) * kChunk; m < last; ++m) {
      const std::int32_t b = middle[m];
      for (std::int32_t i = in_begin[b]; i < in_begin[b + 1]; ++i) {
        const std::int32_t e = in_edge[i];
        const float k = d.kappa[e], cot = d.cot[e];
        const float* row = w.triplet_windows + 4 * kMaxOut * d.pair[e];
        const int first_out = w.out_begin[w.pairs[2 * d.pair[e] + 1]];
        for (std::int32_t j = out_begin[b]; j < out_begin[b + 1]; ++j) {
          const std::int32_t f = out_edge[j];
          const float* window = row + 4 * (d.pair[f] - first_out);
          const float dk = d.kappa[f] - k;
          const float turn = 1 + cot * d.cot[f];
          const float dc = d.cot[f] - cot;
          const float s = window[0] * (d.weight[e] + d.weight[f]) + window[1] * k * k;
          const float t = turn * turn * (window[2] + window[3] * k * k);
          const float top = dk * dk * t + dc * dc * s, bottom = s * t;
          if (window[0] > 0 && top < bottom) {
            mine.in_edge.push_back(e);
            mine.out_edge.push_back(f);
            mine.chi2.push_back(top / bottom);
          }
        }
      }
    }
  }
  std::int64_t size = 0;
  for (const Found& f : found) size += static_cast<std::int64_t>(f.chi2.size());
  Triplets all{Array<std::int64_t>(2 * size), Array<float>(size)};
  std::int64_t t = 0;
  for (const Found& f : found)
    for (std::size_t i = 0; i < f.chi2.size(); ++i, ++t) {
      all.edges[t] = f.in_edge[i];
      all.edges[size + t] = f.out_edge[i];
      all.chi2[t] = f.chi2[i];
    }
  return all;
}

Array<float> pair_features(const std::int64_t* in_edge, const std::int64_t* out_edge, const float* chi2,
                           std::int64_t n_triplets, std::int64_t n_edges) {
  constexpr float kNone = 2.0f;  // chi2 of an edge with no partner: beyond any that passes
  std::vector<std::int16_t> n_in(n_edges, 0), n_out(n_edges, 0), level_in(n_edges, 0), level_out(n_edges, 0);
  std::vector<float> best_in(n_edges, kNone), best_out(n_edges, kNone);
  for (std::int64_t t = 0; t < n_triplets; ++t) {  // outwards: the level of in_edge is final when it is read
    const std::int64_t i = in_edge[t], o = out_edge[t];
    best_in[o] = std::min(best_in[o], chi2[t]);
    best_out[i] = std::min(best_out[i], chi2[t]);
    n_in[o] += n_in[o] < 30000;
    n_out[i] += n_out[i] < 30000;
    level_in[o] = std::max<std::int16_t>(level_in[o], level_in[i] + 1);
  }
  for (std::int64_t t = n_triplets - 1; t >= 0; --t)
    level_out[in_edge[t]] = std::max<std::int16_t>(level_out[in_edge[t]], level_out[out_edge[t]] + 1);
  Array<float> features(6 * n_edges);
  for (std::int64_t e = 0; e < n_edges; ++e) {
    float* row = features.data() + 6 * e;
    row[0] = best_in[e];
    row[1] = best_out[e];
    row[2] = 0.5f * std::log1p(static_cast<float>(n_in[e]));
    row[3] = 0.5f * std::log1p(static_cast<float>(n_out[e]));
    row[4] = 0.125f * level_in[e];
    row[5] = 0.125f * level_out[e];
  }
  return features;
}

}  // namespace beampipe
