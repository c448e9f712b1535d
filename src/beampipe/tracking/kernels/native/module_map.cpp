// Doublets inside learned windows that take part in at least one triplet inside learned windows.
//
// The loop runs over middle hits: the hits that may lie before and after it are collected from a (row, phi) grid of
// their layers, tested against each other while in L1, and only survivors are written. Nothing grows with the
// number of doublets, which is some fifty times the number of edges that are kept.
#include "kernels.hpp"
#include "limits.hpp"
#include "simd.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace beampipe {
namespace {

constexpr int kWidth = 16;  // hits tested at a time
constexpr int kPhiBins = 256;
constexpr int kChunk = 256;  // middle hits per task
constexpr float kPi = 3.14159265358979f;
constexpr float kMinDr = 0.5f;    // mm: an edge goes outwards by at least this
constexpr float kMaxDphi = 1.2f;  // rad: and turns by at most this

// A layer cut into rows (of z for a barrel, of r for a disc), each row sorted by phi.
struct LayerGrid {
  bool barrel;
  float r_min, r_max, z_min, z_max;
  float low, inverse_pitch;  // of the rows
  int n_rows;
  int cell;  // number of its first cell
};

// Hits of known layer, sorted by (layer, row, phi bin, phi): an order that does not depend on the input's.
struct Grid {
  std::vector<LayerGrid> layers;
  std::vector<std::int32_t> begin;  // first hit of each cell, one more at the end
  std::vector<float> r, phi, z;     // padded by kWidth
  std::vector<std::int32_t> hit;    // input row
  std::vector<std::int16_t> layer;
};

/// The whole part of x, brought between low and high; low for what is no number.
int whole(float x, int low, int high) {
  const float floor = std::floor(x);
  return floor > low ? (floor < high ? static_cast<int>(floor) : high) : low;
}

/// May lie outside of the bins by as much as a window is wide, not more: phi is between -pi and pi, or taken as such.
int phi_bin(float phi) { return whole((phi + kPi) * (kPhiBins / (2 * kPi)), -kPhiBins, 2 * kPhiBins - 1); }

int row_of(const LayerGrid& layer, float coordinate) {
  const float row = (coordinate - layer.low) * layer.inverse_pitch;
  return whole(row, 0, layer.n_rows - 1);
}

Grid make_grid(const float* position, const Array<std::int16_t>& layer_of, std::int64_t n, const Windows& w) {
  Grid grid;
  std::vector<std::int32_t> population(w.n_layers, 0);
  for (std::int64_t i = 0; i < n; ++i)
    if (layer_of[i] >= 0) ++population[layer_of[i]];
  int cell = 0;
  for (int l = 0; l < w.n_layers; ++l) {
    const float* box = w.layers + 4 * l;
    LayerGrid g{(box[1] - box[0]) < (box[3] - box[2]), box[0], box[1], box[2], box[3], 0, 0, 0, cell};
    const float extent = g.barrel ? box[3] - box[2] : box[1] - box[0];
    g.low = g.barrel ? box[2] : box[0];
    g.n_rows = std::clamp(population[l] / (2 * kPhiBins), 1, 24);
    g.inverse_pitch = g.n_rows / extent;
    cell += g.n_rows * kPhiBins;
    grid.layers.push_back(g);
  }
  std::vector<std::int32_t> key(n);
  grid.begin.assign(cell + 1, 0);
  for (std::int64_t i = 0; i < n; ++i) {
    if (layer_of[i] < 0) continue;
    const LayerGrid& g = grid.layers[layer_of[i]];
    const float* p = position + 3 * i;
    key[i] = g.cell + row_of(g, g.barrel ? p[2] : p[0]) * kPhiBins + std::clamp(phi_bin(p[1]), 0, kPhiBins - 1);
    ++grid.begin[key[i] + 1];
  }
  std::partial_sum(grid.begin.begin(), grid.begin.end(), grid.begin.begin());
  const std::int32_t total = grid.begin.back();
  std::vector<std::int32_t> next(grid.begin.begin(), grid.begin.end() - 1);
  grid.hit.resize(total);
  for (std::int64_t i = 0; i < n; ++i)
    if (layer_of[i] >= 0) grid.hit[next[key[i]]++] = static_cast<std::int32_t>(i);
  const auto before = [position](std::int32_t a, std::int32_t b) {
    const float *p = position + 3 * a, *q = position + 3 * b;
    if (p[1] != q[1]) return p[1] < q[1];
    if (p[2] != q[2]) return p[2] < q[2];
    if (p[0] != q[0]) return p[0] < q[0];
    return a < b;
  };
  for (int c = 0; c < cell; ++c)
    if (grid.begin[c + 1] - grid.begin[c] > 1)
      std::sort(grid.hit.begin() + grid.begin[c], grid.hit.begin() + grid.begin[c + 1], before);
  for (auto* column : {&grid.r, &grid.phi, &grid.z}) column->assign(total + kWidth, 0.0f);
  grid.layer.resize(total);
  for (std::int32_t s = 0; s < total; ++s) {
    const float* p = position + 3 * grid.hit[s];
    grid.r[s] = p[0];
    grid.phi[s] = p[1];
    grid.z[s] = p[2];
    grid.layer[s] = layer_of[grid.hit[s]];
  }
  return grid;
}

// Doublets of one middle hit with one neighbouring layer.
struct Side {
  std::vector<float> kappa, cot, weight;  // weight: 1 / d^2 [1/mm^2]
  std::vector<std::int32_t> hit;          // row in the grid
  std::vector<std::uint8_t> kept;
  int size = 0;
  std::int64_t tried = 0;  // hits that were looked at

