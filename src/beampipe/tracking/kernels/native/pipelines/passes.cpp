#include "pipelines/passes.hpp"

#include <algorithm>
#include <utility>

#include "graphs/labels.hpp"

namespace beampipe {
namespace {

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

/// Adds up what a line made for each event.
void count(const Graph& graph, const Blocks& events, Found& found) {
  const std::vector<std::int64_t> first = first_edges(graph.edges, events);
  for (std::int64_t k = 0; k < events.n; ++k) found.edges[k] += first[k + 1] - first[k];
  for (std::int64_t t = 0; t < graph.triplets.size(); ++t) {
    const auto next = std::upper_bound(first.begin(), first.end(), graph.triplets.in_edge()[t]);
    ++found.triplets[next - first.begin() - 1];
  }
}

}  // namespace

Passes::Passes(const Table& kernels, const PipelineSpec& spec, const std::string& weights) {
  std::vector<const PipelineSpec*> specs;
  for (const PipelineSpec* one = &spec; one != nullptr; one = one->after.get()) specs.insert(specs.begin(), one);
  for (const PipelineSpec* one : specs) {
    lines_.emplace_back(kernels, *one, weights);
    const std::string suffix = lines_.size() > 1 ? "_" + std::to_string(lines_.size()) : "";
    for (const std::string& step : lines_.back().steps()) steps_.push_back(step + suffix);
  }
}

Found Passes::run(const Hits& hits, Between between, void* context) const {
  const std::vector<std::int64_t> none(hits.events.n, 0);
  Found found{Array<std::int64_t>(hits.n, -1), {}, none, none, none, {}, {}, {}};
  std::int64_t n_labels = 0;
  for (const Line& line : lines_) {
    Timer timed(line.steps(), between, context);
    const LeftOver left = n_labels > 0 ? LeftOver(hits, found.track_id) : LeftOver(hits);
    if (!too_few(left.hits().events)) {
      const Labelled labelled = line.run(left.hits(), timed);
      count(labelled.graph, left.hits().events, found);
      n_labels += left.add(labelled.track_id, n_labels, found.track_id);
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
