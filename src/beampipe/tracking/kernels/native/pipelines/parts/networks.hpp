// The trained networks of a pipeline as the kernels read them, and the cuts that belong to them.
#pragma once

#include <string>
#include <vector>

#include "pipelines/parts/cuts.hpp"

namespace beampipe {

/// Embedding: 5 features of a hit -> hidden layers -> 16.
struct EmbeddingWeights {
  std::vector<int> widths;
  std::vector<float> packed;
};

/// Filter: 13 features of an edge -> hidden -> 1.
struct FilterWeights {
  int hidden;
  std::vector<float> packed;
};

/// Interaction network: encoders, an edge and a node network per step, classifier.
struct GnnWeights {
  int hidden, steps;
  int n_pair;  // pair features that it reads of each edge: 6, or none
  std::vector<float> packed;
};

struct Networks {
  Cuts cuts;
  EmbeddingWeights embedding;
  FilterWeights filter;
  GnnWeights gnn;

  /// Reads <stem>.safetensors and its card <stem>.json. Throws FileError or ConfigError.
  static Networks load(const std::string& stem);
};

}  // namespace beampipe
