// Where the beam line runs, told from the tracks of an event; the definitions are those of beampipe.tracking.beam_spot.
#pragma once

#include <cstdint>
#include <string>

#include "array.hpp"

namespace beampipe {

/// A straight beam line, nearly along z.
struct BeamLine {
  double x = 0, y = 0;        // where it crosses z = 0 [mm]
  double dxdz = 0, dydz = 0;  // slopes

  /// From x,y or x,y,dxdz,dydz. Throws ConfigError if these are no such numbers, or the line leaves the beam pipe.
  static BeamLine parse(const std::string& text);

  bool on_axis() const { return x == 0 && y == 0 && dxdz == 0 && dydz == 0; }
};

/// (n, 3) r, phi, z of the same hits, r and phi measured from the line.
Array<float> seen_from(const BeamLine& line, const float* position, std::int64_t n);

/// The point across the beam that most tracks of an event pass.
struct BeamSpotEstimate {
  double x = 0, y = 0;        // [mm]
  double error = 1e30;        // standard deviation of either [mm]
  double spread = 1e30;       // standard deviation of the tracks' distances from it [mm]
  std::int64_t n_tracks = 0;  // tracks that were used
  double share = 0;           // these as a share of all tracks with enough hits

  /// Whether the tracks come from one line that is elsewhere than the axis, by more than costs tracks and than chance.
  bool significant() const;
};

/// position: (n, 3) r [mm], phi [rad], z [mm]; track_id: (n,) label of each hit from 0, -1 for none.
BeamSpotEstimate estimate_beam_spot(const float* position, const std::int64_t* track_id, std::int64_t n);

}  // namespace beampipe
