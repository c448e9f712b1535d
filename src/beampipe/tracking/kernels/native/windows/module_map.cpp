// Doublets inside learned windows that take part in at least one triplet inside learned windows.
//
// The loop runs over middle hits: the hits that may lie before and after it are collected from a (row, phi) grid of
// their layers, tested against each other while in L1, and only survivors are written. Nothing grows with the
// number of doublets, which is some fifty times the number of edges that are kept.
#include "arc.hpp"
#include "graphs/each_block.hpp"
#include "kernels.hpp"
#include "limits.hpp"
#include "windows/layer_grid.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace beampipe {
namespace {

constexpr int kChunk = 256;       // middle hits per task
constexpr float kMaxDphi = 1.2f;  // rad: an edge turns by at most this

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

// `chord_of` for |dphi| < kMaxDphi, by the series to dphi^7 and dphi^8: the sine to 2e-5, at less than half the work.
Chord short_chord(float r, Vec other, Vec dr, Vec dphi) {
  const Vec p2 = dphi * dphi;
  const Vec sine = dphi * (1.0f - p2 * (1.0f / 6 - p2 * (1.0f / 120 - p2 * (1.0f / 5040))));
  const Vec versine = p2 * (1.0f - p2 * (1.0f / 12 - p2 * (1.0f / 360 - p2 * (1.0f / 20160))));  // 2 (1 - cos)
  return {sine, dr * dr + other * versine * r};
}

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
    const Vec dphi = wrap((load(grid.phi.data() + j) - q.phi) * sign);
    const Arc arc = arc_on(short_chord(q.r, r, dr, dphi), q.r, r, dr);
    const Vec cot = dz / arc.ds;
    const Vec r_in = own * q.r + foreign * r, z_in = own * q.z + foreign * z;
    const Vec z0 = arc.z0(r_in, z_in, cot);
    unsigned inside = less_mask(splat(kMinDr), dr) & less_mask(absolute(dphi), splat(kMaxDphi)) &
                      less_mask(absolute(arc.kappa), splat(q.kappa_max)) & less_mask(splat(q.z0_min), z0) &
                      less_mask(z0, splat(q.z0_max));
    if (last - j < kLanes) inside &= (1u << (last - j)) - 1;
    compress(side.kappa.data() + side.size, arc.kappa, inside);
    compress(side.cot.data() + side.size, cot, inside);
    compress(side.weight.data() + side.size, arc.inverse_d2, inside);
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
void match(Side& in, Side& out, const float* row) {
  const TripletWindow<float> window{row[0], row[1], row[2], row[3]};
  for (int i = 0; i < in.size; ++i) {
    const float kappa = in.kappa[i], cot = in.cot[i], weight = in.weight[i];
    unsigned any = 0;
    for (int j = 0; j < out.size; j += kLanes) {
      const Chi2 x = triplet_chi2(window, kappa, cot, weight, load(out.kappa.data() + j), load(out.cot.data() + j),
                                  load(out.weight.data() + j));
      unsigned pass = less_mask(x.top, x.bottom);
      any |= pass;
      for (; pass != 0; pass &= pass - 1) out.kept[j + __builtin_ctz(pass)] = 1;
    }
    in.kept[i] |= any != 0;
  }
}

/// What all blocks have come to.
struct Totals {
  std::atomic<std::int64_t> tried{0}, tests{0}, edges{0};

  bool too_large() const {
    return tried.load(std::memory_order_relaxed) > kMaxTried ||
           tests.load(std::memory_order_relaxed) > kMaxDoubletTests ||
           edges.load(std::memory_order_relaxed) > kMaxEdges;
  }
};

/// Edges that were found, inner hit and outer hit.
struct Found {
  std::vector<std::int32_t> inner, outer;

  void add(std::int32_t from, std::int32_t to) { inner.push_back(from), outer.push_back(to); }
};

/// Finds the edges of one middle hit after the other, with room that is used again.
class Middle {
public:
  Middle(const Grid& grid, const Windows& windows, const std::vector<std::vector<int>>& in_pairs, Totals& totals)
      : grid_(grid), windows_(windows), in_pairs_(in_pairs), totals_(totals), in_(kMaxOut), out_(kMaxOut) {}

