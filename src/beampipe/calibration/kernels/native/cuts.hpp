// The cuts on a pair of jets, each in one place; see jets/pairs.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace calibration {

/// As `Cuts` in config/selection.py.
struct Cuts {
  double min_subleading_pt, max_leading_pt, max_pt_ratio, max_abs_eta, min_n_trk, max_abs_weight;
};

/// Places in `CUT_NAMES` of jets/dijets.py.
enum Cut { kAll, kTrigger, kTwoJets, kClean, kNTrk, kLabel, kEta, kWeight, kNCuts = 11 };
constexpr int kPtCuts = 3;

/// How many of the cuts on pT a pair passes before it fails one.
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
  std::uint16_t n_trk[2], most_trk[2];
  bool clean, labelled;
};

/// The last cut that a pair passes before it fails one.
inline int last_cut_passed(const Pair& pair, float weight, const Cuts& cuts, bool& kept_but_pt) {
  const bool inside = std::fabs(pair.eta[0]) < cuts.max_abs_eta && std::fabs(pair.eta[1]) < cuts.max_abs_eta;
  const bool light = std::fabs(weight) < cuts.max_abs_weight;
  kept_but_pt = pair.clean && pair.labelled && inside && light && enough_tracks(pair.most_trk, cuts);
  if (!pair.clean) return kTwoJets;
  if (!enough_tracks(pair.n_trk, cuts)) return kClean;
  if (!pair.labelled) return kNTrk;
  if (!inside) return kLabel;
  if (!light) return kEta;
  return kWeight + pt_cuts_passed(pair.pt[0], pair.pt[1], cuts);
}

/// Whether a pair that passes all else may be selected by some variation of its pT by at most `margin`.
inline bool within_margin(const Pair& pair, const Cuts& cuts, double margin) {
  return pt_cuts_passed(pair.pt[0] * (1 - margin), pair.pt[1] * (1 + margin), cuts) == kPtCuts;
}

/// Places of the two leading of n jets whose pT `pt(j)` gives; n is at least 2. At equal pT the first one leads.
template <typename Pt>
inline void leading_pair(std::int64_t first, std::int64_t last, Pt pt, std::int64_t place[2]) {
  std::int64_t a = first, b = first + 1;
  float high = pt(a), low = pt(b);
  if (low > high) {
    std::swap(a, b);
    std::swap(high, low);
  }
  for (std::int64_t j = first + 2; j < last; ++j) {
    const float one = pt(j);
    if (one <= low) continue;  // most jets; a NaN goes on
    if (one > high) {
      b = a, low = high;
      a = j, high = one;
    } else if (one > low) {
      b = j, low = one;
    }
  }
  place[0] = a, place[1] = b;
}

}  // namespace calibration
