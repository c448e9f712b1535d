// Geometry of doublets and triplets, one vector of them at a time: beampipe.tracking.kernels.geometry in C++.
//
// The networks see the doublet along its chord; the learned windows cut on the arc of a doublet and on chi2 of a triplet.
#pragma once

#include <algorithm>
#include <type_traits>

#include "simd.hpp"

namespace beampipe {

constexpr float kTwoPi = 6.28318531f;
constexpr float kMinDr = 0.5f;      // mm: overlap hits of one layer may have equal radii
constexpr float kMinChord = 1e-3f;  // mm: hits nearer to each other are taken as this far apart

inline Vec pseudorapidity(Vec r, Vec z) { return arcsinh(z / maximum(r, splat(kMinDr))); }

/// phi brought to [-pi, pi]; |phi| < 2^22.
inline Vec wrap(Vec phi) { return phi - kTwoPi * nearest(phi * (1.0f / kTwoPi)); }

/// Two hits in the transverse plane: sin(dphi), and d^2 = dr^2 + 4 r r' sin^2(dphi / 2), their squared distance [mm^2].
/// The circle through both and the beam line has the curvature kappa = 2 sin(dphi) / d.
struct Chord {
  Vec sine, d2;
};

/// The chord of a turn by dphi, up to pi, between the radii `r` and `other`.
inline Chord chord_of(Vec r, Vec other, Vec dr, Vec dphi) {
  Vec sine, cosine;
  sine_cosine(0.5f * dphi, sine, cosine);
  return {2.0f * sine * cosine, dr * dr + 4.0f * r * other * sine * sine};
}

/// The doublet as the networks see it: `slope` = dz / dr along the chord in the r-z plane, not along the arc.
struct Doublet {
  Vec kappa, slope, z0, dr, dz, dphi;
};

inline Doublet doublet(Vec r_inner, Vec phi_inner, Vec z_inner, Vec r_outer, Vec phi_outer, Vec z_outer) {
  Doublet d;
  d.dr = r_outer - r_inner;
  d.dz = z_outer - z_inner;
  d.dphi = wrap(phi_outer - phi_inner);
  const Chord chord = chord_of(r_inner, r_outer, d.dr, d.dphi);
  d.kappa = 2.0f * chord.sine / maximum(square_root(chord.d2), splat(kMinChord));
  const Vec run = absolute(d.dr) < kMinDr ? (d.dr < 0.0f ? splat(-kMinDr) : splat(kMinDr)) : d.dr;
  d.slope = d.dz / run;
  d.z0 = z_inner - r_inner * d.slope;
  return d;
}

// Factors on the features; beampipe.tracking.kernels.features gives the reasons.
constexpr float kLengthScale = 1e-3f;       // r and z of a hit
constexpr float kEtaScale = 0.25f;          // eta of a hit, asinh(slope) of an edge
constexpr float kKappaScale = 1000.0f;      // mm
constexpr float kRadialScale = 1.0f / 200;  // 1/mm: z0 and dr of an edge
constexpr float kAxialScale = 1.0f / 500;   // 1/mm: dz of an edge
constexpr float kDphiScale = 10.0f;         // 1/rad
constexpr float kFeatureMax = 4.0f;

inline Vec clip(Vec v) { return minimum(maximum(v, splat(-kFeatureMax)), splat(kFeatureMax)); }

/// The six edge features, scaled and clipped, to out[k * stride].
inline void edge_features(const Doublet& d, float* out, int stride) {
  store(out, clip(d.kappa * kKappaScale));
  store(out + stride, clip(arcsinh(d.slope) * kEtaScale));
  store(out + 2 * stride, clip(d.z0 * kRadialScale));
  store(out + 3 * stride, clip(d.dr * kRadialScale));
  store(out + 4 * stride, clip(d.dz * kAxialScale));
  store(out + 5 * stride, clip(d.dphi * kDphiScale));
}

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

/// The smallest window that holds both.
inline TripletWindow<float> wider(const TripletWindow<float>& x, const TripletWindow<float>& y) {
  return {std::max(x.a, y.a), std::max(x.b, y.b), std::max(x.c, y.c), std::max(x.d, y.d)};
}

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
