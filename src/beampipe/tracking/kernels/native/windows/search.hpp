// The doublets of one hit: where its partners may lie on other layers, and which of the hits there are inside windows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "arc.hpp"
#include "windows/layer_grid.hpp"

namespace beampipe {

constexpr float kMaxDphi = 1.2f;  // rad: an edge turns by at most this

constexpr float kNever = 1e9f;  // a curvature that agrees with no other

/// Doublets of one hit, those of each pair of layers together, from the beginning of a vector on.
struct Side {
  struct Segment {
    int pair, first, last;
  };
  std::vector<Segment> segments;          // those with doublets
  std::vector<float> kappa, cot, weight;  // weight: 1 / d^2 [1/mm^2]
  std::vector<std::int32_t> hit;          // row in the grid
  std::vector<float> s, t;                // what `match` makes of kappa and weight
  std::vector<std::int32_t> any;          // not 0: agrees with a doublet of the other side
  std::int64_t n = 0;                     // doublets
  std::int64_t tried = 0;                 // hits that were looked at

  /// Room for so many, with the empty places between segments.
  void reserve(std::size_t size) {
    if (hit.size() >= size + kWidth) return;
    for (auto* column : {&kappa, &cot, &weight, &s, &t}) column->resize(2 * size + kWidth);
    hit.resize(2 * size + kWidth);
    any.resize(2 * size + kWidth);
  }
};

/// Hit of which partners are looked for.
struct Origin {
  float r, phi, z, cosine, sine;
};

/// Up to kLanes hits of one run of the grid to look at.
struct Block {
  std::int32_t first, n;
  int pair;
  int align;  // kLanes - 1 for the first block of a pair, or 0
};

/// asin for 0 <= x < 0.9, to 2e-5.
inline Vec arc_sine(Vec x) {
  const auto steep = x > 0.5f;
  const Vec y = steep ? square_root(0.5f * (1.0f - x)) : x;
  const Vec y2 = y * y;
  const Vec sine =
      y *
      (1.0f + y2 * (1.0f / 6 + y2 * (3.0f / 40 + y2 * (15.0f / 336 + y2 * (105.0f / 3456 + y2 * (945.0f / 42240))))));
  return steep ? 0.5f * kPi - 2.0f * sine : sine;
}

inline IntVec truncated(Vec v) { return __builtin_convertvector(v, IntVec); }
inline Vec between(Vec v, Vec low, Vec high) { return minimum(maximum(v, low), high); }  // low for what is no number

/// The pairs that start (or end) on one layer, and the cells of their other layers that a hit's partners may lie in.
template <bool kOutward>
class Partners {
public:
  Partners(const Grid& grid, const Windows& w, const std::vector<int>& pairs) : grid_(&grid), w_(&w), pairs_(pairs) {
    const std::size_t size = (pairs.size() + kLanes - 1) / kLanes * kLanes;
    columns_.assign(kColumns * size, 0.0f);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const float* window = w.pair_windows + 3 * pairs[i];
      const LayerGrid& g = grid.layers[w.pairs[2 * pairs[i] + kOutward]];
      const float row[kColumns] = {window[0],
                                   window[1],
                                   window[2],
                                   g.barrel ? 1.0f : 0.0f,
                                   g.r_min,
                                   g.r_max,
                                   g.z_min,
                                   g.z_max,
                                   g.low,
                                   g.inverse_pitch,
                                   static_cast<float>(g.n_rows - 1),
                                   static_cast<float>(g.n_phi)};
      float* to = columns_.data() + i / kLanes * kLanes * kColumns + i % kLanes;
      for (int c = 0; c < kColumns; ++c) to[c * kLanes] = row[c];
    }
  }

  bool empty() const { return pairs_.empty(); }

  /// The doublets of the hit at `q`.
  void collect(const Origin& q, Side& side, std::vector<Block>& blocks) const {
    side.segments.clear();
    std::size_t n = 0;
    for (std::size_t first = 0; first < pairs_.size(); first += kLanes) {
      std::int32_t cells[4][kLanes];
      find_cells(q, columns_.data() + first * kColumns, cells);
      const int lanes = static_cast<int>(std::min<std::size_t>(kLanes, pairs_.size() - first));
      for (int i = 0; i < lanes; ++i) {
        if (cells[0][i] > cells[1][i]) continue;
        const std::size_t begin = n;
        n = add_blocks(pairs_[first + i], cells[0][i], cells[1][i], cells[2][i], cells[3][i], blocks, n);
        if (n == begin) continue;
        blocks[begin].align = kLanes - 1;
        side.segments.push_back({pairs_[first + i], static_cast<int>(begin), static_cast<int>(n - 1)});
      }
    }
    side.reserve((n + side.segments.size() + 1) * kLanes);
    side.n = test(q, blocks, n, side);
    for (Side::Segment& segment : side.segments) {  // so far, numbers of blocks
      segment.first = blocks[segment.first].first;
      segment.last = blocks[segment.last].n;
    }
  }

private:
  static constexpr int kColumns = 12;

