// Fit of a helix to the hits of each track: Gauss-Newton steps, each a filter from the outermost hit to the beam line.
//
// The state of the filter is the change of the perigee of the helix that the particle follows at the layer just passed,
// so that nothing is transported between layers: a hit adds information, scattering takes some away. That gives the
// generalised least squares solution of beampipe.tracking.fitting.reference, without the covariance of the hits.
// Source: R. Fruehwirth, Nucl. Instrum. Meth. A 262 (1987) 444, for the filter in this form.
#include "fit/helix.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels.hpp"

namespace beampipe {

namespace {

constexpr int kMinHits = 3, kMaxSteps = 10;
constexpr double kConverged = 1e-3;  // of the square of a step, in units of its covariance
constexpr double kMaxCot = 1e3;

// Rejection of outliers; beampipe.tracking.fitting.reference says what they mean.
constexpr double kMaxDeviation = 3, kDoubtful = 2, kMinGain = 12;
constexpr int kMinHitsLeft = 6, kMinHitsLeftIfDoubtful = 7, kMaxHitsTried = 40;

// The hits of a track that lie on layers, from the origin outwards; returns their number.
int gather(const float* position, const std::int64_t* rows, std::int64_t n, const FitTables& t, FitHit* hits) {
  int size = 0;
  for (std::int64_t k = 0; k < n; ++k) {
    const float *p = position + 3 * rows[k], r = p[0], z = p[2];
    const int layer = layer_at(t.layers, t.n_layers, r, z);
    if (layer < 0) continue;
    const float* box = t.layers + 4 * layer;
    const double phi = p[1];
    hits[size++] = {r * std::cos(phi),
                    r * std::sin(phi),
                    z,
                    double(r) * r + double(z) * z,
                    {t.variance[2 * layer], t.variance[2 * layer + 1]},
                    t.scattering[layer],
                    box[3] - box[2] > box[1] - box[0],
                    rows[k]};
  }
  for (int i = 1; i < size; ++i) {  // stable, and short lists need no better
    const FitHit hit = hits[i];
    int j = i;
    for (; j > 0 && hits[j - 1].distance2 > hit.distance2; --j) hits[j] = hits[j - 1];
    hits[j] = hit;
  }
  return size;
}

// The helix through the first, the middle and the last hit; false where two of them lie at one place.
bool start(const FitHit* hits, int n, Helix* helix) {
  const FitHit &first = hits[0], &middle = hits[n / 2], &last = hits[n - 1];
  const double cx = last.x - first.x, cy = last.y - first.y, hx = middle.x - first.x, hy = middle.y - first.y;
  const double length = std::hypot(cx, cy);
  const double product = length * std::hypot(hx, hy) * std::hypot(last.x - middle.x, last.y - middle.y);
  if (!(product > 0)) return false;
  const double omega = 2 * (hx * cy - hy * cx) / product;
  const double turn = std::asin(std::clamp(omega * length / 2, -1.0, 1.0));
  const double way = std::fabs(turn) < kSmallTurn ? length : 2 * turn / omega;
  *helix = through(first.x, first.y, first.z, std::atan2(cy, cx) - turn, omega, (last.z - first.z) / way);
  return true;
}

// How a helix is bent in matter.
struct Bending {
  double inverse_p2, inverse_beta2, slope2;  // slope2 = 1 + cot^2

  Bending(const Helix& h, const FitTables& t) {
    const double inverse_pt = h.omega / (kGevPerTeslaMm * t.field);
    slope2 = 1 + h.cot * h.cot;
    inverse_p2 = inverse_pt * inverse_pt / slope2;
    inverse_beta2 = 1 + kPionMass * kPionMass * inverse_p2;
  }

