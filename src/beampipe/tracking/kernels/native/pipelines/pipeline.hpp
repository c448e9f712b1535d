// A pipeline: lines of stages from hits to labels; each line uses the hits that earlier ones left.
//
// The stages are those of beampipe.tracking.stages: tests/tracking/pipelines/test_composed.py compares the two, label by
// label.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "array.hpp"
#include "kernels.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/model_files.hpp"

namespace beampipe {

struct Graph;
class Timer;

/// Called after each stage with the name of its step; its exceptions end the call.
using Hook = std::function<void(const std::string& step)>;

/// The result of one pass.
struct PassTracks {
  Array<std::int64_t> track_id;               // tracks are numbered by their first hit, in all events together
  std::vector<std::int64_t> edges, triplets;  // number of them in each event, when the hits were labelled
};

/// Runs the stages of a pass, counted from 0, in place of those composed here.
using RunPass = std::function<PassTracks(std::size_t pass, const Hits& hits)>;

/// The weights and windows of a line, and its stages. Constant after construction.
class Line {
public:
  Line(const Table& kernels, PipelineSpec spec, const std::string& weights);

  /// The layer in whose box each hit lies, -1 for none.
  Array<std::int16_t> own_layers(const Hits& hits) const { return kernels_.assign_layers(hits, own_windows()); }
  PassTracks run(const Hits& hits, Timer& timed) const;

  const PipelineSpec& spec() const { return spec_; }
  /// The windows as they were learned.
  Windows own_windows() const { return own_windows_.view(); }
  /// Names of the timed steps in order, each once.
  const std::vector<std::string>& steps() const { return steps_; }

private:
  Graph bare_graph(const Hits& hits, Timer& timed) const;
  Graph graph_to_score(const Hits& hits, Timer& timed) const;
  RadiusEdges from_neighbours(const Hits& hits, Timer& timed) const;
  Array<std::int64_t> from_windows(const Hits& hits, Timer& timed) const;
  std::vector<char> likely(const Hits& hits, const Array<std::int64_t>& edges, const Array<float>& dist2) const;
  Graph with_triplets(const Hits& hits, Array<std::int64_t> edges) const;
  Graph on_chains(const Graph& graph) const;
  Array<std::int64_t> walk(const Hits& hits, const Graph& graph, const Array<float>& weight) const;

  const Table& kernels_;
  PipelineSpec spec_;
  WindowTables own_windows_, windows_;  // as learned, and as widened for the search
  std::optional<Networks> networks_;
  std::vector<std::string> steps_;
};

/// The result of a pipeline for one or more events.
struct Found {
  Array<std::int64_t> track_id;  // (n_hits,): in each event 0, 1, ... by first hit; -1 for a hit on no track
  std::vector<double> seconds;   // time of each of the pipeline's `steps` [s], of all events together
  std::vector<std::int64_t> edges, triplets, tracks;  // number of them in each event
  std::vector<BeamLine> beam_line;                    // origin of r and phi of each event
  std::vector<std::int64_t> outside, unfilled;        // of each event: hits on no layer, layers without hits
};

/// The passes of a pipeline in order; each uses the hits that earlier ones left.
class Passes {
public:
  /// The line of the spec, after those of the specs that run before it.
  Passes(const Table& kernels, const PipelineSpec& spec, const std::string& weights);

  /// The tracks of hits whose phi lies between -pi and pi. `run`, if given, runs the stages of each pass.
  Found run(const Hits& hits, const Hook& hook, const RunPass& run) const;

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