  void reserve(int more) {
    const std::size_t need = size + more + kWidth;
    if (hit.size() >= need) return;
    for (auto* column : {&kappa, &cot, &weight}) column->resize(2 * need);
    hit.resize(2 * need);
    kept.resize(2 * need);
  }
  void clear() { size = 0, tried = 0; }
  void close() {  // lanes past the end must fail every test
    reserve(0);
    for (int i = size; i < size + kWidth; ++i) kappa[i] = 1e9f, cot[i] = 0, weight[i] = 0;
    std::memset(kept.data(), 0, size + kWidth);
  }
};

struct Query {
  float r, phi, z;  // the middle hit
  float kappa_max, z0_min, z0_max;
  bool outward;  // the other hit lies outside
};

// Test the hits [first, last) of one row and append those inside the windows.
void scan(const Grid& grid, const Query& query, std::int32_t first, std::int32_t last, Side& side) {
  if (first == last) return;
  side.reserve(last - first);
  side.tried += last - first;
  const Query q = query;  // in registers
  const float sign = q.outward ? 1.0f : -1.0f;
  // r, z of the inner hit: the middle one or the other
  const float own = q.outward ? 1.0f : 0.0f, foreign = 1.0f - own;
  for (std::int32_t j = first; j < last; j += kLanes) {
    const Vec r = load(grid.r.data() + j), z = load(grid.z.data() + j);
    const Vec dr = (r - q.r) * sign, dz = (z - q.z) * sign;
    Vec dphi = (load(grid.phi.data() + j) - q.phi) * sign;
    dphi -= nearest(dphi * (0.5f / kPi)) * (2 * kPi);
    const Vec p2 = dphi * dphi;
    const Vec sine = dphi * (1.0f - p2 * (1.0f / 6 - p2 * (1.0f / 120 - p2 * (1.0f / 5040))));
    const Vec versine = p2 * (1.0f - p2 * (1.0f / 12 - p2 * (1.0f / 360 - p2 * (1.0f / 20160))));  // 2 (1 - cos)
    const Vec weight = 1.0f / (dr * dr + r * versine * q.r);
    const Vec kappa = 2.0f * sine * square_root(weight);
    const Vec bend = kappa * kappa * (1.0f / 24);
    // arc length from the beam line to first order in (kappa r)^2
    const Vec cot = dz / (dr * (1.0f + bend * (q.r * q.r + r * (q.r + r))));
    const Vec r_in = own * q.r + foreign * r, z_in = own * q.z + foreign * z;
    const Vec z0 = z_in - r_in * (1.0f + bend * r_in * r_in) * cot;
    unsigned inside = less_mask(splat(kMinDr), dr) & less_mask(absolute(dphi), splat(kMaxDphi)) &
                      less_mask(absolute(kappa), splat(q.kappa_max)) & less_mask(splat(q.z0_min), z0) &
                      less_mask(z0, splat(q.z0_max));
    if (last - j < kLanes) inside &= (1u << (last - j)) - 1;
    compress(side.kappa.data() + side.size, kappa, inside);
    compress(side.cot.data() + side.size, cot, inside);
    compress(side.weight.data() + side.size, weight, inside);
    compress(side.hit.data() + side.size, lane_numbers() + j, inside);
    side.size += __builtin_popcount(inside);
  }
}

// To 2e-5, for a window that is a little wider.
float arc_sine(float x) {
  if (x > 0.5f) return std::asin(x);
  const float x2 = x * x;
  return x * (1 + x2 * (1.0f / 6 + x2 * (3.0f / 40 + x2 * (15.0f / 336 + x2 * (105.0f / 3456)))));
}

// Collect the hits of one layer that form a doublet with the middle hit.
void collect(const Grid& grid, const LayerGrid& layer, const Query& q, Side& side) {
  // The row window: where a line through the middle hit and z0 in [z0_min, z0_max] crosses the layer.
  float low, high;
  // How much longer an arc of the largest curvature is than its radius, relative to the middle hit's.
  const float k2 = q.kappa_max * q.kappa_max / 24;
  const auto stretch = [&](float r) { return (1 + k2 * r * r) / (1 + k2 * q.r * q.r); };
  const float slope_low = (q.z - q.z0_max) / q.r, slope_high = (q.z - q.z0_min) / q.r;
  if (layer.barrel) {
    // Lengths along the arc: between the straight line's and that of the tightest curve.
    const float r_a = layer.r_min * std::min(1.0f, stretch(layer.r_min)),
                r_b = layer.r_max * std::max(1.0f, stretch(layer.r_max));
    const auto [lo, hi] = std::minmax({q.z0_max + slope_low * r_a, q.z0_max + slope_low * r_b,
                                       q.z0_min + slope_high * r_a, q.z0_min + slope_high * r_b});
    low = lo, high = hi;
    if (high < layer.z_min || low > layer.z_max) return;
  } else {
    low = layer.r_min, high = layer.r_max;
    const float z = 0.5f * (layer.z_min + layer.z_max);
    if (slope_low * slope_high > 0) {
      // both extreme lines point to the same end: r = (z_layer - z0) / slope at each
      float r_1 = (z - q.z0_max) / slope_low, r_2 = (z - q.z0_min) / slope_high;
      if (r_1 < 0 && r_2 < 0) return;
      if (r_1 < 0) r_1 = high;
      if (r_2 < 0) r_2 = high;
      const float thick = 0.5f * (layer.z_max - layer.z_min) / std::min(std::fabs(slope_low), std::fabs(slope_high));
      const float r_low = std::min(r_1, r_2) - thick, r_high = std::max(r_1, r_2) + thick;
      low = std::max(low, r_low / std::max(1.0f, stretch(r_low)));
      high = std::min(high, r_high / std::min(1.0f, stretch(r_high)));
      if (high < low) return;
    }
    if (q.outward)
      low = std::max(low, q.r);
    else
      high = std::min(high, q.r);
    if (high < low) return;
  }
  // The phi window: a circle through the beam line has sin phi = kappa r / 2, measured from its tangent there.
  const float r_from = layer.barrel ? layer.r_min : low, r_to = layer.barrel ? layer.r_max : high;
  const float near = 0.5f * q.kappa_max * std::min(q.r, r_from), far = 0.5f * q.kappa_max * std::max(q.r, r_to);
  float widest = far < 0.85f ? arc_sine(far) - arc_sine(near) : kMaxDphi;
  widest += 4e-5f;
  const int bin_low = phi_bin(q.phi - widest), bin_high = phi_bin(q.phi + widest);
  const int row_low = row_of(layer, low - 1.0f), row_high = row_of(layer, high + 1.0f);
  for (int row = row_low; row <= row_high; ++row) {
    const std::int32_t* begin = grid.begin.data() + layer.cell + row * kPhiBins;
    if (bin_low < 0) scan(grid, q, begin[kPhiBins + bin_low], begin[kPhiBins], side);
    if (bin_low < kPhiBins && bin_high >= 0)
      scan(grid, q, begin[std::max(bin_low, 0)], begin[std::min(bin_high, kPhiBins - 1) + 1], side);
    if (bin_high >= kPhiBins) scan(grid, q, begin[0], begin[bin_high - kPhiBins + 1], side);
  }
}

// Mark the doublets of both sides that agree with one of the other side.
void match(Side& in, Side& out, const float* window) {
  const float a = window[0], b = window[1], c = window[2], d = window[3];
  for (int i = 0; i < in.size; ++i) {
    const float k = in.kappa[i], cot = in.cot[i];
    const float e = c + d * k * k;
    const float constant = a * in.weight[i] + b * k * k;
    unsigned any = 0;
    for (int j = 0; j < out.size; j += kLanes) {
      const Vec other = load(out.cot.data() + j);
      const Vec dk = load(out.kappa.data() + j) - k;
      const Vec dc = other - cot;
      const Vec turn = 1.0f + other * cot;
      const Vec s = load(out.weight.data() + j) * a + constant;
      const Vec t = turn * turn * e;
      unsigned pass = less_mask(dk * dk * t + dc * dc * s, s * t);
      any |= pass;
      for (; pass != 0; pass &= pass - 1) out.kept[j + __builtin_ctz(pass)] = 1;
    }
    in.kept[i] |= any != 0;
  }
}

}  // namespace

