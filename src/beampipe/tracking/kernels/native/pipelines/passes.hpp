// The passes of a pipeline: one line of stages after the other, each on the hits that those before it left over.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipelines/beam_line.hpp"
#include "pipelines/line.hpp"

namespace beampipe {

/// What a pipeline found in one or more events.
struct Found {
  Array<std::int64_t> track_id;  // (n_hits,): in each event 0, 1, ... by first hit; -1 for a hit on no track
  std::vector<double> seconds;   // time of each of the pipeline's `steps` [s], of all events together
  std::vector<std::int64_t> edges, triplets, tracks;  // number of them in each event
  std::vector<BeamLine> beam_line;                    // from which the hits of each event were seen
  std::vector<std::int64_t> outside, unfilled;        // of each event: hits on no layer, layers without hits
};

class Passes {
public:
  /// The line of the spec, after those of the specs that go before it.
  Passes(const Table& kernels, const PipelineSpec& spec, const std::string& weights);

  /// The tracks of hits whose phi lies between -pi and pi.
  Found run(const Hits& hits, Between between, void* context) const;

  /// The line that the pipeline is named after.
  const Line& last() const { return lines_.back(); }

  /// Names of the timed steps of all passes in order; those of the second end in _2, and so on.
  const std::vector<std::string>& steps() const { return steps_; }

  /// Memory that an event of that size may need [B].
  double memory(std::int64_t n_hits) const;

private:
  std::vector<Line> lines_;
  std::vector<std::string> steps_;
};

}  // namespace beampipe
