#include "pipelines/pipeline.hpp"

#include <algorithm>
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

/// First edge of each event, and the end. Edges are sorted by their inner hit.
std::vector<std::int64_t> first_edges(const Edges& edges, const Blocks& events) {
  std::vector<std::int64_t> first;
  for (std::int64_t k = 0; k <= events.n; ++k)
    first.push_back(std::lower_bound(edges.inner(), edges.outer(), events.begin[k]) - edges.inner());
  return first;
}

/// The labels, and the number of edges and triplets of each event.
PassTracks counted(Array<std::int64_t> track_id, const Graph& graph, const Blocks& events) {
  PassTracks tracks{std::move(track_id), {}, std::vector<std::int64_t>(events.n, 0)};
  const std::vector<std::int64_t> first = first_edges(graph.edges, events);
  for (std::int64_t k = 0; k < events.n; ++k) tracks.edges.push_back(first[k + 1] - first[k]);
  for (std::int64_t t = 0; t < graph.triplets.size(); ++t) {
    const auto next = std::upper_bound(first.begin(), first.end(), graph.triplets.in_edge()[t]);
    ++tracks.triplets[next - first.begin() - 1];
  }
  return tracks;
}

}  // namespace

std::vector<char> partnered(const Triplets& triplets, std::int64_t n) {
  std::vector<char> has(n, 0);
  for (std::int64_t k = 0; k < 2 * triplets.size(); ++k) has[triplets.edges[k]] = 1;
  return has;
}

Graph part_of(const Graph& graph, const std::vector<char>& stays) {
  std::vector<std::int64_t> number(stays.size());  // of each edge among those that stay
  std::int64_t next = 0;
  for (std::size_t e = 0; e < stays.size(); ++e) number[e] = stays[e] ? next++ : -1;
  const Triplets& all = graph.triplets;
  const auto both_stay = [&](std::int64_t t) { return stays[all.in_edge()[t]] && stays[all.out_edge()[t]]; };
  std::int64_t size = 0, to = 0;
  for (std::int64_t t = 0; t < all.size(); ++t) size += both_stay(t);
  Triplets triplets{Array<std::int64_t>(2 * size), Array<float>(size)};
  for (std::int64_t t = 0; t < all.size(); ++t) {
    if (!both_stay(t)) continue;
    triplets.edges[to] = number[all.in_edge()[t]];
    triplets.edges[size + to] = number[all.out_edge()[t]];
    triplets.chi2[to++] = all.chi2[t];
  }
  return {kept(graph.edges, [&](std::int64_t e) { return stays[e] != 0; }), std::move(triplets)};
}

Array<float> rows_of(const Array<float>& table, std::size_t columns, const std::vector<char>& stays) {
  Array<float> rows(columns * std::count(stays.begin(), stays.end(), 1));
  float* to = rows.data();
  for (std::size_t e = 0; e < stays.size(); ++e)
    if (stays[e]) to = std::copy_n(table.data() + columns * e, columns, to);
  return rows;
}

std::vector<char> long_chains(const Array<float>& pair_features, int min_hits) {
  constexpr float kOfLevel = 0.125f;  // as pair_features gives the links of a chain inwards and outwards
  const float least = kOfLevel * static_cast<float>(std::max(min_hits - 2, 1));
  std::vector<char> is_long(pair_features.size() / kPairFeatures);
  for (std::size_t e = 0; e < is_long.size(); ++e) {
    const float* row = pair_features.data() + kPairFeatures * e;
    is_long[e] = row[4] + row[5] >= least;
  }
  return is_long;
}

Line::Line(const Table& kernels, PipelineSpec spec, const std::string& weights)
    : kernels_(kernels),
      spec_(std::move(spec)),
      own_windows_(WindowTables::load(weights + "/" + spec_.windows)),
      windows_(own_windows_.widened().up_to(static_cast<float>(spec_.curvature))),
      networks_(networks_of(spec_, weights)),
      steps_(steps_of(spec_)) {}

Array<std::int16_t> Line::own_layers(const float* position, std::int64_t n, int threads) const {
  return kernels_.assign_layers(position, n, own_windows_.view(), threads);
}

PassTracks Line::run(const Hits& hits, Timer& timed) const {
  Labelled found = spec_.scored ? by_score(hits, timed) : by_chi2(hits, timed);
  if (spec_.completion) found.track_id = timed("labelling", [&] { return complete(hits, found.track_id); });
  return counted(std::move(found.track_id), found.graph, hits.events);
}