Array<std::int16_t> assign_layers(const float* position, std::int64_t n, const Windows& w, int threads) {
  Array<std::int16_t> layer(n);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t block = 0; block < n; block += kWidth) {
    float r[kWidth], z[kWidth];
    std::int32_t found[kWidth];
    const int lanes = static_cast<int>(std::min<std::int64_t>(kWidth, n - block));
    for (int i = 0; i < kWidth; ++i) {
      r[i] = i < lanes ? position[3 * (block + i)] : -1.0f;
      z[i] = i < lanes ? position[3 * (block + i) + 2] : 0.0f;
      found[i] = -1;
    }
    for (int l = 0; l < w.n_layers; ++l) {
      const float* box = w.layers + 4 * l;
      const float r_min = box[0], r_max = box[1], z_min = box[2], z_max = box[3];
#pragma omp simd
      for (int i = 0; i < kWidth; ++i)
        found[i] = (r[i] >= r_min) & (r[i] <= r_max) & (z[i] >= z_min) & (z[i] <= z_max) ? l : found[i];
    }
    for (int i = 0; i < lanes; ++i) layer[block + i] = static_cast<std::int16_t>(found[i]);
  }
  return layer;
}

namespace {

/// What all blocks have come to.
struct Totals {
  std::atomic<std::int64_t> tried{0}, tests{0}, edges{0};