  static std::size_t add_run(int pair, std::int32_t first, std::int32_t last, std::vector<Block>& blocks,
                             std::size_t n) {
    const std::int32_t size = last - first;
    if (size <= 0) return n;
    if (n + size / kLanes + 3 > blocks.size()) blocks.resize(2 * blocks.size() + size / kLanes + 3);
    // Most runs are one or two blocks long: both are written without asking.
    Block* to = blocks.data() + n;
    to[0] = {first, std::min(size, kLanes), pair, 0};
    to[1] = {first + kLanes, std::min(size - kLanes, kLanes), pair, 0};
    const std::int32_t n_blocks = (size + kLanes - 1) / kLanes;
    for (std::int32_t k = 2; k < n_blocks; ++k)
      to[k] = {first + k * kLanes, std::min(size - k * kLanes, kLanes), pair, 0};
    return n + n_blocks;
  }

  std::size_t add_blocks(int pair, int row_low, int row_high, int low, int high, std::vector<Block>& blocks,
                         std::size_t n) const {
    const LayerGrid& g = grid_->layers[w_->pairs[2 * pair + kOutward]];
    const std::int32_t* begin = grid_->begin.data() + g.cell + row_low * g.n_phi;
    const int first = std::clamp(low, 0, g.n_phi), last = std::clamp(high + 1, 0, g.n_phi);
    for (int row = row_low; row <= row_high; ++row, begin += g.n_phi) {
      n = add_run(pair, begin[first], begin[last], blocks, n);
      if (low < 0) n = add_run(pair, begin[std::max(g.n_phi + low, last)], begin[g.n_phi], blocks, n);
      if (high >= g.n_phi) n = add_run(pair, begin[0], begin[std::min(high + 1 - g.n_phi, first)], blocks, n);
    }
    return n;
  }

  /// Tests the hits of the blocks and writes down those inside their window: how many. Leaves behind in each block
  /// the beginning of its doublets in `first`, and their end in `n`.
  std::int64_t test(const Origin& origin, std::vector<Block>& blocks, std::size_t n_blocks, Side& side) const {
    static const float kLeastCosine = std::cos(kMaxDphi);
    const Origin q = origin;  // in registers
    const float x = q.r * q.cosine, y = q.r * q.sine;
    constexpr float kSign = kOutward ? 1.0f : -1.0f;
    int size = 0;
    std::int64_t found = 0, tried = 0;
    float *const to_kappa = side.kappa.data(), *const to_cot = side.cot.data(), *const to_weight = side.weight.data();
    std::int32_t* const to_hit = side.hit.data();
    const float *const rs = grid_->r.data(), *const zs = grid_->z.data(), *const us = grid_->cosine.data(),
                       *const vs = grid_->sine.data();
    for (Block *block = blocks.data(), *end = block + n_blocks; block != end; ++block) {
      const std::int32_t j = block->first;
      const float* window = w_->pair_windows + 3 * block->pair;
      size = (size + block->align) & ~block->align;
      const Vec r = load(rs + j), z = load(zs + j), u = load(us + j), v = load(vs + j);
      const Vec dr = (r - q.r) * kSign, dz = (z - q.z) * kSign;
      const Vec dx = r * u - x, dy = r * v - y;
      const Vec inverse_d = inverse_root(maximum(dx * dx + dy * dy, splat(kMinChord * kMinChord)));
      const Vec sine = v * q.cosine - u * q.sine, cosine = u * q.cosine + v * q.sine;
      const Vec kappa = (2.0f * kSign) * sine * inverse_d;
      const Vec bend = kappa * kappa * kArcSeries;
      const Vec ds = dr * (1.0f + bend * (r * (r + q.r) + q.r * q.r));
      const Vec cot = dz * inverse(ds);
      const Arc arc{kappa, inverse_d * inverse_d, bend, ds};
      const Vec z0 = kOutward ? q.z - (q.r + bend * (q.r * q.r * q.r)) * cot : arc.z0(r, z, cot);
      const unsigned inside = less_mask(splat(kMinDr), dr) & less_mask(splat(kLeastCosine), cosine) &
                              less_mask(absolute(kappa), splat(window[0])) & less_mask(splat(window[1]), z0) &
                              less_mask(z0, splat(window[2])) & ((1u << block->n) - 1);
      compress(to_kappa + size, kappa, inside);
      compress(to_cot + size, cot, inside);
      compress(to_weight + size, arc.inverse_d2, inside);
      compress(to_hit + size, lane_numbers() + j, inside);
      const int n = __builtin_popcount(inside);
      tried += block->n;
      block->first = size;
      block->n = size += n;
      store(to_kappa + size, splat(kNever));  // lanes past the end fail every test
      found += n;
    }
    std::memset(side.any.data(), 0, (size + kLanes) * sizeof(std::int32_t));
    side.tried += tried;
    return found;
  }

