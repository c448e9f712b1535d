// What the track fit reads and returns. See beampipe.tracking.fitting.reference and beampipe.events.
#pragma once

#include <cstdint>

#include "array.hpp"

namespace beampipe {

struct FitTables {
  int n_layers;
  const float* layers;      // (n_layers, 4): r_min, r_max, z_min, z_max [mm]
  const float* variance;    // (n_layers, 2): across and along [mm^2]
  const float* scattering;  // (n_layers,) [GeV^2]
  double pipe_radius;       // [mm]
  double pipe_scattering;   // [GeV^2]
  double energy_loss;       // [1/GeV]
  double field;             // [T]
};

// Hits of all tracks, one track after the other: those of track t are rows[begin[t]] to rows[begin[t + 1] - 1].
struct HitLists {
  std::int64_t n_tracks;
  const std::int64_t* begin;
  const std::int64_t* rows;
};

enum FitStatus : std::int8_t { kFitted, kTooFewHits, kNoStart, kNotConverged };

struct Fits {
  Array<double> values;        // (n_tracks, 5): d0, z0, phi, theta, q/p
  Array<double> covariance;    // (n_tracks, 5, 5)
  Array<double> chi2;          // (n_tracks,)
  Array<std::int64_t> n_hits;  // (n_tracks,)
  Array<std::int8_t> status;   // (n_tracks,)
};

}  // namespace beampipe
