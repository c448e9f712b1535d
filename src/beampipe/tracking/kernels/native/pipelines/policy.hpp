// Policy around a pipeline, for Python and Triton: which events are refused, and which are searched a second time.
//
// Limits of memory and hits, the comparison with the layers of the detector, and a second search where the tracks clearly
// come from another beam line. The passes run here, or in the function of the caller (`RunPass`).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "array.hpp"
#include "kernels.hpp"
#include "pipelines/pipeline.hpp"
#include "pipelines/strips.hpp"

namespace beampipe {

/// Which of several events it is, for messages; empty if there is only one.
std::string in_event(const Blocks& events, std::int64_t k);

/// How the hits of an event lie on the layers.
struct Fit {
  std::int64_t outside;   // number of hits on no layer
  std::int64_t unfilled;  // number of layers without a hit, or with many that lie in a small part of them
};

/// How the hits of each event lie. `layer` is the result of the kernel assign_layers.
std::vector<Fit> fits_of(const Windows& windows, const Hits& hits, const std::int16_t* layer);

/// Refuses events that are not of this detector, or not in mm and rad. Events of few hits are not checked.
///
/// name: of the pipeline, for messages.
/// position: (n_hits, 3): r, phi, z of the input; phi may have any origin.
/// fits: result of fits_of.
///
/// Throws LayoutError, which describes the hits and the change that would make them fit.
void require_layout(const std::string& name, const Windows& windows, const float* position, const Blocks& events,
                    const std::vector<Fit>& fits);

/// The point across the beam that most tracks of an event pass.
struct BeamSpotEstimate {
  double x = 0, y = 0;        // [mm]
  double error = 1e30;        // standard deviation of either [mm]
  double spread = 1e30;       // standard deviation of the tracks' distances from it [mm]
  std::int64_t n_tracks = 0;  // tracks that were used
  double share = 0;           // these as a share of all tracks with enough hits

  /// Whether the tracks come from one line that is elsewhere than the axis, by more than the tolerance and its error.
  bool significant() const;
};

/// position: (n, 3) r [mm], phi [rad], z [mm]; track_id: (n,) label of each hit from 0, -1 for none.
BeamSpotEstimate estimate_beam_spot(const float* position, const std::int64_t* track_id, std::int64_t n);

/// How tracks are found in one call.
struct FindOptions {
  int threads = 1;    // number of threads of this call; the tracks do not depend on it
  bool check = true;  // whether events are refused whose hits are of another detector, or too many for the pipeline
  Hook hook;          // called after each stage, unless it is empty; its exceptions end the call
  RunPass run;        // runs the stages of each pass in place of those composed here, unless it is empty
  std::vector<Measurements> measured;  // of each event, to check space points of double-sided strips; may be empty
};

class TrackFinder {
public:
  /// A pipeline over the kernels of one instruction set, which must outlive it.
  /// `weights` is the folder of the weight files. Throws ConfigError or FileError if they make no pipeline.
  TrackFinder(const Table& kernels, const PipelineSpec& spec, const std::string& weights);

  const std::string& name() const { return passes_.last().spec().name; }
  /// Names of the timed steps in order, each once: embedding, building, ...
  const std::vector<std::string>& steps() const { return steps_; }
  /// Whether the detector has double-sided strips, whose space points are compared with the tracks as the last step.
  bool checks_strips() const { return strips_.has_value(); }
  /// Memory that an event of that size may need [B]; events found together need the sum.
  double memory(std::int64_t n_hits) const { return passes_.memory(n_hits); }
  /// How many of the threads an event, or several together, of that size can use.
  static int useful_threads(int threads, std::int64_t n_hits);

  /// The tracks of several events, found side by side as one graph of blocks. Several threads may call it at once.
  ///
  /// position: (n_hits, 3) finite numbers: r [mm], phi [rad] with any origin, z [mm].
  /// begin: (n_events + 1,): first hit of each event, and the end; sorted, from 0.
  /// expected: beam line that r and phi are measured from. An event whose tracks clearly come from another one is
  /// searched again relative to it.
  ///
  /// Throws TooLargeError if one event, or all together, would need too much memory or time, or
  /// has too many hits; LayoutError.
  Found find(const float* position, const std::int64_t* begin, std::int64_t n_events, const BeamLine& expected,
             const FindOptions& options) const;

  /// How the hits of each event lie on the layers of the detector. Throws LayoutError where they do not, if `check`.
  /// As measured from the axis or from the expected beam line, whichever puts more hits of an event on layers: layers are
  /// learned from hits as measured from the beam line, but stay where they are when the beam moves.
  std::vector<Fit> compare(const float* position, const Blocks& events, const BeamLine& expected, int threads,
                           bool check) const;

private:
  Found find_from(const BeamLine& line, const float* seen, const Blocks& events, const FindOptions& options) const;
  void refind_at_beam_spot(const float* position, const float* seen, const Blocks& events, const FindOptions& options,
                           Found& found) const;
  void check_strips(const float* position, const Blocks& events, const FindOptions& options, Found& found) const;
  void require_memory(const Blocks& events) const;
  void require_limit(const Blocks& events) const;

  Passes passes_;
  std::optional<StripCheck> strips_;
  std::vector<std::string> steps_;
};

}  // namespace beampipe
