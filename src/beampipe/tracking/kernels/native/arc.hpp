// What the learned windows cut on: the arc of a doublet, and chi2 of a triplet. Used by the search for edges
// (module_map.cpp) and by the pairing of edges (pairs.cpp); told again, slowly, in beampipe.tracking.kernels.geometry.
#pragma once

#include <type_traits>

#include "geometry.hpp"

namespace beampipe {

constexpr float kMinArc = 1e-3f;  // mm: a shorter arc is taken as this long
constexpr float kNever = 1e9f;    // a curvature that agrees with no other

/// An arc is longer than its radius by the factor 1 + kArcSeries (kappa r)^2, to first order:
/// s = (2 / kappa) asin(kappa r / 2) = r (1 + (kappa r)^2 / 24 + ...).
constexpr float kArcSeries = 1.0f / 24;

/// The part of the circle through two hits and the beam line that lies between the hits:
/// ds = s' - s = dr (1 + (kappa^2 / 24) (r^2 + r r' + r'^2)).
struct Arc {
  Vec kappa, inverse_d2, bend, ds;  // [1/mm], [1/mm^2], kappa^2 / 24 [1/mm^2], [mm]

  /// Slope of a track that rises by `dz` along the arc.
  Vec cot(Vec dz) const { return dz / (absolute(ds) < splat(kMinArc) ? splat(kMinArc) : ds); }

  /// z at the beam line of the track that is at (r, z) and rises by `cot` = dz / ds.
  Vec z0(Vec r, Vec z, Vec cot) const { return z - r * (1.0f + bend * r * r) * cot; }
};

/// The arc between hits at the radii `r` (of one hit, or one per lane) and `other`, whose chord is given.
template <typename Radius>
inline Arc arc_on(const Chord& chord, Radius r, Vec other, Vec dr) {
  const Vec inverse_d2 = 1.0f / maximum(chord.d2, splat(kMinChord * kMinChord));
  const Vec kappa = 2.0f * chord.sine * square_root(inverse_d2);
  const Vec bend = kappa * kappa * kArcSeries;
  return {kappa, inverse_d2, bend, dr * (1.0f + bend * (r * r + r * other + other * other))};
}

/// a, b, c, d of one triple of layers, or of one per lane.
template <typename Number>
struct TripletWindow {
  Number a, b, c, d;
};

/// chi2 = top / bottom of two doublets that share a hit: the triplet passes where top < bottom.
struct Chi2 {
  Vec top, bottom;
};

/// With the doublet inside (kappa, cot, 1 / d^2) and those outside of the shared hit, one per lane:
///   chi2 = dkappa^2 / (a (1/d_in^2 + 1/d_out^2) + b kappa^2) + t^2 / (c + d kappa^2),
///   t = (cot_out - cot_in) / (1 + cot_in cot_out), the tangent of the change of dip.
/// Multiplied by (1 + cot_in cot_out)^2 it needs no division. See beampipe.tracking.windows for a, b, c, d.
template <typename Number>
inline Chi2 triplet_chi2(const TripletWindow<Number>& window, float kappa, float cot, float inverse_d2, Vec kappa_out,
                         Vec cot_out, Vec inverse_d2_out) {
  const float kappa2 = kappa * kappa;
  const Vec dkappa = kappa_out - kappa;
  const Vec turn = 1.0f + cot_out * cot;
  const Vec dcot = cot_out - cot;
  Vec s;
  if constexpr (std::is_same_v<Number, float>)  // the part of the doublet inside is one number, made once for all lanes
    s = inverse_d2_out * window.a + (window.a * inverse_d2 + window.b * kappa2);
  else
    s = window.a * (inverse_d2_out + inverse_d2) + window.b * kappa2;
  const Vec t = turn * turn * (window.c + window.d * kappa2);
  return {dkappa * dkappa * t + dcot * dcot * s, s * t};
}

}  // namespace beampipe
