// A helix about the z axis by its perigee, its measurement by a layer, and the information of the hits so far.
//
// Formulas: beampipe.tracking.fitting.helix and the reference beside it, which these repeat for one hit.
#pragma once

#include <cmath>
#include <cstdint>

namespace beampipe {

constexpr double kGevPerTeslaMm = 0.299792458e-3;
constexpr double kPionMass = 0.13957039;  // [GeV]
constexpr double kSteepest = 0.9;         // largest sine of half the angle turned until a tube
constexpr double kFlattest = 0.3;         // smallest cosine between direction and radius in a tube
constexpr double kSmallTurn = 1e-3;       // [rad]; below, differences of nearly equal terms come from their series
constexpr int kParameters = 5;            // d0, phi, omega, z0, cot
constexpr int kWidth = 8;                 // of a row of parameters, filled up with zeros to whole vectors

struct FitHit {
  double x, y, z, distance2;
  double module_x, module_y;  // direction of the azimuth of the module
  double variance[2];         // across and along [mm^2]
  double scattering;          // at right angles [GeV^2]
  const float* box;           // r_min, r_max, z_min, z_max [mm] of its layer
  bool barrel;
  double bending;    // mean field along the way, relative to that of the tables
  std::int64_t row;  // among the hits of the event
};

struct Helix {
  double d0, phi, omega, z0, cot;
  double cos_phi, sin_phi;
  double bending = 1;  // factor on the curvature of the track where it is compared with a hit

