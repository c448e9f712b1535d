#include "pipelines/pipeline.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>

#include "graphs/blocks.hpp"
#include "pipelines/model_files.hpp"

namespace beampipe {
namespace {

using Graphs = PipelineSpec::Graph;
using Segmentation = PipelineSpec::Segmentation;

constexpr float kLogitMax = 8;          // distance of a logit from the cut: no edge is worth or costs more
constexpr float kEdgesPerLogit = 0.25;  // length of a path that one unit of logit is worth, in edges

/// Contribution of each edge to the score of a path, as in WalkByScore of Python. NaN stays NaN.
Array<float> edge_weights(const Array<float>& logit, double score_cut) {
  const float cut = logit_of(score_cut);
  Array<float> weight(logit.size());
  for (std::size_t e = 0; e < logit.size(); ++e)
    weight[e] = std::clamp(logit[e] - cut, -kLogitMax, kLogitMax) * kEdgesPerLogit;
  return weight;
}

std::vector<std::string> steps_of(const PipelineSpec& spec) {
  std::vector<std::string> steps;
  if (spec.graph != Graphs::kWindows) steps.push_back("embedding");
  steps.insert(steps.end(), {"building", "filtering"});
  if (spec.scored) steps.push_back("gnn");
  steps.push_back("labelling");
  return steps;
}

std::optional<Networks> networks_of(const PipelineSpec& spec, const std::string& weights) {
  if (spec.networks.empty()) return std::nullopt;
  return Networks::load(weights + "/" + spec.networks);
}

/// The hits that are on no track yet, the events side by side as before.
class LeftOver {
public:
  /// All hits.
  explicit LeftOver(const Hits& hits) : hits_(hits) {}

  LeftOver(const Hits& hits, const Array<std::int64_t>& track_id) : hits_(hits), begin_{0} {
    for (std::int64_t k = 0; k < hits.events.n; ++k) {
      for (std::int64_t i = hits.events.begin[k]; i < hits.events.begin[k + 1]; ++i) {
        if (track_id[i] >= 0) continue;
        row_.push_back(i);
        position_.insert(position_.end(), hits.position + 3 * i, hits.position + 3 * i + 3);
      }
      begin_.push_back(static_cast<std::int64_t>(row_.size()));
    }
    hits_ = {position_.data(), begin_.back(), {begin_.data(), hits.events.n}, hits.threads};
  }

  const Hits& hits() const { return hits_; }

