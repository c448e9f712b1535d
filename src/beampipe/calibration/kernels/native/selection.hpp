// The selection of a pair of jets, the axes of the histograms, and the shifts of the jet energy.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "numbers.hpp"

// Always inlined, so that it is compiled for the instruction set of the loop that calls it.
#define ALWAYS [[gnu::always_inline]]

namespace calibration {

/// As `DijetSelection` in config.py; `max_weight` is in units of the weights.
struct Cuts {
  double min_subleading_pt, max_leading_pt, max_pt_ratio, max_abs_eta, min_n_trk, max_weight;
};

/// Indices in `CUT_NAMES` of events/dijets.py.
enum Cut { kAll, kTrigger, kTwoJets, kEta, kSubleading, kLeading, kRatio, kClean, kNTrk, kLabel, kWeight, kNCuts };
constexpr int kPtCuts = 3;

/// Number of cuts on pT that a pair passes before the first one that it fails.
ALWAYS inline int pt_cuts_passed(double high, double low, const Cuts& cuts) {
  const int first = low > cuts.min_subleading_pt, second = first & (high < cuts.max_leading_pt);
  return first + second + (second & (high < cuts.max_pt_ratio * low));
}

/// Number of events that are processed together.
constexpr std::int64_t kBlock = 2048;

/// Pairs of jets of at most `kBlock` events; of each quantity first the numbers of all leading jets.
struct Pairs {
  std::int64_t n = 0;
  std::int64_t event[kBlock];    // from the first event of the block
  std::int64_t jets[2][kBlock];  // from the first jet of the segment
  std::int64_t rows[2][kBlock];  // first row of the cell of a jet; -1 if it is not counted
  float weight[kBlock];          // nominal
  float pt[2][kBlock], eta[2][kBlock];
  std::int32_t n_trk[2][kBlock];                       // as wide as pT, for vectorisation, like the following
  std::int32_t flavour[2][kBlock], region[2][kBlock];  // -1: none
  std::int32_t clean[kBlock];                          // whether both jets are
};

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

  std::int64_t of_tracks(std::int32_t n_trk) const {
    return static_cast<std::size_t>(n_trk) < of_whole.size() ? of_whole[n_trk] : of(n_trk);
  }

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
};

/// Bins of |eta|, pT, flavour and tagger; without edges of |eta| there is one bin of it.
struct Axes {
  Edges pt, eta;
  std::int64_t n_flavours, width;

  std::int64_t n_bins() const { return pt.n_bins() * (eta.n_edges > 0 ? eta.n_bins() : 1); }
};

// Shifts of the jet energy, with the operations of events/variations.py in the same order.

/// As `EnergyModel` in events/variations.py.
struct EnergyModel {
  double scale, resolution, widening, low_pt, high_pt, last_eta;
  std::int64_t pt_nodes, eta_nodes, resolution_nodes;
  std::uint64_t noise_seed;
};

/// A variation of the jets: another n_trk, or a shift of the jet energy.
struct Variation {
  enum Kind : int { kTracks, kScale, kResolution } kind;
  std::int64_t number;  // index of the column of n_trk, or number of the parameter
  double sign;
};

/// Height of node `node` of `n` at x.
ALWAYS inline double triangle(double x, std::int64_t node, std::int64_t n) {
  const double above = x > 0 ? x : 0.0, kept = above < 1 ? above : 1.0;
  const double height = 1 - std::fabs(kept * static_cast<double>(n - 1) - static_cast<double>(node));
  return height > 0 ? height : 0.0;
}

/// A random number of mean 0 and variance 1 of an event and a jet.
inline double noise(std::uint64_t key, std::int64_t number, int jet, std::uint64_t seed) {
  const std::uint64_t bits = mix(key + mix(static_cast<std::uint64_t>(2 * number + jet) + seed));
  double parts = 0;
  for (int c = 0; c < 4; ++c) parts += static_cast<double>((bits >> (16 * c)) & 0xFFFF);
  return (parts / 65536 - 2 + 2.0 / 65536) * 1.7320508075688772;
}

/// The shifted pT of jet j of an event with a key.
inline float shifted_pt(const EnergyModel& model, const Variation& shift, float pt, double height, std::uint64_t key,
                        int j) {
  double factor = 1 + shift.sign * model.scale * height;
  if (shift.kind == Variation::kResolution) {
    const double wide = 1 + height;
    factor =
        1 + shift.sign * model.resolution * std::sqrt(wide * wide - 1) * noise(key, shift.number, j, model.noise_seed);
  }
  return static_cast<float>(static_cast<double>(pt) * factor);
}

}  // namespace calibration
