// What a pipeline is made of, as data: PipelineSpec of Python (beampipe.tracking.catalogue), which writes it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace beampipe {

/// How tracks are completed and judged when they are found.
struct CompletionSpec {
  double penalty;    // cost of three layers whose chi2 is at the edge of the window, in layers
  double min_score;  // lowest score of a track that stays, in layers
};

/// Events up to which a pipeline finds what it is made for.
struct LimitSpec {
  std::int64_t hits;    // most hits of an event
  std::string instead;  // name of the pipeline that finds the same in denser events
};

struct PipelineSpec {
  enum class Graph { kNeighbours, kWindows };
  enum class Segmentation { kComponents, kWalk };

  std::string name;
  Graph graph;
  bool scored;
  Segmentation segmentation;
  int min_hits;               // fewest hits of a track
  double penalty = 0;         // of a walk: cost of a triplet at the edge of its window, in units of one edge
  double score_cut = 0;       // of a walk: score in [0, 1] at which an edge is as good as none
  std::string windows;        // stem of the file of learned windows
  std::string networks;       // stem of the file of networks; empty for none
  double bytes_per_hit = 0;   // memory of an event that grows with its hits [B]
  double bytes_per_hit2 = 0;  // memory of an event that grows with their square [B]
  double curvature = 1;       // share of each window of curvature that is used
  double curvature_from = 0;  // share of each window of curvature from which on it is used
  int seed_depth = 3;         // most layers before those on which tracks of the windows begin to grow
  std::optional<CompletionSpec> completion;
  std::optional<LimitSpec> limit;             // none for events of any size
  std::shared_ptr<const PipelineSpec> after;  // pipeline that goes before, or nullptr: this one works on what it leaves

  /// Fewest hits of a chain of triplets whose edges are scored, as the segmentation of Python gives it.
  int chain_hits() const;

  /// Reads what PipelineSpec.to_json() writes. Throws ConfigError.
  static PipelineSpec parse(const std::string& json);
};

}  // namespace beampipe