  void turn() { cos_phi = std::cos(phi), sin_phi = std::sin(phi); }
};

// The helix that a hit is compared with.
inline Helix bent(Helix h, const FitHit& hit) {
  h.omega *= hit.bending, h.bending = hit.bending;
  return h;
}

// Where the helix comes closest to a hit in the transverse plane.
struct Crossing {
  double u, v, s, sin, cos, along, across;
};

inline Crossing cross(const Helix& h, double x, double y) {
  Crossing at;
  at.u = x * h.cos_phi + y * h.sin_phi, at.v = y * h.cos_phi - x * h.sin_phi;
  const double forward = 1 - h.omega * (at.v - h.d0), side = h.omega * at.u;
  const double length = std::sqrt(side * side + forward * forward);
  at.sin = side / length, at.cos = forward / length, at.along = at.u / length;
  const double alpha = std::atan2(at.sin, at.cos);
  at.s = std::fabs(alpha) < kSmallTurn ? at.along * (1 + alpha * alpha / 6) : alpha / h.omega;
  at.across = h.omega * at.along * at.along / (1 + at.cos);
  return at;
}

// Where the helix first crosses a cylinder about the beam line, and the cosine between its direction there and the radius.
// A helix that starts outside counts as crossing at its perigee, and one that does not reach the cylinder as crossing at its
// steepest angle, so that no tube drops out between the steps of a fit.
inline Crossing cross_tube(const Helix& h, double radius, double* radial) {
  const double chord2 = std::fmax((radius * radius - h.d0 * h.d0) / (1 + h.omega * h.d0), 0);
  const double chord = std::fmin(std::sqrt(chord2), 2 * kSteepest / std::fabs(h.omega)), sine = h.omega * chord / 2;
  const double cosine = std::sqrt(1 - sine * sine), half = std::asin(sine);
  Crossing at;
  at.s = std::fabs(half) < kSmallTurn ? chord * (1 + half * half / 6) : 2 * half / h.omega;
  at.sin = 2 * sine * cosine, at.cos = 1 - 2 * sine * sine;
  at.along = chord * cosine, at.across = chord * sine;
  at.u = at.along, at.v = h.d0 + at.across;
  *radial = std::fmax((at.u * at.cos + at.v * at.sin) / radius, kFlattest);
  return at;
}

// The helix through a point in the direction of phi and cot.
inline Helix through(double x, double y, double z, double phi, double omega, double cot) {
  const double c = std::cos(phi), s = std::sin(phi);
  const double a = x * c + y * s, b = y * c - x * s;
  const double forward = 1 + omega * b, length = std::hypot(omega * a, forward);
  const double alpha = std::atan2(omega * a, forward);
  const double way = std::fabs(alpha) < kSmallTurn ? a / length * (1 + alpha * alpha / 6) : alpha / omega;
  Helix h{(omega * (a * a + b * b) + 2 * b) / (1 + length), phi - alpha, omega, z - way * cot, cot, 0, 0};
  h.turn();
  return h;
}

// Residuals of a hit, their derivatives by the track, and the cosines between the transverse direction and the radius, and
// between it and the azimuth of the module.
struct Measurement {
  double residual[2];
  double by_helix[2][kWidth];
  double radial, normal;
};

inline Measurement measure(const Helix& h, const Crossing& at, const FitHit& hit) {
  Measurement m{};
  const double nu = hit.module_x * h.cos_phi + hit.module_y * h.sin_phi;
  const double nv = hit.module_y * h.cos_phi - hit.module_x * h.sin_phi;
  m.radial = (at.u * at.cos + at.v * at.sin) / std::sqrt(at.u * at.u + at.v * at.v);
  m.normal = nu * at.cos + nv * at.sin;
  double row[2][3];
  if (hit.barrel) {
    const double inverse = 1 / m.normal;
    row[0][0] = -at.sin * inverse, row[0][1] = at.cos * inverse, row[0][2] = 0;
    row[1][0] = -h.cot * inverse * nu, row[1][1] = -h.cot * inverse * nv, row[1][2] = 1;
  } else {
    const double inverse = 1 / h.cot;
    row[0][0] = -nv, row[0][1] = nu, row[0][2] = -(nu * at.sin - nv * at.cos) * inverse;
    row[1][0] = nu, row[1][1] = nv, row[1][2] = -m.normal * inverse;
  }
  const double du = at.u - at.along, dv = at.v - h.d0 - at.across, dz = hit.z - h.z0 - at.s * h.cot;
  const double alpha = h.omega * at.s, s2 = at.s * at.s;
  const bool small = std::fabs(alpha) < kSmallTurn;
  const double bent_along = small ? -s2 * alpha / 3 : -(at.along - at.s * at.cos) / h.omega;
  const double bent_across = small ? s2 * (0.5 - alpha * alpha / 8) : (at.s * at.sin - at.across) / h.omega;
  for (int i = 0; i < 2; ++i) {
    const double* p = row[i];
    m.residual[i] = p[0] * du + p[1] * dv + p[2] * dz;
    m.by_helix[i][0] = p[1];
    m.by_helix[i][1] = p[1] * at.along - p[0] * (h.d0 + at.across);
    m.by_helix[i][2] = (p[0] * bent_along + p[1] * bent_across) * h.bending;
    m.by_helix[i][3] = p[2];
    m.by_helix[i][4] = p[2] * at.s;
  }
  return m;
}

// Change of the track by a change of phi, of cot at constant momentum, and of omega, where it crosses a layer.
struct Kicks {
  double by_phi[kWidth], by_cot[kWidth], by_omega[kWidth];
};

inline Kicks kicks(const Helix& h, const Crossing& at) {
  const double stretch = 1 / (1 + h.omega * h.d0), alpha = h.omega * at.s;
  const double shortfall = std::fabs(alpha) < kSmallTurn ? -at.s * at.s * alpha / 6 : (at.along - at.s) / h.omega;
  const double bend = h.omega * h.cot / (1 + h.cot * h.cot);  // omega / sin(theta) at constant q/p
  Kicks k = {
      {-at.along, at.cos * stretch, 0, -h.cot * (at.across + h.d0) * stretch, 0},
      {0, 0, 0, -at.s, 1},
      {at.along * at.along / (1 + at.cos), -at.along * stretch, 1, -h.cot * (shortfall - at.s * h.d0) * stretch, 0}};
  for (int i = 0; i < kParameters; ++i) k.by_cot[i] += bend * k.by_omega[i];
  k.by_cot[2] /= h.bending, k.by_omega[2] /= h.bending;
  return k;
}

// A row of parameters, or of their matrix; elements after the fifth are 0.
struct Row {
  double value[kWidth] = {};

  double operator[](int i) const { return value[i]; }
  void add(double factor, const double* row) {
#pragma omp simd
    for (int j = 0; j < kWidth; ++j) value[j] += factor * row[j];
  }
  double dot(const double* row) const {
    double sum = 0;
    for (int j = 0; j < kParameters; ++j) sum += value[j] * row[j];
    return sum;
  }
};

// Residuals of a hit less what the other hits predict, and the covariance of that difference.
struct Difference {
  double value[2], covariance[2][2];

  // chi2 of a hit that lies further away by `by`.
  double chi2(double by0 = 0, double by1 = 0) const {
    const double a = value[0] + by0, b = value[1] + by1;
    return (a * a * covariance[1][1] - 2 * a * b * covariance[0][1] + b * b * covariance[0][0]) /
           (covariance[0][0] * covariance[1][1] - covariance[0][1] * covariance[0][1]);
  }
};

struct Information {
  Row matrix[kParameters];  // symmetric
  Row vector;
  double constant = 0;

