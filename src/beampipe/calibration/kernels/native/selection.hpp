// The selection of a pair of jets, the axes of the histograms, and the shifts of the jet energy.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "numbers.hpp"

namespace calibration {

/// As `DijetSelection` in config.py; `max_weight` is in units of the weights.
struct Cuts {
  double min_subleading_pt, max_leading_pt, max_pt_ratio, max_abs_eta, min_n_trk, max_weight;
};

/// Indices in `CUT_NAMES` of events/dijets.py.
enum Cut { kAll, kTrigger, kTwoJets, kEta, kSubleading, kLeading, kRatio, kClean, kNTrk, kLabel, kWeight, kNCuts };
constexpr int kPtCuts = 3;

/// Number of cuts on pT that a pair passes before the first one that it fails.
inline int pt_cuts_passed(double high, double low, const Cuts& cuts) {
  if (!(low > cuts.min_subleading_pt)) return 0;
  if (!(high < cuts.max_leading_pt)) return 1;
  return high < cuts.max_pt_ratio * low ? 3 : 2;
}

inline bool enough_tracks(const std::uint16_t* n_trk, const Cuts& cuts) {
  return n_trk[0] >= cuts.min_n_trk && n_trk[1] >= cuts.min_n_trk;
}

/// A pair of jets, the leading one first.
struct Pair {
  float pt[2], eta[2];
  std::uint16_t n_trk[2];
  bool clean, labelled;
};

/// The last cut that a pair passes before the first one that it fails; `kept` is set to whether it passes all cuts but
/// those on pT and n_trk, which variations change.
inline int last_cut_passed(const Pair& pair, float weight, const Cuts& cuts, bool& kept) {
  const bool inside = std::fabs(pair.eta[0]) < cuts.max_abs_eta && std::fabs(pair.eta[1]) < cuts.max_abs_eta;
  const bool light = std::fabs(weight) < cuts.max_weight;
  kept = pair.clean && pair.labelled && inside && light;
  if (!inside) return kTwoJets;
  const int n_pt_cuts = pt_cuts_passed(pair.pt[0], pair.pt[1], cuts);
  if (n_pt_cuts < kPtCuts) return kEta + n_pt_cuts;
  if (!pair.clean) return kRatio;
  if (!enough_tracks(pair.n_trk, cuts)) return kClean;
  if (!pair.labelled) return kNTrk;
  return light ? kWeight : kLabel;
}

/// Whether a pair that passes all other cuts can be selected in a variation of its pT by at most `margin`.
inline bool within_margin(const Pair& pair, const Cuts& cuts, double margin) {
  return pt_cuts_passed(pair.pt[0] * (1 - margin), pair.pt[1] * (1 + margin), cuts) == kPtCuts;
}

/// Indices of the two leading jets of `first` to `last`, at least two; `pt(j)` is the pT of jet j. Of jets with equal pT
/// the first one leads.
template <typename Pt>
inline void leading_pair(std::int64_t first, std::int64_t last, Pt pt, std::int64_t jets[2]) {
  std::int64_t a = first, b = first + 1;
  float high = pt(a), low = pt(b);
  if (low > high) {
    std::swap(a, b);
    std::swap(high, low);
  }
  for (std::int64_t j = first + 2; j < last; ++j) {
    const float next = pt(j);
    if (next <= low) continue;  // true for most jets, false for NaN
    if (next > high) {
      b = a, low = high;
      a = j, high = next;
    } else if (next > low) {
      b = j, low = next;
    }
  }
  jets[0] = a, jets[1] = b;
}

/// Bins of one tagger; outside the axis is its first or last bin.
struct TaggerBins {
  double low, high;
  std::int64_t bins, offset;
  std::vector<std::int32_t> of_whole;  // bins of small whole numbers: faster than a division

  void look_up(std::int64_t n) {
    for (std::int64_t x = 0; x < n; ++x) of_whole.push_back(static_cast<std::int32_t>(of(static_cast<double>(x))));
  }

  std::int64_t of_tracks(std::uint16_t n_trk) const { return n_trk < of_whole.size() ? of_whole[n_trk] : of(n_trk); }

  std::int64_t of(double x) const {
    // Multiply before dividing: rounding must not move a whole number of tracks below the edge of its bin.
    const double bin = std::floor((x - low) * static_cast<double>(bins) / (high - low));
    const double last = static_cast<double>(bins) - 1, kept = bin > 0 ? bin : 0.0;  // NaN: the first bin
    return static_cast<std::int64_t>(kept < last ? kept : last) + offset;
  }
};

/// Edges of bins.
struct Edges {
  const double* edges;
  std::int64_t n_edges;