  /// Adds the edges that end at, and those that start from, the hit in row `s` of the grid.
  void add_edges(std::int32_t s, Found& found) {
    const int layer = grid_.layer[s];
    const std::vector<int>& before = in_pairs_[layer];
    const int first_out = windows_.out_begin[layer], n_out = windows_.out_begin[layer + 1] - first_out;
    if (before.empty() || n_out == 0) return;
    if (in_.size() < before.size()) in_.resize(before.size());
    int n_in_doublets = 0;
    std::int64_t tried = 0, tests = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      fill(in_[i], s, before[i], false);
      n_in_doublets += in_[i].size;
      tried += in_[i].tried;
    }
    totals_.tried += tried;
    if (n_in_doublets == 0) return;
    for (int o = 0; o < n_out; ++o) {
      fill(out_[o], s, first_out + o, true);
      tests += static_cast<std::int64_t>(n_in_doublets) * out_[o].size;
    }
    totals_.tests += tests;
    if (tests > kMaxDoubletTests) return;
    for (int o = 0; o < n_out; ++o) {
      if (out_[o].size == 0) continue;
      for (std::size_t i = 0; i < before.size(); ++i) {
        const float* window = windows_.triplet_windows + 4 * (before[i] * kMaxOut + o);
        if (window[0] > 0 && in_[i].size > 0) match(in_[i], out_[o], window);
      }
    }
    const std::size_t n_before = found.inner.size();
    for (std::size_t i = 0; i < before.size(); ++i)
      for (int d = 0; d < in_[i].size; ++d)
        if (in_[i].kept[d]) found.add(grid_.hit[in_[i].hit[d]], grid_.hit[s]);
    for (int o = 0; o < n_out; ++o)
      for (int d = 0; d < out_[o].size; ++d)
        if (out_[o].kept[d]) found.add(grid_.hit[s], grid_.hit[out_[o].hit[d]]);
    totals_.edges += (found.inner.size() - n_before) / 2;  // most are found at both ends
  }

private:
  /// The doublets of a middle hit with the other layer of a pair.
  void fill(Side& side, std::int32_t s, int pair, bool outward) {
    const float* window = windows_.pair_windows + 3 * pair;
    const Query query{grid_.r[s], grid_.phi[s], grid_.z[s], window[0], window[1], window[2], outward};
    side.clear();
    collect(grid_, grid_.layers[windows_.pairs[2 * pair + outward]], query, side);
    side.close();
  }

  const Grid& grid_;
  const Windows& windows_;
  const std::vector<std::vector<int>>& in_pairs_;  // numbers of the pairs that end on each layer
  Totals& totals_;
  std::vector<Side> in_, out_;
};

/// An edge may have been kept at both of its ends: the lists brought together, sorted, each edge once.
Array<std::int64_t> merged(const std::vector<Found>& found, std::int64_t n, int threads) {
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

/// The edges of one block of n hits; none once there are too many.
Array<std::int64_t> find(const float* position, std::int64_t n, const Windows& w, int threads, Totals& totals) {
  const Array<std::int16_t> layer_of = assign_layers(position, n, w, threads);
  const Grid grid = make_grid(position, layer_of, n, w);
  const std::int32_t total = grid.begin.back();
  std::vector<std::vector<int>> in_pairs(w.n_layers);
  for (int p = 0; p < w.n_pairs; ++p) in_pairs[w.pairs[2 * p + 1]].push_back(p);

  const int n_chunks = (total + kChunk - 1) / kChunk;
  std::vector<Found> found(n_chunks);
#pragma omp parallel num_threads(threads)
  {
    Middle middle(grid, w, in_pairs, totals);
#pragma omp for schedule(dynamic, 4)
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
      const std::int32_t last = std::min(total, (chunk + 1) * kChunk);
      for (std::int32_t s = chunk * kChunk; s < last && !totals.too_large(); ++s) middle.add_edges(s, found[chunk]);
    }
  }
  return totals.too_large() ? Array<std::int64_t>() : merged(found, n, threads);
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
  return joined(blocks, [&](std::int64_t block) -> const Array<std::int64_t>& { return parts[block]; });
}

}  // namespace beampipe
