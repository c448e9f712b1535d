// The line of stages from hits to labels, in the words of beampipe.tracking.stages, which a stage changed here
// must still equal: tests/tracking/pipelines/test_composed.py compares the two, label by label.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "pipelines/edges.hpp"
#include "pipelines/parts/networks.hpp"
#include "pipelines/parts/spec.hpp"
#include "pipelines/parts/timer.hpp"
#include "pipelines/parts/windows.hpp"

namespace beampipe {

/// The hits of all events, as every stage reads them.
struct Hits {
  const float* position;  // (n, 3): r [mm], phi [rad] between -pi and pi, z [mm]
  std::int64_t n;
  Blocks events;
  int threads;
};

/// The graph at the end of the line: its labels, and what was left to label.
struct Labelled {
  Array<std::int64_t> track_id;  // tracks are numbered by their first hit, in all events together
  Graph graph;
};

/// What a pipeline is made of, and the stages over it. Nothing changes once it is made.
class Line {
public:
  Line(const Table& kernels, PipelineSpec spec, const std::string& weights);

  /// The layer in whose box each of n hits lies, -1 for none.
  Array<std::int16_t> own_layers(const float* position, std::int64_t n, int threads) const;
  Labelled run(const Hits& hits, Timer& timed) const;

  const PipelineSpec& spec() const { return spec_; }
  /// The windows as they were learned.
  Windows own_windows() const { return own_windows_.view(); }
  /// Names of the timed steps in order, each once.
  const std::vector<std::string>& steps() const { return steps_; }

private:
  RadiusEdges from_neighbours(const Hits& hits, Timer& timed) const;
  Edges from_windows(const Hits& hits, Timer& timed) const;
  Labelled by_chi2(const Hits& hits, Timer& timed) const;
  Labelled by_score(const Hits& hits, Timer& timed) const;
  PairedEdges pair_windows(const Hits& hits, Timer& timed) const;
  PairedEdges pair_neighbours(const Hits& hits, Timer& timed) const;

  Array<float> embed_hits(const Hits& hits) const;
  RadiusEdges find_neighbours(const Hits& hits, const Array<float>& embedding) const;
  Array<float> filter_logits(const Hits& hits, const Edges& edges, const Array<float>& dist2) const;
  Edges filter_edges(const Hits& hits, const Edges& edges, const Array<float>& dist2) const;
  Triplets find_triplets(const Hits& hits, const Edges& edges) const;
  Graph pair_edges(const Hits& hits, Edges edges) const;
  Graph pair_likely(const Hits& hits, RadiusEdges near) const;
  PairedEdges on_chains(Graph graph) const;
  Array<float> score_edges(const Hits& hits, const PairedEdges& paired) const;
  Array<std::int64_t> connect_components(const Hits& hits, const Edges& edges, const Array<float>& logit) const;
  Array<std::int64_t> walk(const Hits& hits, const Graph& graph, const Array<float>& weight) const;
  Array<std::int64_t> complete(const Hits& hits, const Array<std::int64_t>& track_id) const;

  const Table& kernels_;
  PipelineSpec spec_;
  WindowTables own_windows_, windows_;  // as they were learned, and as they are searched with
  std::optional<Networks> networks_;
  std::vector<std::string> steps_;
};

}  // namespace beampipe