  std::int64_t n_bins() const { return n_edges - 1; }

  /// The bin of a value; -1 outside of all.
  std::int64_t of(double value) const {
    std::int64_t where = -1;
    for (std::int64_t k = 0; k < n_edges; ++k) where += edges[k] <= value;  // a linear search: there are few edges
    return where < n_bins() ? where : -1;
  }
};

/// Bins of |eta|, pT, flavour and tagger; without edges of |eta| there is one bin of it.
struct Axes {
  Edges pt, eta;
  std::int64_t n_flavours, width;

  std::int64_t n_bins() const { return pt.n_bins() * (eta.n_edges > 0 ? eta.n_bins() : 1); }

  /// First row of the cell of each jet of a pair; -1 if the jet is not counted.
  void rows(const float* jet_pt, const float* jet_eta, const std::uint16_t* n_trk, const std::int8_t* region,
            const std::int8_t* flavour, const Cuts& cuts, std::int64_t* out) const {
    out[0] = out[1] = -1;
    // Like max and min of Python: the first one if both are equal or one is NaN.
    const double first = jet_pt[0], second = jet_pt[1];
    const double high = second > first ? second : first, low = second < first ? second : first;
    if (pt_cuts_passed(high, low, cuts) < kPtCuts || !enough_tracks(n_trk, cuts)) return;
    for (int j = 0; j < 2; ++j) {
      const std::int64_t in_pt = pt.of(jet_pt[j]);
      const std::int64_t in_eta = eta.n_edges > 0 ? eta.of(std::fabs(static_cast<double>(jet_eta[j]))) : 0;
      if (region[j] >= 0 && in_pt >= 0 && in_eta >= 0)
        out[j] = (((in_eta * pt.n_bins() + in_pt) * 2 + region[j]) * n_flavours + flavour[j]) * width;
    }
  }
};

// Shifts of the jet energy, with the operations of events/variations.py in the same order.

/// As `EnergyModel` in events/variations.py.
struct EnergyModel {
  double scale, resolution, widening, low_pt, high_pt, last_eta;
  std::int64_t pt_nodes, eta_nodes, resolution_nodes;
  std::uint64_t noise_seed;
};

/// Height of node `node` of `n` at x.
inline double triangle(double x, std::int64_t node, std::int64_t n) {
  if (n == 1) return 1.0;
  const double above = x > 0 ? x : 0.0, kept = above < 1 ? above : 1.0;
  const double height = 1 - std::fabs(kept * static_cast<double>(n - 1) - static_cast<double>(node));
  return height > 0 ? height : 0.0;
}

/// Shifts of the energy of one jet.
class Shifts {
public:
  explicit Shifts(const EnergyModel& model) : model_(model) {}

  void at(float pt, float eta) {
    pt_ = (static_cast<double>(pt) - model_.low_pt) / (model_.high_pt - model_.low_pt);
    eta_ = std::fabs(static_cast<double>(eta)) / model_.last_eta;
  }

  /// 0 where the factor is 1.
  double scale_height(std::int64_t number) const {
    return triangle(pt_, number % model_.pt_nodes, model_.pt_nodes) *
           triangle(eta_, number / model_.pt_nodes, model_.eta_nodes);
  }

  double widening(std::int64_t number) const {
    return model_.widening * triangle(pt_, number, model_.resolution_nodes);
  }

  double scaled(double sign, double height) const { return 1 + sign * model_.scale * height; }

  double smeared(double sign, double widening, double noise) const {
    const double wide = 1 + widening;
    return 1 + sign * model_.resolution * std::sqrt(wide * wide - 1) * noise;
  }

private:
  const EnergyModel& model_;
  double pt_ = 0, eta_ = 0;
};

/// A random number of mean 0 and variance 1 of an event and a jet.
inline double noise(std::uint64_t key, std::int64_t number, int jet, std::uint64_t seed) {
  const std::uint64_t bits = mix(key + mix(static_cast<std::uint64_t>(2 * number + jet) + seed));
  double parts = 0;
  for (int c = 0; c < 4; ++c) parts += static_cast<double>((bits >> (16 * c)) & 0xFFFF);
  return (parts / 65536 - 2 + 2.0 / 65536) * 1.7320508075688772;
}

}  // namespace calibration
