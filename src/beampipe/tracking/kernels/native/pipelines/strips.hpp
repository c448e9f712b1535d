// Space points of double-sided strips, compared with the track by their two measurements. The C++ side of
// beampipe.tracking.strips, which describes the method.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace beampipe {

/// What the modules measured of the hits of one event; null pointers where only positions are known.
struct Measurements {
  const std::uint64_t* geometry_id = nullptr;  // (n,) module of each hit; of a space point its first sensor
  const float* local = nullptr;                // (n, 2) [mm]; of a space point across the strips of each sensor
  const float* variance = nullptr;             // (n, 2) [mm^2]

  bool complete() const { return geometry_id != nullptr && local != nullptr && variance != nullptr; }
};

/// The double-sided modules of a detector. Constant after construction.
class StripCheck {
public:
  /// Whether the folder of the weights has a table of them: most detectors have none.
  static bool has_table(const std::string& weights);
  /// Throws FileError or ConfigError if the file has no consistent table.
  explicit StripCheck(const std::string& weights);

  /// Takes space points off tracks that they disagree with, and adds those that agree, for one event.
  ///
  /// position: (n, 3) r [mm], phi [rad], z [mm], measured from the axis.
  /// track_id: (n,) track of each hit, 0 .. n_tracks - 1; -1 for none.
  ///
  /// Throws InputError if a hit is on no module of the detector.
  void apply(const float* position, const Measurements& measured, std::int64_t n, std::int64_t n_tracks,
             std::int64_t* track_id) const;

private:
  struct Vector {
    double x, y, z;
  };
  struct Sensor {
    Vector centre, across, normal;
  };
  struct Layer {
    std::uint64_t identifier;  // of its modules, but for their numbers
    std::int64_t n_modules;
    std::int64_t first_sensor;  // row of its first one among `sensors_`; -1 if its modules measure two coordinates
    bool is_disc;
    double radius, z;  // mean of its sensors [mm]
  };
  struct Helix;
  struct Points;
  struct Candidate {
    double chi2;
    std::int64_t track, point, sensor;
  };

  const Layer& layer_of(std::uint64_t geometry_id) const;
  static Vector crossing(const Helix& helix, const Sensor& sensor);
  std::vector<Candidate> candidates(const std::vector<Helix>& tracks, const std::vector<Points>& points,
                                    const Measurements& measured) const;

  std::vector<Layer> layers_;  // sorted by identifier
  std::vector<Sensor> sensors_;
  std::int64_t n_modules_ = 0;
};

}  // namespace beampipe
