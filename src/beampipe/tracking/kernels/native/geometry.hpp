// Features of hits and edges, as in beampipe.tracking.kernels.features, for one vector of them at a time.
#pragma once

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

inline Vec clip(Vec v) { return minimum(maximum(v, splat(-4.0f)), splat(4.0f)); }

/// The six edge features, scaled and clipped, to out[k * stride].
inline void edge_features(const Doublet& d, float* out, int stride) {
  store(out, clip(d.kappa * 1000.0f));
  store(out + stride, clip(arcsinh(d.slope) * 0.25f));
  store(out + 2 * stride, clip(d.z0 * (1.0f / 200)));
  store(out + 3 * stride, clip(d.dr * (1.0f / 200)));
  store(out + 4 * stride, clip(d.dz * (1.0f / 500)));
  store(out + 5 * stride, clip(d.dphi * 10.0f));
}

}  // namespace beampipe
