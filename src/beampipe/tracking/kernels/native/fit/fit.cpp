// Fit of a helix to the hits of each track: Gauss-Newton steps, each a filter from the outermost hit to the beam line.
//
// The state of the filter is the change of the perigee of the helix that the particle follows at the layer just passed,
// so that nothing is transported between layers: a hit adds information, scattering takes some away. That gives the
// generalised least squares solution of beampipe.tracking.fitting.tables, without the covariance of the hits.
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
constexpr double kMaxCot = 1e3, kPi = 3.141592653589793, kHighland = 0.0446;

// Rejection of outliers; beampipe.tracking.fitting.tables says what they mean.
constexpr double kMaxDeviation = 3, kDoubtful = 2, kMinGain = 12;
constexpr int kMinHitsLeft = 6, kMinHitsLeftIfDoubtful = 7, kMaxHitsTried = 40;
constexpr double kMaxChi2OfOther = 12, kMaxChi2Excess = 4, kMinChi2Apart = 9;

// Mean field along the way to a point, relative to that of the tables.
double bending(const float* c, double r, double z) {
  const double r2 = 1e-6 * r * r, x = 1e-3 * z;
  return 1 + c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * c[4]))) + r2 * (c[5] + x * (c[6] + x * c[7]) + r2 * c[8]);
}

// Azimuth of the nearest module of a layer; that of the hit where there are no rings. FitTables.module_azimuth of Python.
double module_azimuth(const FitTables& t, int layer, bool barrel, double r, double phi, double z) {
  double result = phi, nearest = std::numeric_limits<double>::infinity();
  for (int k = 0; k < t.n_rings; ++k) {
    const float* ring = t.rings + kRingWidth * k;
    if (ring[0] != static_cast<float>(layer)) continue;
    const double near = ring[1], half = ring[2], aside = ring[3], spacing = 2 * kPi / ring[5];
    if (!barrel && (z - aside) * (z - aside) >= nearest) continue;
    const double middle = barrel ? std::atan2(aside, near) : 0,
                 turned = std::remainder(phi - ring[4] - middle, spacing);
    const auto compare = [&](double away) {
      const double along = r * std::cos(away + middle), off = barrel ? along - near : z - aside;
      const double beside = barrel ? r * std::sin(away + middle) - aside : along - near;
      const double beyond = std::fmax(std::fabs(beside) - half, 0), distance2 = off * off + beyond * beyond;
      if (distance2 < nearest) nearest = distance2, result = phi - away - middle;
    };
    compare(turned);
    if (barrel) compare(turned - std::copysign(spacing, turned));  // modules may overlap
  }
  return result;
}