RadiusEdges Line::from_neighbours(const Hits& hits, Timer& timed) const {
  const Array<float> embedding = timed("embedding", [&] { return embed_hits(hits); });
  if (spec_.graph == Graphs::kNeighbours) return timed("building", [&] { return find_neighbours(hits, embedding); });
  const Edges edges = from_windows(hits, timed);
  return timed("building", [&] { return keep_neighbours(edges, embedding); });
}

Edges Line::from_windows(const Hits& hits, Timer& timed) const {
  return timed("building", [&] {
    const Growth growth{spec_.seed_depth, static_cast<float>(spec_.curvature_from / spec_.curvature)};
    return Edges{kernels_.module_map_edges(hits.position, hits.events, windows_.view(), growth, hits.threads)};
  });
}

Line::Labelled Line::by_chi2(const Hits& hits, Timer& timed) const {
  Graph graph;
  if (spec_.graph == Graphs::kWindows) {
    graph.edges = from_windows(hits, timed);
    graph.triplets = timed("filtering", [&] { return find_triplets(hits, graph.edges); });
  } else {
    RadiusEdges near = from_neighbours(hits, timed);
    const Edges edges{std::move(near.edge_index)};
    graph.edges = timed("filtering", [&] { return filter_edges(hits, edges, near.dist2); });
    graph.triplets = timed("filtering", [&] { return find_triplets(hits, graph.edges); });
  }
  Array<std::int64_t> track_id = timed("labelling", [&] {
    return walk(hits, graph, Array<float>(graph.edges.size(), 1));  // an edge lengthens a path by 1, a bend costs
  });
  return {std::move(track_id), std::move(graph)};
}

Line::Labelled Line::by_score(const Hits& hits, Timer& timed) const {
  PairedEdges paired = spec_.graph == Graphs::kWindows ? pair_windows(hits, timed) : pair_neighbours(hits, timed);
  const Graph& graph = paired.graph;
  const Array<float> logit = timed("gnn", [&] { return score_edges(hits, paired); });
  Array<std::int64_t> track_id = timed("labelling", [&] {
    if (spec_.segmentation == Segmentation::kComponents) return connect_components(hits, graph.edges, logit);
    return walk(hits, graph, edge_weights(logit, spec_.score_cut));
  });
  return {std::move(track_id), std::move(paired.graph)};
}

PairedEdges Line::pair_windows(const Hits& hits, Timer& timed) const {
  Edges edges = from_windows(hits, timed);
  return timed("filtering", [&] { return on_chains(pair_edges(hits, std::move(edges))); });
}

PairedEdges Line::pair_neighbours(const Hits& hits, Timer& timed) const {
  RadiusEdges near = from_neighbours(hits, timed);
  Graph likely = timed("filtering", [&] { return pair_likely(hits, std::move(near)); });
  return timed("filtering", [&] { return on_chains(std::move(likely)); });
}

Array<float> Line::embed_hits(const Hits& hits) const {
  const auto& [widths, packed] = networks_->embedding;
  return kernels_.embed(hits.position, hits.n, packed.data(), widths.data(), static_cast<int>(widths.size()) - 1,
                        hits.threads);
}

RadiusEdges Line::find_neighbours(const Hits& hits, const Array<float>& embedding) const {
  const Cuts& cuts = networks_->cuts;
  constexpr std::int64_t kRow = 2 * kEmbedding;  // source vector, then target vector
  const RadiusQuery query{
      embedding.data(), embedding.data() + kEmbedding, kRow,           kRow,       hits.position, hits.events,
      cuts.radius,      cuts.max_neighbours,           cuts.kappa_max, cuts.z0_max};
  return kernels_.radius_edges(query, hits.threads);
}

RadiusEdges Line::keep_neighbours(const Edges& edges, const Array<float>& embedding) const {
  Array<float> dist2(edges.size());
  for (std::int64_t e = 0; e < edges.size(); ++e) {
    const float* source = embedding.data() + 2 * kEmbedding * edges.inner()[e];
    const float* target = embedding.data() + 2 * kEmbedding * edges.outer()[e] + kEmbedding;
    dist2[e] = 0;
    for (int k = 0; k < kEmbedding; ++k) dist2[e] += (target[k] - source[k]) * (target[k] - source[k]);
  }
  const float radius2 = networks_->cuts.radius * networks_->cuts.radius;
  std::vector<char> near(edges.size());
  for (std::size_t e = 0; e < near.size(); ++e) near[e] = dist2[e] < radius2;
  Edges kept_edges = kept(edges, [&](std::int64_t e) { return near[e] != 0; });
  return {std::move(kept_edges.index), rows_of(dist2, 1, near)};
}

