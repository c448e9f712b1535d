// Features of hits and edges, as in beampipe.tracking.features, for one vector of them at a time.
#pragma once

#include "simd.hpp"

namespace beampipe {

constexpr float kTwoPi = 6.28318531f;
constexpr float kMinDr = 0.5f;  // mm

inline Vec pseudorapidity(Vec r, Vec z) { return arcsinh(z / maximum(r, splat(kMinDr))); }

/// phi brought to [-pi, pi]; |phi| < 2^22.
inline Vec wrap(Vec phi) { return phi - kTwoPi * nearest(phi * (1.0f / kTwoPi)); }

struct Doublet {
  Vec kappa, cot, z0, dr, dz, dphi;
};

inline Doublet doublet(Vec r_inner, Vec phi_inner, Vec z_inner, Vec r_outer, Vec phi_outer, Vec z_outer) {
  Doublet d;
  d.dr = r_outer - r_inner;
  d.dz = z_outer - z_inner;
  d.dphi = wrap(phi_outer - phi_inner);
  Vec sine, cosine;
  sine_cosine(0.5f * d.dphi, sine, cosine);
  const Vec distance = square_root(d.dr * d.dr + 4.0f * r_inner * r_outer * sine * sine);
  d.kappa = 4.0f * sine * cosine / maximum(distance, splat(1e-3f));
  const Vec run = absolute(d.dr) < kMinDr ? (d.dr < 0.0f ? splat(-kMinDr) : splat(kMinDr)) : d.dr;
  d.cot = d.dz / run;
  d.z0 = z_inner - r_inner * d.cot;
  return d;
}

inline Vec clip(Vec v) { return minimum(maximum(v, splat(-4.0f)), splat(4.0f)); }

/// The six edge features, scaled and clipped, to out[k * stride].
inline void edge_features(const Doublet& d, float* out, int stride) {
  store(out, clip(d.kappa * 1000.0f));
  store(out + stride, clip(arcsinh(d.cot) * 0.25f));
  store(out + 2 * stride, clip(d.z0 * (1.0f / 200)));
  store(out + 3 * stride, clip(d.dr * (1.0f / 200)));
  store(out + 4 * stride, clip(d.dz * (1.0f / 500)));
  store(out + 5 * stride, clip(d.dphi * 10.0f));
}

}  // namespace beampipe