// The hits of a track that lie on layers, from the origin outwards; returns their number.
int gather(const float* position, const std::int64_t* rows, std::int64_t n, const FitTables& t, FitHit* hits) {
  int size = 0;
  for (std::int64_t k = 0; k < n; ++k) {
    const float *p = position + 3 * rows[k], r = p[0], z = p[2];
    const int layer = layer_at(t.layers, t.n_layers, r, z);
    if (layer < 0) continue;
    const float* box = t.layers + 4 * layer;
    const bool barrel = box[3] - box[2] > box[1] - box[0];
    const double azimuth = module_azimuth(t, layer, barrel, r, p[1], z);
    hits[size++] = {r * std::cos(double(p[1])),
                    r * std::sin(double(p[1])),
                    z,
                    double(r) * r + double(z) * z,
                    std::cos(azimuth),
                    std::sin(azimuth),
                    {t.variance[2 * layer], t.variance[2 * layer + 1]},
                    t.scattering[layer],
                    box,
                    barrel,
                    bending(t.field_shape, r, z),
                    rows[k]};
  }
  const auto nearer = [](const FitHit& a, const FitHit& b) { return a.distance2 < b.distance2; };
  for (int i = 1; i < size; ++i)  // stable, and short lists need no better
    std::rotate(std::upper_bound(hits, hits + i, hits[i], nearer), hits + i, hits + i + 1);
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
  double in_barrel,
      in_disc;  // scattering in a module that is crossed along its azimuth, relative to a crossing at right angles

  Bending(const Helix& h, const FitTables& t) {
    slope2 = 1 + h.cot * h.cot;
    inverse_p2 = std::pow(h.omega / (kGevPerTeslaMm * t.field), 2) / slope2;
    inverse_beta2 = 1 + kPionMass * kPionMass * inverse_p2;
    const auto scattering = [](double way) { return way * std::pow(1 + kHighland * std::log(way), 2); };
    in_barrel = scattering(std::sqrt(slope2)), in_disc = scattering(std::sqrt(slope2) / std::fabs(h.cot));
  }

  // Scattering in the layer of a hit, relative to a crossing at right angles; path_through of Python.
  double path(const FitHit& hit, const Measurement& m) const {
    return hit.barrel ? in_barrel / std::fabs(m.normal) : in_disc;
  }

  // The state on one side of matter, extrapolated through it; outwards with a negative energy loss. `amount` is the
  // scattering along the way through it [GeV^2].
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

// Information of the hits at the beam line (`step` -1) or behind the last hit (`step` 1). Calls before_hit(i, crossing,
// measurement, information) at each hit, with the information of the hits before it.
template <int step, class BeforeHit>
Information filter(const Helix& helix, const FitHit* hits, int n, const FitTables& t, BeforeHit&& before_hit) {
  const Bending bending(helix, t);
  const double energy_loss = -step * t.energy_loss;
  Information known;
  int tube = step < 0 ? t.n_tubes - 1 : 0;
  const auto pass_tubes_until = [&](double radius2, bool reached) {
    for (; tube >= 0 && tube < t.n_tubes; tube += step) {
      if ((t.tubes[2 * tube] * t.tubes[2 * tube] > radius2) != (step < 0)) break;
      if (!reached || !(t.tubes[2 * tube + 1] > 0)) continue;
      double radial;
      const Crossing at = cross_tube(helix, t.tubes[2 * tube], &radial);
      bending.pass(helix, at, t.tubes[2 * tube + 1] * bending.in_barrel / radial, energy_loss, &known);
    }
  };
  const int first = step < 0 ? n - 1 : 0;
  for (int i = first; i >= 0 && i < n; i += step) {
    const FitHit& hit = hits[i];
    pass_tubes_until(hit.x * hit.x + hit.y * hit.y, i != first);
    const Helix here = bent(helix, hit);
    const Crossing at = cross(here, hit.x, hit.y);
    const Measurement m = measure(here, at, hit);
    before_hit(i, at, m, known);
    for (int k = 0; k < 2; ++k) known.add(m.by_helix[k], m.residual[k], hit.variance[k]);
    bending.pass(here, at, hit.scattering * bending.path(hit, m), energy_loss, &known);
  }
  if (step < 0) pass_tubes_until(0, true);
  return known;
}

struct Solution {
  FitStatus status;
  Helix helix, before_last_step;
  double covariance[kParameters][kParameters];
  double chi2;
};

// Fills `outside`, if it is given, with the information of the hits further out at each hit, before the last step.
Solution fit(const FitHit* hits, int n, const FitTables& t, Information* outside = nullptr) {
  Solution now{};
  now.status = n < kMinHits ? kTooFewHits : start(hits, n, &now.helix) ? kNotConverged : kNoStart;
  if (now.status != kNotConverged) return now;
  Helix& helix = now.helix;
  for (int s = 0; s < kMaxSteps && now.status != kFitted; ++s) {
    double step[kParameters], size2;
    now.before_last_step = helix;
    const Information known =
        filter<-1>(helix, hits, n, t, [outside](int i, const auto&, const auto&, const Information& before) {
          if (outside != nullptr) outside[i] = before;
        });
    if (!known.solve(step, now.covariance, &now.chi2, &size2)) break;
    helix.d0 += step[0], helix.phi += step[1], helix.omega += step[2], helix.z0 += step[3], helix.cot += step[4];
    helix.turn();
    if (!(std::fabs(helix.cot) < kMaxCot)) break;
    if (size2 < kConverged) now.status = kFitted;
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

// Hits on no track, in cells of phi and z.
class FreeHits {
public:
  FreeHits(const float* position, std::int64_t n_hits, const HitLists& tracks) : begin_(kPhiCells * kZCells + 1) {
    std::vector<std::int32_t> cell(n_hits);
    float z_max = 0;
    for (std::int64_t hit = 0; hit < n_hits; ++hit) z_max = std::max(z_max, std::fabs(position[3 * hit + 2]));
    z_cells_ = z_max > 0 ? kZCells / (2 * z_max) : 0;
    for (std::int64_t hit = 0; hit < n_hits; ++hit)
      cell[hit] = column(phi_cell(position[3 * hit + 1])) + z_cell(position[3 * hit + 2]);
    for (std::int64_t k = 0; n_hits > 0 && k < tracks.begin[tracks.n_tracks]; ++k) cell[tracks.rows[k]] = -1;
    for (const std::int32_t c : cell)
      if (c >= 0) ++begin_[c + 1];
    for (std::size_t c = 1; c < begin_.size(); ++c) begin_[c] += begin_[c - 1];
    position_.resize(3 * begin_.back());
    std::vector<std::int32_t> next(begin_.begin(), begin_.end() - 1);
    for (std::int64_t hit = 0; hit < n_hits; ++hit)
      if (cell[hit] >= 0) std::copy_n(position + 3 * hit, 3, position_.data() + 3 * std::int64_t{next[cell[hit]]++});
  }

  // Calls visit(r, phi, z) for the hits in a box, and perhaps for others.
  template <class Visit>
  void near(double phi, double half_width, double z_low, double z_high, Visit&& visit) const {
    const double half = std::fmin(half_width, kPi * (1 - 1.0 / kPhiCells));
    const int last = phi_cell(phi + half);
    const std::int32_t low = z_cell(z_low), high = z_cell(z_high);
    for (int cell = phi_cell(phi - half); cell <= last; ++cell)
      for (std::int64_t k = begin_[column(cell) + low]; k < begin_[column(cell) + high + 1]; ++k)
        visit(position_[3 * k], position_[3 * k + 1], position_[3 * k + 2]);
  }

private:
  static constexpr int kPhiCells = 1024, kZCells = 64;  // kPhiCells is a power of two

  static int phi_cell(double phi) { return static_cast<int>(std::floor(phi * (kPhiCells / (2 * kPi)))); }
  static std::int32_t column(int phi_cell) { return (phi_cell & (kPhiCells - 1)) * kZCells; }
  std::int32_t z_cell(double z) const {
    return static_cast<std::int32_t>(std::clamp(z * z_cells_ + kZCells / 2, 0.0, kZCells - 1.0));
  }

  double z_cells_ = 0;  // per mm
  std::vector<std::int32_t> begin_;
  std::vector<float> position_;  // r, phi, z of the hits of all cells
};

// The smallest chi2 of a free hit of the layer apart from the hit; infinity where there is none. `away` is of the hit.
double best_other(const Helix& helix, const FitHit& hit, const Measurement& m, const Difference& away,
                  const FreeHits& free) {
  const float* box = hit.box;
  const double depth = hit.barrel ? box[1] - box[0] : (box[3] - box[2]) / std::fabs(helix.cot);  // of the layer, in r
  const auto range = [&](int k, double slope) {
    return 1.2 * (std::fabs(away.value[k]) + std::sqrt(kMaxChi2OfOther * away.covariance[k][k])) + depth * slope;
  };
  const double r_hit = std::hypot(hit.x, hit.y);
  const double turned = hit.barrel ? 0 : std::fabs(hit.module_x * hit.y - hit.module_y * hit.x) / r_hit;
  const double along = range(1, std::fabs(helix.cot) / m.radial);
  const double across = range(0, std::sqrt(std::fmax(1 - m.radial * m.radial, 0)) / m.radial) + turned * along;
  double best = std::numeric_limits<double>::infinity();
  if (!std::isfinite(across + along)) return best;
  const double phi_hit = std::atan2(hit.y, hit.x), half_width = across / r_hit;
  free.near(phi_hit, half_width, hit.barrel ? hit.z - along : box[2], hit.barrel ? hit.z + along : box[3],
            [&](float r, float phi, float z) {
              if (std::fabs(hit.barrel ? z - hit.z : r - r_hit) > along) return;
              if (!(r >= box[0] && r <= box[1] && z >= box[2] && z <= box[3])) return;
              const double apart = std::fabs(phi - phi_hit);
              if (apart > half_width && apart < 2 * kPi - half_width) return;
              FitHit other = hit;
              other.x = r * std::cos(double(phi)), other.y = r * std::sin(double(phi)), other.z = z;
              const Measurement of_other = measure(helix, cross(helix, other.x, other.y), other);
              const double d0 = of_other.residual[0] - m.residual[0], d1 = of_other.residual[1] - m.residual[1];
              if (d0 * d0 / (2 * hit.variance[0]) + d1 * d1 / (2 * hit.variance[1]) > kMinChi2Apart)
                best = std::fmin(best, away.chi2(d0, d1));
            });
  return best;
}

// The ambiguous hit that fits least well compared with a free hit of its layer; -1 if no hit is ambiguous.
int ambiguous_hit(const Solution& fitted, const FitHit* hits, int n, const FitTables& t, const Information* outside,
                  const FreeHits& free) {
  const Helix& helix = fitted.before_last_step;
  const Bending bending(helix, t);
  int worst = -1;
  double most = -kMaxChi2Excess;
  filter<1>(helix, hits, n, t, [&](int i, const Crossing& at, const Measurement& m, const Information& inside) {
    Information others = outside[i];
    const Helix here = bent(helix, hits[i]);
    bending.pass(here, at, hits[i].scattering * bending.path(hits[i], m), t.energy_loss, &others);
    others.join(inside);
    Difference away;
    if (!others.predict(m, hits[i].variance, &away)) return;
    const double best = best_other(here, hits[i], m, away, free);
    if (best < kMaxChi2OfOther && away.chi2() - best > most) most = away.chi2() - best, worst = i;
  });
  return worst;
}

// Fit, and while the track is doubtful, leave out the hit without which it fits best, and the second-best one where
// either may be wrong; then ambiguous hits. Changes `hits`.
Solution fit_without_outliers(FitHit* hits, int* n, const FitTables& t, const FreeHits& free, std::int64_t* outliers) {
  Information outside[kMaxHitsTried];
  Solution best = fit(hits, *n, t, *n <= kMaxHitsTried ? outside : nullptr);
  int k = 0;
  const auto leave_out = [&](std::ptrdiff_t worst) {
    outliers[k] = hits[worst].row;
    std::copy(hits + worst + 1, hits + *n, hits + worst);
    best = fit(hits, --*n, t, outside);
  };
  for (; k < kMaxOutliers && may_lose_hit(best, *n); ++k) {
    FitHit others[kMaxHitsTried], *end = std::copy(hits + 1, hits + *n, others);
    double chi2[kMaxHitsTried];
    for (int left_out = 0; left_out < *n; ++left_out) {
      if (left_out > 0) others[left_out - 1] = hits[left_out - 1];
      const Solution tried = fit(others, static_cast<int>(end - others), t);
      chi2[left_out] = tried.status == kFitted ? tried.chi2 : std::numeric_limits<double>::infinity();
    }
    const auto worst = std::min_element(chi2, chi2 + *n) - chi2;
    const double least = chi2[worst];
    if (!std::isfinite(least) || (best.status == kFitted && !(best.chi2 - least > kMinGain))) break;
    leave_out(worst);
    std::copy(chi2 + worst + 1, chi2 + *n + 1, chi2 + worst);
    const auto next = std::min_element(chi2, chi2 + *n) - chi2;
    if (chi2[next] - least < kMinGain && *n > kMinHitsLeftIfDoubtful && k + 1 < kMaxOutliers) ++k, leave_out(next);
  }
  for (; k < kMaxOutliers && best.status == kFitted && *n > kMinHitsLeftIfDoubtful && *n <= kMaxHitsTried; ++k) {
    const int worst = ambiguous_hit(best, hits, *n, t, outside, free);
    if (worst < 0) break;
    leave_out(worst);
  }
  return best;
}

// The helix in the parameters of ACTS, and its covariance likewise.
void write(const Helix& h, const double (*covariance)[kParameters], double field, double* values, double* out) {
  const double sin = 1 / std::sqrt(1 + h.cot * h.cot), unit = kGevPerTeslaMm * field;
  values[0] = h.d0, values[1] = h.z0, values[2] = kPi - (kPi - h.phi - 2 * kPi * std::floor((kPi - h.phi) / (2 * kPi)));
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

Fits fit_tracks(const float* position, std::int64_t n_hits, const HitLists& tracks, const FitTables& tables,
                bool reject_outliers, int threads) {
  const std::int64_t n = tracks.n_tracks;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Fits fits{Array<double>(kParameters * n, nan),
            Array<double>(kParameters * kParameters * n, nan),
            Array<double>(n, nan),
            Array<std::int64_t>(n),
            Array<std::int8_t>(n),
            Array<std::int64_t>(kMaxOutliers * n, -1)};
  std::vector<FitHit> hits(tracks.begin[n]);
  const FreeHits free(position, reject_outliers ? n_hits : 0, tracks);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
  for (std::int64_t t = 0; t < n; ++t) {
    const std::int64_t begin = tracks.begin[t];
    FitHit* mine = hits.data() + begin;
    int size = gather(position, tracks.rows + begin, tracks.begin[t + 1] - begin, tables, mine);
    const Solution found =
        reject_outliers ? fit_without_outliers(mine, &size, tables, free, fits.outliers.data() + kMaxOutliers * t)
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
