// Fits the tracks of an event with the tables of a tracker model. The C++ side of beampipe.tracking.fitting.fitter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "pipelines/hits.hpp"

namespace beampipe {

/// The tables of beampipe.tracking.fitting.tables, read from a file and checked.
class OwnFitTables {
public:
  /// Throws FileError or ConfigError if the file has no consistent tables.
  explicit OwnFitTables(const std::string& path);

  FitTables view() const;

private:
  std::vector<float> layers_, rings_, variance_, scattering_, tubes_, energy_loss_, field_, field_shape_;
};

class TrackFitter {
public:
  /// Whether the folder of the weights has tables: models can be trained without them.
  static bool has_tables(const std::string& weights);
  /// The kernels must outlive it. Throws as OwnFitTables does.
  TrackFitter(const Table& kernels, const std::string& weights);

  /// Parameters of each track of one event, at the beam line of its tracks.
  ///
  /// position: (n_hits, 3) r [mm], phi [rad], z [mm], measured from the axis.
  /// track_id: (n_hits,) track of each hit, 0 .. n_tracks - 1; -1 for none.
  Fits fit(const float* position, const std::int64_t* track_id, std::int64_t n_hits, std::int64_t n_tracks,
           const BeamLine& line, int threads) const;

private:
  const Table& kernels_;
  OwnFitTables tables_;
};

}  // namespace beampipe
