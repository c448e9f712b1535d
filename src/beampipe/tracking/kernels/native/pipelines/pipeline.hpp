// A pipeline: lines of stages from hits to labels; each line uses the hits that earlier ones left.
//
// The stages are those of beampipe.tracking.stages: tests/tracking/pipelines/test_composed.py compares the two, label by
// label.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "array.hpp"
#include "kernels.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/model_files.hpp"
#include "windows/windows.hpp"

namespace beampipe {

struct Edges {
  Array<std::int64_t> index;  // (2, n): inner hits, then outer hits; sorted by inner, then outer hit

  std::int64_t size() const { return static_cast<std::int64_t>(index.size() / 2); }
  const std::int64_t* inner() const { return index.data(); }
  const std::int64_t* outer() const { return index.data() + size(); }
};

/// Those of the edges for which `stays(edge)`, in order.
template <typename Stays>
Edges kept(const Edges& edges, Stays&& stays) {
  const std::int64_t n = edges.size();
  std::int64_t n_kept = 0, to = 0;
  for (std::int64_t e = 0; e < n; ++e) n_kept += stays(e);
  Edges result{Array<std::int64_t>(2 * n_kept)};
  for (std::int64_t e = 0; e < n; ++e) {
    if (!stays(e)) continue;
    result.index[to] = edges.inner()[e];
    result.index[n_kept + to++] = edges.outer()[e];
  }
  return result;
}

/// Edges, and the triplets that they make.
struct Graph {
  Edges edges;
  Triplets triplets;  // their edges are numbered as in `edges`
};

/// Whether each of n edges takes part in one of the triplets.
std::vector<char> partnered(const Triplets& triplets, std::int64_t n);

/// The edges that stay, and the triplets of which both do.
Graph part_of(const Graph& graph, const std::vector<char>& stays);

/// One row of `columns` numbers for each edge that stays.
Array<float> rows_of(const Array<float>& table, std::size_t columns, const std::vector<char>& stays);

constexpr std::size_t kPairFeatures = 6;

/// Whether each edge lies on a chain of triplets of at least `min_hits` hits, and of three.
std::vector<char> long_chains(const Array<float>& pair_features, int min_hits);

/// A graph whose edges all lie on chains that may become tracks, and the features of each edge from its triplets.
struct PairedEdges {
  Graph graph;
  Array<float> pair_features;  // (n_edges, kPairFeatures)
};

/// Called after each stage with the name of its step; its exceptions end the call.
using Hook = std::function<void(const std::string& step)>;

/// Takes the time of each stage of a pass, and calls the hook after it.
class Timer {
public:
  /// `suffix` is added to the names of the steps, to tell passes apart; `hook` may be empty.
  Timer(const std::vector<std::string>& steps, std::string suffix, const Hook& hook)
      : steps_(steps), suffix_(std::move(suffix)), seconds_(steps.size()), hook_(hook) {}

  /// The result of a stage; its time is added to that of its step.
  template <typename Stage>
  auto operator()(const char* step, Stage&& stage) {
    const auto start = std::chrono::steady_clock::now();
    auto result = stage();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    seconds_[std::find(steps_.begin(), steps_.end(), step) - steps_.begin()] += taken.count();
    if (hook_) hook_(step + suffix_);
    return result;
  }

  /// Time of each step so far [s].
  const std::vector<double>& seconds() const { return seconds_; }

private:
  const std::vector<std::string>& steps_;
  std::string suffix_;
  std::vector<double> seconds_;
  const Hook& hook_;
};

/// The hits of all events, as every stage reads them.
struct Hits {
  const float* position;  // (n, 3): r [mm], phi [rad] between -pi and pi, z [mm]
  std::int64_t n;
  Blocks events;
  int threads;
};

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

  /// The layer in whose box each of n hits lies, -1 for none.
  Array<std::int16_t> own_layers(const float* position, std::int64_t n, int threads) const;
  PassTracks run(const Hits& hits, Timer& timed) const;

  const PipelineSpec& spec() const { return spec_; }
  /// The windows as they were learned.
  Windows own_windows() const { return own_windows_.view(); }
  /// Names of the timed steps in order, each once.
  const std::vector<std::string>& steps() const { return steps_; }

private:
  struct Labelled {
    Array<std::int64_t> track_id;
    Graph graph;
  };

  /// From the embedding alone, or doublets of the windows that are neighbours in it.
  RadiusEdges from_neighbours(const Hits& hits, Timer& timed) const;
  Edges from_windows(const Hits& hits, Timer& timed) const;
  Labelled by_chi2(const Hits& hits, Timer& timed) const;
  Labelled by_score(const Hits& hits, Timer& timed) const;
  PairedEdges pair_windows(const Hits& hits, Timer& timed) const;
  PairedEdges pair_neighbours(const Hits& hits, Timer& timed) const;

  Array<float> embed_hits(const Hits& hits) const;
  RadiusEdges find_neighbours(const Hits& hits, const Array<float>& embedding) const;
  RadiusEdges keep_neighbours(const Edges& edges, const Array<float>& embedding) const;
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
