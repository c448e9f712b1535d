// Input of a pipeline: its specification from Python, and the networks and learned windows of a tracker model.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "native/errors.hpp"
#include "native/json.hpp"
#include "native/safetensors.hpp"
#include "windows/windows.hpp"

namespace beampipe {

constexpr int kPairFeatures = 6;  // of a pair of edges that share a hit

/// How tracks are completed and selected.
struct CompletionSpec {
  double penalty;    // cost of three layers whose chi2 is at the edge of the window, in layers
  double min_score;  // lowest score of a track that stays, in layers
  int min_hits;      // fewest hits of a track that stays
};

/// Largest events that a pipeline is made for.
struct LimitSpec {
  std::int64_t hits;    // most hits of an event
  std::string instead;  // name of the pipeline that finds the same in denser events
};

struct PipelineSpec {
  enum class Graph { kNeighbours, kWindows, kBoth };
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
  int seed_depth = 5;         // most layers before those on which tracks of the windows begin to grow
  std::optional<CompletionSpec> completion;
  std::optional<LimitSpec> limit;  // none for events of any size
  std::shared_ptr<const PipelineSpec>
      after;  // pipeline that runs first, or nullptr; this one uses the hits that it leaves

  /// Fewest hits of a chain of triplets whose edges are scored, as the segmentation of Python gives it.
  int chain_hits() const;

  /// Reads the result of PipelineSpec.to_json(). Throws ConfigError.
  static PipelineSpec parse(const std::string& json);
};

/// The logit at which a score reaches `cut` in [0, 1], as beampipe.tracking.kernels.logit_of gives it.
float logit_of(double cut);

/// The lowest logit whose score, rounded to float32, is at least `cut` in [0, 1], rounded to float32.
///
/// `logit >= lowest_logit(cut)` decides for every logit as `sigmoid(logit) >= cut` does in Python: the score never
/// falls as the logit rises, and its steps from one float32 to the next are a thousand times the error of exp.
float lowest_logit(double cut);

/// NetworksConfig of Python (beampipe.tracking.kernels.weights).
struct Cuts {
  float radius;                 // largest distance of an edge's source and target vector
  std::int64_t max_neighbours;  // most outgoing edges of a hit before the filter
  float kappa_max, z0_max;      // [1/mm], [mm]: largest curvature of an edge, largest |z| of it at the beam line
  float filter_logit;           // logit of the filter from which on an edge stays
  float score_logit;            // logit of the interaction network from which on an edge joins hits

  /// Reads "config" of a card. Throws ConfigError.
  static Cuts parse(const Json& config);
};

/// One linear layer, y = W x + b.
struct Layer {
  std::vector<float> weight;  // (out, in), row by row
  std::vector<float> bias;    // (out,)

  int n_out() const { return static_cast<int>(bias.size()); }
  int n_in() const { return bias.empty() ? 0 : static_cast<int>(weight.size() / bias.size()); }
};

/// Linear layers with SiLU between them, and no activation after the last one.
using Mlp = std::vector<Layer>;

/// Lengths of the input and of each layer's output.
std::vector<int> widths(const Mlp& mlp);

/// Adds all layers to `packed`: each matrix, then its bias. It is transposed, so that outputs are neighbours in memory,
/// unless `by_output`: the filter keeps edges, not outputs, in its vectors.
void pack(const Mlp& mlp, bool by_output, std::vector<float>& packed);

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

/// Along lines of all slopes from three vertices; kNoLine is the fewest where no line crosses the layers, 0 the most.
Crossings crossings_of(const float* layers, int n_layers);

/// Learned windows, and their memory.
class WindowTables {
public:
  /// The arrays of Windows. Throws ConfigError if `out_begin` does not agree with the pairs: kernels rely on it.
  WindowTables(std::vector<float> layers, std::vector<std::int32_t> pairs, std::vector<float> pair_windows,
               std::vector<std::int32_t> out_begin, std::vector<float> triplet_windows);

  /// Reads <stem>.safetensors. Throws FileError or ConfigError.
  static WindowTables load(const std::string& stem);

  /// The windows with layers that also hold hits measured from a beam line off the axis: larger on all sides, by 5 mm
  /// or by what keeps all of them apart (Windows.widened of Python).
  WindowTables widened() const;

  /// The windows with that share of each doublet's curvature.
  WindowTables up_to(float curvature) &&;

  Windows view() const;

private:
  std::vector<float> layers_;
  std::vector<std::int32_t> pairs_;
  std::vector<float> pair_windows_;
  std::vector<std::int32_t> out_begin_;
  std::vector<float> triplet_windows_;
  Crossings crossings_;
};

inline std::string text_of(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t length : shape) text += (text.empty() ? "" : ", ") + std::to_string(length);
  return "(" + text + ")";
}

/// The number of rows of a tensor; 0 if it is a scalar.
inline std::int64_t rows_in(const Safetensors& file, const char* name) {
  const std::vector<std::int64_t>& shape = file.at(name).shape;
  return shape.empty() ? 0 : shape[0];
}

/// The numbers of a tensor of that shape: of float or of std::int32_t.
template <typename T>
std::vector<T> numbers(const Safetensors& file, const std::string& name, const std::vector<std::int64_t>& shape) {
  const TensorView& tensor = file.at(name);
  const std::string dtype = std::is_same_v<T, float> ? "F32" : "I32";
  if (tensor.dtype != dtype || tensor.shape != shape)
    throw ConfigError(name + ": got " + tensor.dtype + " of shape " + text_of(tensor.shape) + ", expected " + dtype +
                      " of shape " + text_of(shape));
  std::vector<T> values(tensor.bytes / sizeof(T));
  std::memcpy(values.data(), tensor.data, tensor.bytes);
  return values;
}

}  // namespace beampipe
