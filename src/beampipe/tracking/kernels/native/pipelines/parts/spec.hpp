// What a pipeline is made of, as data: PipelineSpec of Python (beampipe.tracking.pipelines.specs), which writes it.
#pragma once

#include <string>

namespace beampipe {

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

  /// Reads what PipelineSpec.to_json() writes. Throws ConfigError.
  static PipelineSpec parse(const std::string& json);
};

}  // namespace beampipe