  bool too_large() const {
    return tried.load(std::memory_order_relaxed) > kMaxTried ||
           tests.load(std::memory_order_relaxed) > kMaxDoubletTests ||
           edges.load(std::memory_order_relaxed) > kMaxEdges;
  }
};

/// The edges of one block of n hits; not all once there are too many.
Array<std::int64_t> find(const float* position, std::int64_t n, const Windows& w, int threads, Totals& totals) {
  const Array<std::int16_t> layer_of = assign_layers(position, n, w, threads);
  const Grid grid = make_grid(position, layer_of, n, w);
  const std::int32_t total = grid.begin.back();
  std::vector<std::vector<int>> in_pairs(w.n_layers);
  for (int p = 0; p < w.n_pairs; ++p) in_pairs[w.pairs[2 * p + 1]].push_back(p);

  const int n_chunks = (total + kChunk - 1) / kChunk;
  struct Found {
    std::vector<std::int32_t> inner, outer;
  };
  std::vector<Found> found(n_chunks);
#pragma omp parallel num_threads(threads)
  {
    std::vector<Side> in(kMaxOut), out(kMaxOut);
#pragma omp for schedule(dynamic, 4)
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
      Found& mine = found[chunk];
      const std::int32_t last = std::min(total, (chunk + 1) * kChunk);
      for (std::int32_t s = chunk * kChunk; s < last && !totals.too_large(); ++s) {
        const int layer = grid.layer[s];
        const auto& before = in_pairs[layer];
        const int first_out = w.out_begin[layer], n_out = w.out_begin[layer + 1] - first_out;
        if (before.empty() || n_out == 0) continue;
        if (in.size() < before.size()) in.resize(before.size());
        const auto query = [&](int pair, bool outward) {
          const float* window = w.pair_windows + 3 * pair;
          return Query{grid.r[s], grid.phi[s], grid.z[s], window[0], window[1], window[2], outward};
        };
        int n_in_doublets = 0;
        std::int64_t tried = 0, tests = 0;
        for (std::size_t i = 0; i < before.size(); ++i) {
          in[i].clear();
          collect(grid, grid.layers[w.pairs[2 * before[i]]], query(before[i], false), in[i]);
          in[i].close();
          n_in_doublets += in[i].size;
          tried += in[i].tried;
        }
        totals.tried += tried;
        if (n_in_doublets == 0) continue;
        for (int o = 0; o < n_out; ++o) {
          out[o].clear();
          collect(grid, grid.layers[w.pairs[2 * (first_out + o) + 1]], query(first_out + o, true), out[o]);
          out[o].close();
          tests += static_cast<std::int64_t>(n_in_doublets) * out[o].size;
        }
        totals.tests += tests;
        if (tests > kMaxDoubletTests) continue;
        for (int o = 0; o < n_out; ++o) {
          if (out[o].size == 0) continue;
          for (std::size_t i = 0; i < before.size(); ++i) {
            const float* window = w.triplet_windows + 4 * (before[i] * kMaxOut + o);
            if (window[0] > 0 && in[i].size > 0) match(in[i], out[o], window);
          }
        }
        const std::size_t n_before = mine.inner.size();
        for (std::size_t i = 0; i < before.size(); ++i)
          for (int d = 0; d < in[i].size; ++d)
            if (in[i].kept[d]) mine.inner.push_back(grid.hit[in[i].hit[d]]), mine.outer.push_back(grid.hit[s]);
        for (int o = 0; o < n_out; ++o)
          for (int d = 0; d < out[o].size; ++d)
            if (out[o].kept[d]) mine.inner.push_back(grid.hit[s]), mine.outer.push_back(grid.hit[out[o].hit[d]]);
        totals.edges += (mine.inner.size() - n_before) / 2;  // most are found at both ends
      }
    }
  }
  // An edge may have been kept at both of its ends: bring the lists together, sorted, each edge once.
  if (totals.too_large()) return {};
  std::vector<std::int32_t> begin(n + 1, 0);
  for (const Found& f : found)
    for (const std::int32_t i : f.inner) ++begin[i + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<std::int32_t> outer(begin.back()), next(begin.begin(), begin.end() - 1), size(n);
  for (const Found& f : found)
    for (std::size_t e = 0; e < f.inner.size(); ++e) outer[next[f.inner[e]]++] = f.outer[e];
  std::int64_t n_edges = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : n_edges)
  for (std::int64_t i = 0; i < n; ++i) {
    const auto first = outer.begin() + begin[i], last = outer.begin() + begin[i + 1];
    std::sort(first, last);
    size[i] = static_cast<std::int32_t>(std::unique(first, last) - first);
    n_edges += size[i];
  }
  Array<std::int64_t> edge_index(2 * n_edges);
  std::int64_t* to = edge_index.data();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int32_t e = begin[i]; e < begin[i] + size[i]; ++e, ++to) to[0] = i, to[n_edges] = outer[e];
  return edge_index;
}

}  // namespace

