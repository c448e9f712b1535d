// Where the partners of a hit may lie on the other layers of its pairs, one pair per lane: rows and bins in phi of their
// grids. All of it errs on the wide side; what lies inside the windows is for search.hpp to say.
#pragma once

#include "arc.hpp"
#include "windows/layer_grid.hpp"

namespace beampipe {

constexpr float kMaxDphi = 1.2f;  // rad: an edge turns by at most this

/// Hit of which partners are looked for.
struct Origin {
  float r, phi, z, cosine, sine;
};

/// Windows of kLanes pairs, and their other layers.
struct PairLanes {
  Vec kappa_max, z0_min, z0_max;
  Vec barrel;  // 1, or 0 for a disc
  Vec r_min, r_max, z_min, z_max;
  Vec low, inverse_pitch, last_row, n_phi;  // as in LayerGrid

  void set(int lane, const float* window, const LayerGrid& layer) {
    kappa_max[lane] = window[0], z0_min[lane] = window[1], z0_max[lane] = window[2];
    barrel[lane] = layer.barrel ? 1.0f : 0.0f;
    r_min[lane] = layer.r_min, r_max[lane] = layer.r_max, z_min[lane] = layer.z_min, z_max[lane] = layer.z_max;
    low[lane] = layer.low, inverse_pitch[lane] = layer.inverse_pitch;
    last_row[lane] = static_cast<float>(layer.n_rows - 1), n_phi[lane] = static_cast<float>(layer.n_phi);
  }
};

/// First and last row, first and last bin in phi; the bins may lie up to a turn beyond either end. No cells: the first
/// row is beyond the last.
struct CellLanes {
  std::int32_t first_row[kLanes], last_row[kLanes], first_bin[kLanes], last_bin[kLanes];
};

/// Along the rows of a layer [mm]; nothing where `empty`.
struct RowRange {
  Vec low, high;
  IntVec empty;
};

inline IntVec truncated(Vec v) { return __builtin_convertvector(v, IntVec); }
inline Vec between(Vec v, Vec low, Vec high) { return minimum(maximum(v, low), high); }  // low for what is no number

/// asin for 0 <= x < 0.9, to 2e-5.
inline Vec arc_sine(Vec x) {
  const auto steep = x > 0.5f;
  const Vec y = steep ? square_root(0.5f * (1.0f - x)) : x;
  const Vec y2 = y * y;
  const Vec tail = y2 * (3.0f / 40 + y2 * (15.0f / 336 + y2 * (105.0f / 3456 + y2 * (945.0f / 42240))));
  const Vec sine = y * (1.0f + y2 * (1.0f / 6 + tail));
  return steep ? 0.5f * kPi - 2.0f * sine : sine;
}

/// z where lines through the hit meet the barrels: lengths lie between the straight line's and the tightest arc's.
/// `stretch(r)`: how much longer that arc is than r, relative to the hit's own.
template <typename Stretch>
inline RowRange on_barrels(const Origin& q, const PairLanes& pair, Stretch&& stretch) {
  const float inverse_r = 1 / q.r;
  const Vec one = splat(1.0f);
  const Vec slope_low = (q.z - pair.z0_max) * inverse_r, slope_high = (q.z - pair.z0_min) * inverse_r;
  const Vec r_a = pair.r_min * minimum(one, stretch(pair.r_min)), r_b = pair.r_max * maximum(one, stretch(pair.r_max));
  const Vec a = pair.z0_max + slope_low * r_a, b = pair.z0_max + slope_low * r_b;
  const Vec c = pair.z0_min + slope_high * r_a, d = pair.z0_min + slope_high * r_b;
  const Vec low = minimum(minimum(a, b), minimum(c, d)), high = maximum(maximum(a, b), maximum(c, d));
  return {low, high, (high < pair.z_min) | (low > pair.z_max)};
}

/// r where lines through the hit meet the discs. A track that has run from z0 to the hit's z has the hit's radius; on
/// the way in z between hit and disc it gains (inwards: had still to gain) in proportion.
template <bool kOutward, typename Stretch>
inline RowRange on_discs(const Origin& q, const PairLanes& pair, Stretch&& stretch) {
  const Vec above = pair.z_min - q.z, below = q.z - pair.z_max;
  const auto beside = (above <= 0.0f) & (below <= 0.0f);  // the hit lies within the disc's z
  const auto rises = kOutward ? above > 0.0f : below > 0.0f;
  const Vec longest = rises ? q.z - pair.z0_min : pair.z0_max - q.z;  // ways in z from the beam line to the hit
  const Vec shortest = rises ? q.z - pair.z0_max : pair.z0_min - q.z;
  const Vec nearest = maximum(maximum(above, below), splat(0.0f)), farthest = nearest + (pair.z_max - pair.z_min);
  const Vec least = q.r * nearest / longest, most = q.r * farthest / shortest;
  const auto unbound = beside | (shortest <= 0.0f);
  Vec low, high;
  if constexpr (kOutward) {
    low = beside ? splat(q.r) : q.r + least;
    high = unbound ? pair.r_max : q.r + most;
  } else {
    low = unbound ? splat(0.0f) : q.r - most;
    high = beside ? splat(q.r) : q.r - least;
  }
  low = maximum(low / maximum(splat(1.0f), stretch(low)), kOutward ? maximum(pair.r_min, splat(q.r)) : pair.r_min);
  high = minimum(high / minimum(splat(1.0f), stretch(high)), kOutward ? pair.r_max : minimum(pair.r_max, splat(q.r)));
  return {low, high, ((beside == 0) & (longest <= 0.0f)) | (high < low)};
}

template <bool kOutward>
inline void find_cells(const Origin& q, const PairLanes& pair, CellLanes& cells) {
  const Vec k2 = pair.kappa_max * pair.kappa_max * kArcSeries;
  const Vec inverse_own = 1.0f / (1.0f + k2 * (q.r * q.r));
  const auto stretch = [&](Vec r) { return (1.0f + k2 * r * r) * inverse_own; };
  const auto barrel = pair.barrel > 0.5f;
  const RowRange on_barrel = on_barrels(q, pair, stretch), on_disc = on_discs<kOutward>(q, pair, stretch);
  const Vec low = barrel ? on_barrel.low : on_disc.low, high = barrel ? on_barrel.high : on_disc.high;
  const IntVec empty = barrel ? on_barrel.empty : on_disc.empty;
  // A circle through the beam line has sin phi = kappa r / 2, measured from its tangent there.
  const Vec r_from = barrel ? pair.r_min : low, r_to = barrel ? pair.r_max : high;
  const Vec near = 0.5f * pair.kappa_max * minimum(splat(q.r), r_from);
  const Vec far = 0.5f * pair.kappa_max * maximum(splat(q.r), r_to);
  const Vec widest = (far < 0.85f ? arc_sine(far) - arc_sine(near) : splat(kMaxDphi)) + 8e-5f;

  const Vec zero = splat(0.0f), last_bin = 3.0f * pair.n_phi - 1.0f, per_rad = pair.n_phi * (1 / (2 * kPi));
  const Vec first_row = between((low - 1.0f - pair.low) * pair.inverse_pitch, zero, pair.last_row);
  const Vec last_row = between((high + 1.0f - pair.low) * pair.inverse_pitch, zero, pair.last_row);
  // Raised by a turn: above 0, to cut off the fraction is to round down.
  const float phi = q.phi + kPi;
  const Vec first = between((phi - widest) * per_rad + pair.n_phi, zero, last_bin);
  const Vec last = between((phi + widest) * per_rad + pair.n_phi, zero, last_bin);
  store(cells.first_row, empty ? splat(1) : truncated(first_row));
  store(cells.last_row, empty ? splat(0) : truncated(last_row));
  store(cells.first_bin, truncated(first) - truncated(pair.n_phi));
  store(cells.last_bin, truncated(last) - truncated(pair.n_phi));
}

}  // namespace beampipe