Array<float> Line::filter_logits(const Hits& hits, const Edges& edges, const Array<float>& dist2) const {
  const auto& [hidden, packed] = networks_->filter;
  return kernels_.filter_logits(hits.position, hits.n, edges.inner(), edges.outer(), dist2.data(), edges.size(),
                                packed.data(), hidden, hits.threads);
}

Edges Line::filter_edges(const Hits& hits, const Edges& edges, const Array<float>& dist2) const {
  const Array<float> logit = filter_logits(hits, edges, dist2);
  return kept(edges, [&](std::int64_t e) { return logit[e] >= networks_->cuts.filter_logit; });
}

Triplets Line::find_triplets(const Hits& hits, const Edges& edges) const {
  return kernels_.triplets(hits.position, hits.n, edges.inner(), edges.outer(), edges.size(), windows_.view(),
                           hits.threads);
}

Graph Line::pair_edges(const Hits& hits, Edges edges) const {
  Triplets triplets = find_triplets(hits, edges);
  return {std::move(edges), std::move(triplets)};
}

/// Filtered, then paired: a triplet of two likely edges is one whichever comes first, and few edges have a partner.
Graph Line::pair_likely(const Hits& hits, RadiusEdges near) const {
  Graph graph = pair_edges(hits, {std::move(near.edge_index)});
  std::vector<char> stays = partnered(graph.triplets, graph.edges.size());
  graph = part_of(graph, stays);
  const Array<float> logit = filter_logits(hits, graph.edges, rows_of(near.dist2, 1, stays));
  stays.resize(logit.size());
  for (std::size_t e = 0; e < logit.size(); ++e) stays[e] = logit[e] >= networks_->cuts.filter_logit;
  return part_of(graph, stays);
}

PairedEdges Line::on_chains(Graph graph) const {
  const Triplets& triplets = graph.triplets;
  const Array<float> features = kernels_.pair_features(triplets.in_edge(), triplets.out_edge(), triplets.chi2.data(),
                                                       triplets.size(), graph.edges.size());
  const std::vector<char> stays = long_chains(features, spec_.chain_hits());
  return {part_of(graph, stays), rows_of(features, kPairFeatures, stays)};
}

Array<float> Line::score_edges(const Hits& hits, const PairedEdges& paired) const {
  const auto& [hidden, steps, n_pair, packed] = networks_->gnn;
  const Edges& edges = paired.graph.edges;
  return kernels_.gnn_logits(hits.position, hits.n, edges.inner(), edges.outer(), paired.pair_features.data(), n_pair,
                             edges.size(), packed.data(), hidden, steps, hits.threads);
}

Array<std::int64_t> Line::connect_components(const Hits& hits, const Edges& edges, const Array<float>& logit) const {
  const Edges likely = kept(edges, [&](std::int64_t e) { return logit[e] >= networks_->cuts.score_logit; });
  return kernels_.connected_components(hits.n, likely.inner(), likely.outer(), likely.size(), spec_.min_hits);
}

Array<std::int64_t> Line::walk(const Hits& hits, const Graph& graph, const Array<float>& weight) const {
  const auto& [edges, triplets] = graph;
  const Array<std::int16_t> layer = kernels_.assign_layers(hits.position, hits.n, windows_.view(), hits.threads);
  return kernels_.walk(hits.n, edges.inner(), edges.outer(), edges.size(), triplets.in_edge(), triplets.out_edge(),
                       triplets.chi2.data(), triplets.size(), weight.data(), layer.data(),
                       static_cast<float>(spec_.penalty), spec_.min_hits);
}

Array<std::int64_t> Line::complete(const Hits& hits, const Array<std::int64_t>& track_id) const {
  return kernels_.complete(hits.position, hits.events, track_id.data(), windows_.view(),
                           static_cast<float>(spec_.completion->penalty),
                           static_cast<float>(spec_.completion->min_score), hits.threads);
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