  /// Writes the labels of these hits, counted from `first`, among those of all; gives the number of tracks.
  std::int64_t add(const Array<std::int64_t>& label, std::int64_t first, Array<std::int64_t>& track_id) const {
    std::int64_t n_tracks = 0;
    for (std::int64_t i = 0; i < hits_.n; ++i) {
      if (label[i] < 0) continue;
      track_id[begin_.empty() ? i : row_[i]] = first + label[i];
      n_tracks = std::max(n_tracks, label[i] + 1);
    }
    return n_tracks;
  }

private:
  Hits hits_;
  std::vector<float> position_;
  std::vector<std::int64_t> row_;    // of each hit among all
  std::vector<std::int64_t> begin_;  // first hit of each event, and the end
};

/// Suffix of the names of the steps of a pass, counted from 0.
std::string suffix_of(std::size_t pass) { return pass == 0 ? "" : "_" + std::to_string(pass + 1); }

/// No event has two hits to join.
bool too_few(const Blocks& events) {
  for (std::int64_t k = 0; k < events.n; ++k)
    if (events.size(k) > 1) return false;
  return true;
}

EdgeList edges_in(const Array<std::int64_t>& index) {
  const auto n = static_cast<std::int64_t>(index.size() / 2);
  return {n, index.data(), index.data() + n};
}

/// The labels, and the number of edges and triplets of each event.
PassTracks counted(Array<std::int64_t> track_id, const EdgeList& edges, const TripletList& triplets,
                   const Blocks& events) {
  PassTracks tracks{std::move(track_id), {}, std::vector<std::int64_t>(events.n, 0)};
  std::vector<std::int64_t> first;  // edge of each event, and the end
  for (std::int64_t k = 0; k <= events.n; ++k)
    first.push_back(std::lower_bound(edges.inner, edges.outer, events.begin[k]) - edges.inner);
  for (std::int64_t k = 0; k < events.n; ++k) tracks.edges.push_back(first[k + 1] - first[k]);
  for (std::int64_t t = 0; t < triplets.n; ++t) {
    const auto next = std::upper_bound(first.begin(), first.end(), triplets.in_edge[t]);
    ++tracks.triplets[next - first.begin() - 1];
  }
  return tracks;
}

std::vector<char> at_least(const Array<float>& value, float cut) {
  std::vector<char> is(value.size());
  for (std::size_t k = 0; k < is.size(); ++k) is[k] = value[k] >= cut;
  return is;
}

/// Copies those of the rows, `columns` long, that stay; returns the end.
template <typename T>
T* copy_rows(const T* from, std::size_t columns, const std::vector<char>& stays, T* to) {
  for (std::size_t row = 0; row < stays.size(); ++row, from += columns)
    if (stays[row]) to = std::copy_n(from, columns, to);
  return to;
}

Array<float> rows_of(const Array<float>& table, std::size_t columns, const std::vector<char>& stays) {
  Array<float> rows(columns * std::count(stays.begin(), stays.end(), 1));
  copy_rows(table.data(), columns, stays, rows.data());
  return rows;
}

/// Those of (2, n) pairs that stay.
Array<std::int64_t> pairs_of(const Array<std::int64_t>& pairs, const std::vector<char>& stays) {
  Array<std::int64_t> kept(2 * std::count(stays.begin(), stays.end(), 1));
  copy_rows(pairs.data() + stays.size(), 1, stays, copy_rows(pairs.data(), 1, stays, kept.data()));
  return kept;
}

}  // namespace

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

/// Edges, the triplets that they make, and what networks read of each edge from these.
struct Graph {
  Array<std::int64_t> edges;  // (2, n): inner hits, then outer hits; sorted by inner, then outer hit
  Triplets triplets;          // their edges are numbered as in `edges`
  Array<float> features;      // (n, kPairFeatures), once they are needed