  // The state outside the matter, extrapolated inwards through it. `amount` is its scattering along the way through it [GeV^2].
  void pass(const Helix& h, const Crossing& at, double amount, double energy_loss, Information* known) const {
    Kicks k = kicks(h, at);
    const double angle = std::sqrt(amount * inverse_p2 * inverse_beta2);
    const double loss = energy_loss * amount * std::sqrt(inverse_p2 * inverse_beta2);
    const double in_phi = angle * std::sqrt(slope2), in_cot = angle * slope2, in_omega = h.omega * loss;
    for (int i = 0; i < kParameters; ++i) k.by_phi[i] *= in_phi, k.by_cot[i] *= in_cot, k.by_omega[i] *= in_omega;
    known->scatter(k.by_phi, k.by_cot);
    known->shift(k.by_omega);
  }
};

Information filter(const Helix& helix, const FitHit* hits, int n, const FitTables& t) {
  const Bending bending(helix, t);
  Information known;
  int tube = t.n_tubes - 1;
  const auto pass_tubes_beyond = [&](double radius2, bool reached) {
    for (; tube >= 0 && t.tubes[2 * tube] * t.tubes[2 * tube] > radius2; --tube) {
      if (!reached || !(t.tubes[2 * tube + 1] > 0)) continue;
      double radial;
      const Crossing at = cross_tube(helix, t.tubes[2 * tube], &radial);
      bending.pass(helix, at, t.tubes[2 * tube + 1] * std::sqrt(bending.slope2) / radial, t.energy_loss, &known);
    }
  };
  for (int i = n - 1; i >= 0; --i) {
    const FitHit& hit = hits[i];
    pass_tubes_beyond(hit.x * hit.x + hit.y * hit.y, i < n - 1);
    const Crossing at = cross(helix, hit.x, hit.y);
    const Measurement m = measure(helix, at, hit);
    for (int k = 0; k < 2; ++k) known.add(m.by_helix[k], m.residual[k], hit.variance[k]);
    const double path = std::sqrt(bending.slope2) / std::fabs(hit.barrel ? m.radial : helix.cot);
    bending.pass(helix, at, hit.scattering * path, t.energy_loss, &known);
  }
  pass_tubes_beyond(0, true);
  return known;
}

struct Solution {
  FitStatus status;
  Helix helix;
  double covariance[kParameters][kParameters];
  double chi2;
};

Solution fit(const FitHit* hits, int n, const FitTables& t) {
  Solution now{};
  now.status = n < kMinHits ? kTooFewHits : start(hits, n, &now.helix) ? kNotConverged : kNoStart;
  if (now.status != kNotConverged) return now;
  Helix& helix = now.helix;
  for (int s = 0; s < kMaxSteps; ++s) {
    double step[kParameters], size2;
    if (!filter(helix, hits, n, t).solve(step, now.covariance, &now.chi2, &size2)) break;
    helix.d0 += step[0], helix.phi += step[1], helix.omega += step[2], helix.z0 += step[3], helix.cot += step[4];
    helix.turn();
    if (!(std::fabs(helix.cot) < kMaxCot)) break;
    if (size2 < kConverged) {
      now.status = kFitted;
      break;
    }
  }
  return now;
}

// Whether the hits are hardly those of one particle: chi2 is more standard deviations above its mean.
bool is_suspect(const Solution& found, int n, double deviation = kMaxDeviation) {
  if (found.status != kFitted) return found.status == kNotConverged;
  const double ndf = 2 * n - kParameters, spread2 = 2 / (9 * ndf);
  return (std::cbrt(found.chi2 / ndf) - (1 - spread2)) / std::sqrt(spread2) > deviation;
}

// Whether a hit may be left out: the track is doubtful, and enough hits stay.
bool may_lose_hit(const Solution& found, int n) {
  const int least = is_suspect(found, n) ? kMinHitsLeft : kMinHitsLeftIfDoubtful;
  return n > least && n <= kMaxHitsTried && is_suspect(found, n, kDoubtful);
}

// Fit, and while the track is doubtful, leave out the hit without which it fits best. Changes `hits`.
Solution fit_without_outliers(FitHit* hits, int* n, const FitTables& t, std::int64_t* outliers) {
  Solution best = fit(hits, *n, t);
  for (int k = 0; k < kMaxOutliers && may_lose_hit(best, *n); ++k) {
    FitHit others[kMaxHitsTried], *end = std::copy(hits + 1, hits + *n, others);
    Solution without{};
    int worst = -1;
    for (int left_out = 0; left_out < *n; ++left_out) {
      if (left_out > 0) others[left_out - 1] = hits[left_out - 1];
      const Solution tried = fit(others, static_cast<int>(end - others), t);
      if (tried.status == kFitted && (worst < 0 || tried.chi2 < without.chi2)) without = tried, worst = left_out;
    }
    if (worst < 0 || (best.status == kFitted && !(best.chi2 - without.chi2 > kMinGain))) break;
    outliers[k] = hits[worst].row;
    std::copy(hits + worst + 1, hits + *n, hits + worst);
    --*n;
    best = without;
  }
  return best;
}

// The helix in the parameters of ACTS, and its covariance likewise.
void write(const Helix& h, const double (*covariance)[kParameters], double field, double* values, double* out) {
  const double sin = 1 / std::sqrt(1 + h.cot * h.cot), unit = kGevPerTeslaMm * field, pi = std::acos(-1.0);
  values[0] = h.d0, values[1] = h.z0, values[2] = pi - (pi - h.phi - 2 * pi * std::floor((pi - h.phi) / (2 * pi)));
  values[3] = std::atan2(1.0, h.cot), values[4] = -h.omega * sin / unit;
  double jacobian[kParameters][kParameters] = {};
  jacobian[0][0] = jacobian[1][3] = jacobian[2][1] = 1;
  jacobian[3][4] = -sin * sin;
  jacobian[4][2] = -sin / unit, jacobian[4][4] = h.omega * h.cot * sin * sin * sin / unit;
  double half[kParameters][kParameters] = {};
  for (int i = 0; i < kParameters; ++i)
    for (int k = 0; k < kParameters; ++k)
      for (int j = 0; j < kParameters; ++j) half[i][j] += jacobian[i][k] * covariance[k][j];
  for (int i = 0; i < kParameters; ++i)
    for (int j = 0; j < kParameters; ++j) {
      double sum = 0;
      for (int k = 0; k < kParameters; ++k) sum += half[i][k] * jacobian[j][k];
      out[kParameters * i + j] = sum;
    }
}

}  // namespace

Fits fit_tracks(const float* position, const HitLists& tracks, const FitTables& tables, bool reject_outliers,
                int threads) {
  const std::int64_t n = tracks.n_tracks;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Fits fits{Array<double>(kParameters * n, nan),
            Array<double>(kParameters * kParameters * n, nan),
            Array<double>(n, nan),
            Array<std::int64_t>(n),
            Array<std::int8_t>(n),
            Array<std::int64_t>(kMaxOutliers * n, -1)};
  std::vector<FitHit> hits(tracks.begin[n]);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
  for (std::int64_t t = 0; t < n; ++t) {
    const std::int64_t begin = tracks.begin[t];
    FitHit* mine = hits.data() + begin;
    int size = gather(position, tracks.rows + begin, tracks.begin[t + 1] - begin, tables, mine);
    const Solution found = reject_outliers
                               ? fit_without_outliers(mine, &size, tables, fits.outliers.data() + kMaxOutliers * t)
                               : fit(mine, size, tables);
    fits.n_hits[t] = size;
    fits.status[t] = found.status == kFitted && is_suspect(found, size) ? kSuspect : found.status;
    if (found.status != kFitted) continue;
    write(found.helix, found.covariance, tables.field, fits.values.data() + kParameters * t,
          fits.covariance.data() + kParameters * kParameters * t);
    fits.chi2[t] = found.chi2;
  }
  return fits;
}

}  // namespace beampipe
