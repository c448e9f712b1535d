// Where jets go in the histograms; see `Axes` in histograms/sums.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "cuts.hpp"

namespace calibration {

/// Bins of one tagger; outside the axis is its first or last bin.
struct TaggerBins {
  double low, high;
  std::int64_t bins, offset;
  std::vector<std::int32_t> of_whole;  // bins of small whole numbers: a division costs more than a look

  void look_up(std::int64_t n) {
    for (std::int64_t x = 0; x < n; ++x) of_whole.push_back(static_cast<std::int32_t>(of(static_cast<double>(x))));
  }

  std::int64_t of_tracks(std::uint16_t n_trk) const { return n_trk < of_whole.size() ? of_whole[n_trk] : of(n_trk); }

  std::int64_t of(double x) const {
    // Multiplied before it is divided: a whole number of tracks must not fall short of its own bin.
    const double place = std::floor((x - low) * static_cast<double>(bins) / (high - low));
    const double last = static_cast<double>(bins) - 1, kept = place > 0 ? place : 0.0;  // of a NaN, too, the first bin
    return static_cast<std::int64_t>(kept < last ? kept : last) + offset;
  }
};

/// Bins of pT, flavour and tagger.
struct Axes {
  const double* edges;
  std::int64_t n_edges, n_flavours, width;

  /// First row of the cells of both jets of a pair; -1 if a jet does not count.
  void rows(const float* pt, const std::uint16_t* n_trk, const std::int8_t* region, const std::int8_t* flavour,
            const Cuts& cuts, std::int64_t* out) const {
    out[0] = out[1] = -1;
    // As Python's max and min: of equals, and with a NaN, the first one.
    const double one = pt[0], other = pt[1];
    const double high = other > one ? other : one, low = other < one ? other : one;
    if (pt_cuts_passed(high, low, cuts) < kPtCuts || !enough_tracks(n_trk, cuts)) return;
    for (int j = 0; j < 2; ++j) {
      std::int64_t where = -1;
      for (std::int64_t k = 0; k < n_edges; ++k) where += edges[k] <= pt[j];  // there are few
      if (region[j] >= 0 && where >= 0 && where < n_edges - 1)
        out[j] = ((where * 2 + region[j]) * n_flavours + flavour[j]) * width;
    }
  }
};

}  // namespace calibration