  /// The edges that stay, and the triplets of which both do.
  Graph part(const std::vector<char>& stays) const {
    std::vector<std::int64_t> number(stays.size());  // of each edge among those that stay
    std::int64_t next = 0;
    for (std::size_t e = 0; e < stays.size(); ++e) number[e] = stays[e] ? next++ : -1;
    const TripletList all = triplets.view();
    std::vector<char> both(all.n);
    for (std::int64_t t = 0; t < all.n; ++t) both[t] = stays[all.in_edge[t]] && stays[all.out_edge[t]];
    Triplets inside{pairs_of(triplets.edges, both), rows_of(triplets.chi2, 1, both)};
    for (std::int64_t& edge : inside.edges) edge = number[edge];
    return {pairs_of(edges, stays), std::move(inside), {}};
  }
};

Line::Line(const Table& kernels, PipelineSpec spec, const std::string& weights)
    : kernels_(kernels),
      spec_(std::move(spec)),
      own_windows_(WindowTables::load(weights + "/" + spec_.windows)),
      windows_(own_windows_.widened().up_to(static_cast<float>(spec_.curvature))),
      networks_(networks_of(spec_, weights)),
      steps_(steps_of(spec_)) {}

PassTracks Line::run(const Hits& hits, Timer& timed) const {
  const Graph graph = spec_.scored ? graph_to_score(hits, timed) : bare_graph(hits, timed);
  const EdgeList edges = edges_in(graph.edges);
  Array<float> logit;
  if (spec_.scored)
    logit = timed("gnn", [&] {
      const auto& [hidden, steps, n_pair, packed] = networks_->gnn;
      return kernels_.gnn_logits(hits, edges, graph.features.data(), n_pair, packed.data(), hidden, steps);
    });
  Array<std::int64_t> track_id = timed("labelling", [&] {
    if (!spec_.scored)
      return walk(hits, graph, Array<float>(edges.n, 1));  // an edge lengthens a path by 1, a bend costs
    if (spec_.segmentation == Segmentation::kWalk) return walk(hits, graph, edge_weights(logit, spec_.score_cut));
    const Array<std::int64_t> joined = pairs_of(graph.edges, at_least(logit, networks_->cuts.score_logit));
    return kernels_.connected_components(hits.n, edges_in(joined), spec_.min_hits);
  });
  if (spec_.completion)
    track_id = timed("labelling", [&] {
      const auto& [penalty, min_score, min_hits] = *spec_.completion;
      return kernels_.complete(hits, track_id.data(), windows_.view(), static_cast<float>(penalty),
                               static_cast<float>(min_score), min_hits);
    });
  return counted(std::move(track_id), edges, graph.triplets.view(), hits.events);
}

Graph Line::bare_graph(const Hits& hits, Timer& timed) const {
  Array<std::int64_t> edges;
  if (spec_.graph == Graphs::kWindows) {
    edges = from_windows(hits, timed);
  } else {
    const RadiusEdges near = from_neighbours(hits, timed);
    edges = timed("filtering", [&] { return pairs_of(near.edge_index, likely(hits, near.edge_index, near.dist2)); });
  }
  return timed("filtering", [&] { return with_triplets(hits, std::move(edges)); });
}

/// The edges on chains that may become tracks.
Graph Line::graph_to_score(const Hits& hits, Timer& timed) const {
  if (spec_.graph == Graphs::kWindows) {
    Array<std::int64_t> edges = from_windows(hits, timed);
    return timed("filtering", [&] { return on_chains(with_triplets(hits, std::move(edges))); });
  }
  RadiusEdges near = from_neighbours(hits, timed);
  // Paired, then filtered: a triplet of two likely edges is one whichever comes first, and few edges have a partner.
  const Graph graph = timed("filtering", [&] {
    const Graph all = with_triplets(hits, std::move(near.edge_index));
    std::vector<char> paired(near.dist2.size(), 0);
    for (const std::int64_t edge : all.triplets.edges) paired[edge] = 1;
    const Graph part = all.part(paired);
    return part.part(likely(hits, part.edges, rows_of(near.dist2, 1, paired)));
  });
  return timed("filtering", [&] { return on_chains(graph); });
}

/// From the embedding alone, or doublets of the windows that are neighbours in it.
RadiusEdges Line::from_neighbours(const Hits& hits, Timer& timed) const {
  const Array<float> embedding = timed("embedding", [&] {
    const auto& [widths, packed] = networks_->embedding;
    return kernels_.embed(hits, packed.data(), widths.data(), static_cast<int>(widths.size()) - 1);
  });
  constexpr std::int64_t kRow = 2 * kEmbedding;  // source vector, then target vector
  const Cuts& cuts = networks_->cuts;
  if (spec_.graph == Graphs::kNeighbours)
    return timed("building", [&] {
      return kernels_.radius_edges(hits, {embedding.data(), embedding.data() + kEmbedding, kRow, kRow, cuts.radius,
                                          cuts.max_neighbours, cuts.kappa_max, cuts.z0_max});
    });
  const Array<std::int64_t> index = from_windows(hits, timed);
  return timed("building", [&] {
    const EdgeList edges = edges_in(index);
    Array<float> dist2(edges.n);
    std::vector<char> near(edges.n);
    for (std::int64_t e = 0; e < edges.n; ++e) {
      const float *source = embedding.data() + kRow * edges.inner[e],
                  *target = embedding.data() + kRow * edges.outer[e] + kEmbedding;
      dist2[e] = 0;
      for (int k = 0; k < kEmbedding; ++k) dist2[e] += (target[k] - source[k]) * (target[k] - source[k]);
      near[e] = dist2[e] < cuts.radius * cuts.radius;
    }
    return RadiusEdges{pairs_of(index, near), rows_of(dist2, 1, near)};
  });
}

Array<std::int64_t> Line::from_windows(const Hits& hits, Timer& timed) const {
  return timed("building", [&] {
    const Growth growth{spec_.seed_depth, static_cast<float>(spec_.curvature_from / spec_.curvature)};
    return kernels_.module_map_edges(hits, windows_.view(), growth);
  });
}

/// Whether each edge stays, as the filter network decides.
std::vector<char> Line::likely(const Hits& hits, const Array<std::int64_t>& edges, const Array<float>& dist2) const {
  const auto& [hidden, packed] = networks_->filter;
  const Array<float> logit = kernels_.filter_logits(hits, edges_in(edges), dist2.data(), packed.data(), hidden);
  return at_least(logit, networks_->cuts.filter_logit);
}

Graph Line::with_triplets(const Hits& hits, Array<std::int64_t> edges) const {
  Triplets triplets = kernels_.triplets(hits, edges_in(edges), windows_.view());
  return {std::move(edges), std::move(triplets), {}};
}

/// The edges on chains of triplets of at least as many hits as a track, and of three, with their features.
Graph Line::on_chains(const Graph& graph) const {
  constexpr float kOfLevel = 0.125f;  // as pair_features gives the links of a chain inwards and outwards
  const float least = kOfLevel * static_cast<float>(std::max(spec_.chain_hits() - 2, 1));
  std::vector<char> is_long(graph.edges.size() / 2);
  const Array<float> features =
      kernels_.pair_features(graph.triplets.view(), static_cast<std::int64_t>(is_long.size()));
  for (std::size_t e = 0; e < is_long.size(); ++e)
    is_long[e] = features[kPairFeatures * e + 4] + features[kPairFeatures * e + 5] >= least;
  Graph part = graph.part(is_long);
  part.features = rows_of(features, kPairFeatures, is_long);
  return part;
}

Array<std::int64_t> Line::walk(const Hits& hits, const Graph& graph, const Array<float>& weight) const {
  const Array<std::int16_t> layer = kernels_.assign_layers(hits, windows_.view());
  return kernels_.walk(hits.n, edges_in(graph.edges), graph.triplets.view(), weight.data(), layer.data(),
                       static_cast<float>(spec_.penalty), spec_.min_hits);
}

Passes::Passes(const Table& kernels, const PipelineSpec& spec, const std::string& weights) {
  std::vector<const PipelineSpec*> specs;
  for (const PipelineSpec* one = &spec; one != nullptr; one = one->after.get()) specs.insert(specs.begin(), one);
  for (const PipelineSpec* one : specs) {
    lines_.emplace_back(kernels, *one, weights);
    for (const std::string& step : lines_.back().steps()) steps_.push_back(step + suffix_of(lines_.size() - 1));
  }
}

Found Passes::run(const Hits& hits, const Hook& hook, const RunPass& run) const {
  const std::vector<std::int64_t> none(hits.events.n, 0);
  Found found{Array<std::int64_t>(hits.n, -1), {}, none, none, none, {}, {}, {}};
  std::int64_t n_labels = 0;
  for (std::size_t pass = 0; pass < lines_.size(); ++pass) {
    Timer timed(lines_[pass].steps(), suffix_of(pass), hook);
    const LeftOver left = n_labels > 0 ? LeftOver(hits, found.track_id) : LeftOver(hits);
    if (!too_few(left.hits().events)) {
      const PassTracks tracks = run ? run(pass, left.hits()) : lines_[pass].run(left.hits(), timed);
      for (std::int64_t k = 0; k < hits.events.n; ++k)
        found.edges[k] += tracks.edges[k], found.triplets[k] += tracks.triplets[k];
      n_labels += left.add(tracks.track_id, n_labels, found.track_id);
    }
    found.seconds.insert(found.seconds.end(), timed.seconds().begin(), timed.seconds().end());
  }
  std::vector<std::int64_t> number(n_labels, -1);  // no two events have a label in common
  for (std::int64_t k = 0; k < hits.events.n; ++k)
    found.tracks[k] = number_by_first_hit(found.track_id.data() + hits.events.begin[k], hits.events.size(k), number);
  return found;
}

double Passes::memory(std::int64_t n_hits) const {
  const auto n = static_cast<double>(n_hits);
  const auto need = [n](const Line& line) {
    return line.spec().bytes_per_hit * n + line.spec().bytes_per_hit2 * n * n;
  };
  double most = need(lines_.front());
  for (const Line& line : lines_) most = std::max(most, need(line));
  return most;
}

}  // namespace beampipe