Array<std::int64_t> module_map_edges(const float* position, const Blocks& blocks, const Windows& w, int threads) {
  std::vector<Array<std::int64_t>> parts(blocks.n);
  Totals totals;
  for_each_block(blocks, threads, [&](std::int64_t block, int shared) {
    parts[block] = find(position + 3 * blocks.begin[block], blocks.size(block), w, shared, totals);
  });
  require_at_most(totals.tried, kMaxTried, "pairs of hits to look at");
  require_at_most(totals.tests, kMaxDoubletTests, "pairs of doublets to look at");
  require_at_most(totals.edges, kMaxEdges, "edges");
  if (blocks.n == 1) return std::move(parts[0]);
  std::int64_t n_edges = 0, to = 0;
  for (const auto& part : parts) n_edges += static_cast<std::int64_t>(part.size() / 2);
  Array<std::int64_t> edge_index(2 * n_edges);
  for (std::int64_t block = 0; block < blocks.n; ++block) {
    const std::int64_t size = static_cast<std::int64_t>(parts[block].size() / 2), first = blocks.begin[block];
    for (std::int64_t e = 0; e < size; ++e, ++to)
      edge_index[to] = parts[block][e] + first, edge_index[n_edges + to] = parts[block][size + e] + first;
  }
  return edge_index;
}

}  // namespace beampipe