  void add(const double* by_helix, double residual, double variance) {
    const double weight = 1 / variance;
    for (int i = 0; i < kParameters; ++i) matrix[i].add(weight * by_helix[i], by_helix);
    vector.add(weight * residual, by_helix);
    constant += weight * residual * residual;
  }

  // Adds that of other hits.
  void join(const Information& other) {
    for (int i = 0; i < kParameters; ++i) matrix[i].add(1, other.matrix[i].value);
    vector.add(1, other.vector.value);
    constant += other.constant;
  }

  // The state inside two kicks of unknown size, whose standard deviations are the lengths of a and b.
  void scatter(const double* a, const double* b) {
    const Row of_a = times(a), of_b = times(b);
    const double aa = 1 + of_a.dot(a), ab = of_a.dot(b), bb = 1 + of_b.dot(b);
    const double va = vector.dot(a), vb = vector.dot(b);
    const double inverse = 1 / (aa * bb - ab * ab);
    const double iaa = bb * inverse, iab = -ab * inverse, ibb = aa * inverse;
    const double wa = iaa * va + iab * vb, wb = iab * va + ibb * vb;
    for (int i = 0; i < kParameters; ++i) {
      matrix[i].add(-(iaa * of_a[i] + iab * of_b[i]), of_a.value);
      matrix[i].add(-(iab * of_a[i] + ibb * of_b[i]), of_b.value);
    }
    vector.add(-wa, of_a.value);
    vector.add(-wb, of_b.value);
    constant -= wa * va + wb * vb;
  }

  // The state inside a known change of the helix.
  void shift(const double* change) {
    const Row moved = times(change);
    constant += moved.dot(change) - 2 * vector.dot(change);
    vector.add(-1, moved.value);
  }

  Row times(const double* change) const {
    Row product;
    for (int j = 0; j < kParameters; ++j) product.add(change[j], matrix[j].value);
    return product;
  }

  // Cholesky decomposition: matrix = lower lower^T; false where the hits do not fix all parameters.
  bool decompose(double (*lower)[kParameters]) const {
    for (int i = 0; i < kParameters; ++i)
      for (int j = 0; j <= i; ++j) {
        double sum = matrix[i][j];
        for (int k = 0; k < j; ++k) sum -= lower[i][k] * lower[j][k];
        if (i == j && !(sum > 0)) return false;
        lower[i][j] = i == j ? std::sqrt(sum) : sum / lower[j][j];
      }
    return true;
  }

  // How far another hit is from what is predicted; false as for `decompose`.
  bool predict(const Measurement& m, const double* variance, Difference* away) const {
    double lower[kParameters][kParameters], of_vector[kParameters], of_row[2][kParameters];
    if (!decompose(lower)) return false;
    const auto divide = [&](const auto& right, double* out) {
      for (int i = 0; i < kParameters; ++i) {
        out[i] = right[i];
        for (int k = 0; k < i; ++k) out[i] -= lower[i][k] * out[k];
        out[i] /= lower[i][i];
      }
    };
    divide(vector, of_vector), divide(m.by_helix[0], of_row[0]), divide(m.by_helix[1], of_row[1]);
    for (int a = 0; a < 2; ++a) {
      away->value[a] = m.residual[a];
      for (int b = 0; b < 2; ++b) away->covariance[a][b] = a == b ? variance[a] : 0;
      for (int k = 0; k < kParameters; ++k) {
        away->value[a] -= of_row[a][k] * of_vector[k];
        for (int b = 0; b < 2; ++b) away->covariance[a][b] += of_row[a][k] * of_row[b][k];
      }
    }
    return true;
  }

  // The best change, its covariance and the chi2 that is left; false as for `decompose`.
  bool solve(double* step, double (*covariance)[kParameters], double* chi2, double* size2) const {
    double lower[kParameters][kParameters], inverse[kParameters][kParameters] = {};
    if (!decompose(lower)) return false;
    for (int j = 0; j < kParameters; ++j)
      for (int i = j; i < kParameters; ++i) {
        double sum = i == j;
        for (int k = j; k < i; ++k) sum -= lower[i][k] * inverse[k][j];
        inverse[i][j] = sum / lower[i][i];
      }
    *size2 = 0;
    for (int i = 0; i < kParameters; ++i) {
      step[i] = 0;
      for (int j = 0; j < kParameters; ++j) {
        covariance[i][j] = 0;
        for (int k = i > j ? i : j; k < kParameters; ++k) covariance[i][j] += inverse[k][i] * inverse[k][j];
        step[i] += covariance[i][j] * vector[j];
      }
      *size2 += step[i] * vector[i];
    }
    *chi2 = constant - *size2;
    return std::isfinite(*chi2);
  }
};

}  // namespace beampipe