  /// First and last row, first and last bin in phi; the bins may lie up to a turn beyond either end. No rows: the
  /// first is beyond the last.
  static void find_cells(const Origin& q, const float* columns, std::int32_t (*cells)[kLanes]) {
    const auto column = [&](int c) { return load(columns + c * kLanes); };
    const Vec kappa = column(0), z0_min = column(1), z0_max = column(2), barrel = column(3);
    const Vec r_min = column(4), r_max = column(5), z_min = column(6), z_max = column(7);
    const auto is_barrel = barrel > 0.5f;
    const float inverse_r = 1 / q.r;
    // How much longer an arc of the largest curvature is than its radius, relative to the middle hit's.
    const Vec k2 = kappa * kappa * kArcSeries;
    const Vec inverse_own = 1.0f / (1.0f + k2 * (q.r * q.r));
    const auto stretch = [&](Vec r) { return (1.0f + k2 * r * r) * inverse_own; };
    // Barrel: lengths along the arc, between the straight line's and that of the tightest curve.
    const Vec slope_low = (q.z - z0_max) * inverse_r, slope_high = (q.z - z0_min) * inverse_r;
    const Vec r_a = r_min * minimum(splat(1.0f), stretch(r_min)), r_b = r_max * maximum(splat(1.0f), stretch(r_max));
    const Vec a_low = z0_max + slope_low * r_a, b_low = z0_max + slope_low * r_b;
    const Vec a_high = z0_min + slope_high * r_a, b_high = z0_min + slope_high * r_b;
    const Vec barrel_low = minimum(minimum(a_low, b_low), minimum(a_high, b_high));
    const Vec barrel_high = maximum(maximum(a_low, b_low), maximum(a_high, b_high));
    // Disc: a track that has run from z0 to z has its own radius, and gains (or lost) of it in proportion to the way
    // in z between the hits. It runs towards larger z where `up`; then the longest way begins at z0_min.
    const Vec above = z_min - q.z, below = q.z - z_max;
    const auto up = kOutward ? above > 0.0f : below > 0.0f;
    const auto beside = (above <= 0.0f) & (below <= 0.0f);
    const Vec nearest_way = maximum(maximum(above, below), splat(0.0f));
    const Vec farthest_way = nearest_way + (z_max - z_min);
    const Vec longest = up ? q.z - z0_min : z0_max - q.z, shortest = up ? q.z - z0_max : z0_min - q.z;
    const Vec least = q.r * nearest_way / longest, most = q.r * farthest_way / shortest;
    const auto unbound = beside | (shortest <= 0.0f);
    const auto behind = (beside == 0) & (longest <= 0.0f);
    Vec disc_low, disc_high;
    if constexpr (kOutward) {
      disc_low = beside ? splat(q.r) : q.r + least;
      disc_high = unbound ? r_max : q.r + most;
    } else {
      disc_low = unbound ? splat(0.0f) : q.r - most;
      disc_high = beside ? splat(q.r) : q.r - least;
    }
    disc_low = maximum(disc_low / maximum(splat(1.0f), stretch(disc_low)), r_min);
    disc_high = minimum(disc_high / minimum(splat(1.0f), stretch(disc_high)), r_max);
    if constexpr (kOutward)
      disc_low = maximum(disc_low, splat(q.r));
    else
      disc_high = minimum(disc_high, splat(q.r));
    const auto outside = is_barrel ? (barrel_high < z_min) | (barrel_low > z_max) : behind | (disc_high < disc_low);
    const Vec low = is_barrel ? barrel_low : disc_low, high = is_barrel ? barrel_high : disc_high;
    // The phi window: a circle through the beam line has sin phi = kappa r / 2, measured from its tangent there.
    const Vec r_from = is_barrel ? r_min : low, r_to = is_barrel ? r_max : high;
    const Vec near = 0.5f * kappa * minimum(splat(q.r), r_from), far = 0.5f * kappa * maximum(splat(q.r), r_to);
    const Vec widest = (far < 0.85f ? arc_sine(far) - arc_sine(near) : splat(kMaxDphi)) + 8e-5f;

    const Vec pitch = column(9), last_row = column(10), n_phi = column(11), per_rad = n_phi * (1 / (2 * kPi));
    const Vec row_low = between((low - 1.0f - column(8)) * pitch, splat(0.0f), last_row);
    const Vec row_high = between((high + 1.0f - column(8)) * pitch, splat(0.0f), last_row);
    const float phi = q.phi + kPi;
    // Above 0, where to cut off the fraction is to round down.
    const Vec bin_low = between((phi - widest) * per_rad + n_phi, splat(0.0f), 3.0f * n_phi - 1.0f);
    const Vec bin_high = between((phi + widest) * per_rad + n_phi, splat(0.0f), 3.0f * n_phi - 1.0f);
    store(cells[0], outside ? splat(1) : truncated(row_low));
    store(cells[1], outside ? splat(0) : truncated(row_high));
    store(cells[2], truncated(bin_low) - truncated(n_phi));
    store(cells[3], truncated(bin_high) - truncated(n_phi));
  }

  const Grid* grid_;
  const Windows* w_;
  std::vector<int> pairs_;
  std::vector<float> columns_;  // kColumns vectors for each kLanes pairs
};

}  // namespace beampipe
