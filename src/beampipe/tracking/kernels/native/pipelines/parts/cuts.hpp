// The cuts that belong to one set of networks. Scores are cut on their logits: scores of likely edges round to 1.
#pragma once

#include <cstdint>

#include "native/json.hpp"

namespace beampipe {

/// The logit at which a score reaches `cut` in [0, 1], as beampipe.tracking.kernels.logit_of gives it.
float logit_of(double cut);

/// The lowest logit whose score, rounded to float32, is at least `cut` in [0, 1], rounded to float32.
///
/// `logit >= lowest_logit(cut)` decides for every logit as `sigmoid(logit) >= cut` does in Python: the score never
/// falls as the logit rises, and its steps from one float32 to the next are a thousand times the error of exp.
float lowest_logit(double cut);

/// NetworksConfig of Python (beampipe.tracking.kernels.weights).
struct Cuts {
  float radius;                 // largest distance of an edge's source and target vector
  std::int64_t max_neighbours;  // most outgoing edges of a hit before the filter
  float kappa_max, z0_max;      // [1/mm], [mm]: largest curvature of an edge, largest |z| of it at the beam line
  float filter_logit;           // logit of the filter from which on an edge stays
  float score_logit;            // logit of the interaction network from which on an edge joins hits

  /// Reads "config" of a card. Throws ConfigError.
  static Cuts parse(const Json& config);
};

}  // namespace beampipe
