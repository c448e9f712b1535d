#include "pipelines/model_files.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include "kernels.hpp"
#include "native/errors.hpp"
#include "native/json.hpp"
#include "native/safetensors.hpp"

namespace beampipe {
namespace {

PipelineSpec spec_of(const Json& json) {
  using Graph = PipelineSpec::Graph;
  using Segmentation = PipelineSpec::Segmentation;
  PipelineSpec spec{};
  spec.name = json.at("name").text();
  const auto refuse = [&](const std::string& got, const std::string& expected) {
    throw ConfigError("pipeline " + spec.name + ": got " + got + ", expected " + expected);
  };
  const std::string& graph = json.at("graph").text();
  if (graph != "neighbours" && graph != "windows" && graph != "both")
    refuse("graph '" + graph + "'", "neighbours, windows or both");
  spec.graph = graph == "neighbours" ? Graph::kNeighbours : graph == "windows" ? Graph::kWindows : Graph::kBoth;
  spec.scored = json.at("scored").boolean();

  const Json& how = json.at("segmentation");
  const std::string& kind = how.at("kind").text();
  if (kind != "components" && kind != "walk") refuse("segmentation '" + kind + "'", "components or walk");
  spec.segmentation = kind == "walk" ? Segmentation::kWalk : Segmentation::kComponents;
  const auto count = [&](const Json& from, const char* name, const char* of_what) {
    const std::int64_t number = from.at(name).whole();
    if (number < 0 || number > std::numeric_limits<int>::max())
      refuse(name + (" " + std::to_string(number)), std::string("a number of ") + of_what);
    return static_cast<int>(number);
  };
  spec.min_hits = count(how, "min_hits", "hits");
  if (kind == "walk") {
    spec.penalty = how.at("penalty").number();
    spec.score_cut = how.at("score_cut").number();
  }

  spec.windows = json.at("windows").text();
  const bool networks = !json.at("networks").is_null();
  if (networks) spec.networks = json.at("networks").text();
  if (networks != (spec.scored || graph != "windows"))
    refuse(networks ? "networks '" + spec.networks + "'" : "no networks",
           networks ? "none" : "the weight file that embeds hits or scores edges");
  if (kind == "components" && !spec.scored) refuse("components of edges without a score", "a walk, or scored edges");
  spec.bytes_per_hit = json.at("bytes_per_hit").number();
  spec.bytes_per_hit2 = json.at("bytes_per_hit2").number();
  spec.curvature = json.at("curvature").number();
  if (!(spec.curvature > 0 && spec.curvature <= 2)) refuse("another curvature", "a factor above 0, up to 2");
  spec.curvature_from = json.at("curvature_from").number();
  if (!(spec.curvature_from >= 0 && spec.curvature_from < spec.curvature))
    refuse("another curvature_from", "a share from 0 to below curvature");
  spec.seed_depth = count(json, "seed_depth", "layers");
  const Json &completion = json.at("completion"), &limit = json.at("limit"), &after = json.at("after");
  if (!completion.is_null())
    spec.completion = {completion.at("penalty").number(), completion.at("min_score").number(),
                       count(completion, "min_hits", "hits")};
  if (!limit.is_null()) spec.limit = {limit.at("hits").whole(), limit.at("instead").text()};
  if (!after.is_null()) spec.after = std::make_shared<const PipelineSpec>(spec_of(after));
  return spec;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float score_of(float logit) { return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(logit)))); }

/// The n-th float counted from zero: numbers in the order of floats, to halve the way between two of them.
float float_at(std::int64_t n) {
  const auto bits = static_cast<std::uint32_t>(n < 0 ? -n : n);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return n < 0 ? -value : value;
}

double above_0(const Json& config, const char* key) {
  const double value = config.at(key).number();
  if (value > 0) return value;
  throw ConfigError(std::string(key) + ": got " + std::to_string(value) + ", expected a number above 0");
}

double score(const Json& config, const char* key) {
  const double value = config.at(key).number();
  if (value >= 0 && value <= 1) return value;
  throw ConfigError(std::string(key) + ": got " + std::to_string(value) + ", expected a number in [0, 1]");
}

constexpr int kHitFeatures = 5, kNodeFeatures = 3, kEdgeFeatures = 6;
constexpr int kFilterInputs = kEdgeFeatures + 2 * kNodeFeatures + 1;
constexpr int kVector = 16;  // hidden layers are whole vectors of the kernels

Layer layer_of(const Safetensors& file, const std::string& name) {
  const std::vector<std::int64_t> shape = file.at(name + ".weight").shape;
  if (shape.size() != 2 || shape[0] == 0 || shape[1] == 0 || std::max(shape[0], shape[1]) > 1 << 16)
    throw ConfigError(name + ".weight: got shape " + text_of(shape) + ", expected (out, in)");
  return {numbers<float>(file, name + ".weight", shape), numbers<float>(file, name + ".bias", {shape[0]})};
}

/// The layers of a network by the numbers that follow its name: name.0.weight, name.1.weight, ...
Mlp mlp_of(const Safetensors& file, const std::string& name) {
  std::set<int> found;
  for (const std::string& key : file.names()) {
    const std::size_t last = key.rfind('.'), before = last == std::string::npos ? last : key.rfind('.', last - 1);
    if (before != name.size() || key.compare(0, before, name) != 0) continue;
    const std::string number = key.substr(before + 1, last - before - 1);
    if (number.empty() || number.size() > 4 || number.find_first_not_of("0123456789") != std::string::npos)
      throw ConfigError(key + ": got '" + number + "', expected the number of a layer");
    found.insert(std::stoi(number));
  }
  if (found.empty()) throw ConfigError(name + ": got no layers, expected " + name + ".0.weight");
  Mlp mlp;
  for (const int number : found) mlp.push_back(layer_of(file, name + "." + std::to_string(number)));
  for (std::size_t k = 1; k < mlp.size(); ++k)
    if (mlp[k].n_in() != mlp[k - 1].n_out())
      throw ConfigError(name + ": got " + std::to_string(mlp[k].n_in()) + " inputs of layer " + std::to_string(k) +
                        ", expected " + std::to_string(mlp[k - 1].n_out()) + ", the outputs of the one before");
  return mlp;
}

void require_widths(const std::string& name, const Mlp& mlp, const std::vector<int>& expected) {
  const std::vector<int> got = widths(mlp);
  if (got == expected) return;
  const auto shown = [](const std::vector<int>& w) { return text_of({w.begin(), w.end()}); };
  throw ConfigError(name + ": got widths " + shown(got) + ", expected " + shown(expected));
}

void require_vectors(const std::string& name, int width) {
  if (width % kVector != 0)
    throw ConfigError(name + ": got a hidden layer of " + std::to_string(width) + ", expected a multiple of 16");
}

EmbeddingWeights embedding_of(const Safetensors& file) {
  const Mlp mlp = mlp_of(file, "embedding");
  EmbeddingWeights weights{widths(mlp), {}};
  if (weights.widths.front() != kHitFeatures || weights.widths.back() != 2 * kEmbedding)
    throw ConfigError("embedding: got " + std::to_string(weights.widths.front()) + " inputs and " +
                      std::to_string(weights.widths.back()) + " outputs, expected 5 and 16");
  for (std::size_t k = 1; k + 1 < weights.widths.size(); ++k) require_vectors("embedding", weights.widths[k]);
  pack(mlp, false, weights.packed);
  return weights;
}

FilterWeights filter_of(const Safetensors& file) {
  const Mlp mlp = mlp_of(file, "filter");
  FilterWeights weights{mlp.front().n_out(), {}};
  require_widths("filter", mlp, {kFilterInputs, weights.hidden, 1});
  require_vectors("filter", weights.hidden);
  pack(mlp, true, weights.packed);
  return weights;
}

GnnWeights gnn_of(const Safetensors& file) {
  const Mlp nodes = mlp_of(file, "gnn.node_encoder"), edges = mlp_of(file, "gnn.edge_encoder");
  const int h = nodes.back().n_out(), n_in = edges.front().n_in();
  GnnWeights weights{h, 0, n_in - kEdgeFeatures, {}};
  if (weights.n_pair != 0 && weights.n_pair != kPairFeatures)
    throw ConfigError("gnn.edge_encoder: got " + std::to_string(n_in) +
                      " inputs, expected 6 or 12 (with pair features)");
  require_vectors("gnn", h);
  const auto pack = [&](const std::string& name, const Mlp& mlp, const std::vector<int>& expected) {
    require_widths(name, mlp, expected);
    beampipe::pack(mlp, false, weights.packed);
  };
  pack("gnn.node_encoder", nodes, {kNodeFeatures, h, h});
  pack("gnn.edge_encoder", edges, {n_in, h, h});
  while (file.has("gnn.edge." + std::to_string(weights.steps) + ".0.weight")) {
    for (const std::string part : {"gnn.edge.", "gnn.node."}) {
      const std::string name = part + std::to_string(weights.steps);
      pack(name, mlp_of(file, name), {3 * h, h, h});
    }
    ++weights.steps;
  }
  pack("gnn.classifier", mlp_of(file, "gnn.classifier"), {3 * h, h, 1});
  return weights;
}

/// Checks the facts that the card repeats for its reader.
void require_sizes(const Json& config, const Networks& networks) {
  const auto require_size = [&](const char* key, std::int64_t size) {
    const Json* stated = config.find(key);
    if (stated != nullptr && stated->whole() != size)
      throw ConfigError(std::string(key) + ": got " + std::to_string(stated->whole()) + " in the card, expected " +
                        std::to_string(size) + " as in the weights");
  };
  require_size("embedding_hidden", networks.embedding.widths[1]);
  require_size("filter_hidden", networks.filter.hidden);
  require_size("gnn_hidden", networks.gnn.hidden);
  require_size("gnn_steps", networks.gnn.steps);
  const Json* pairs = config.find("pair_features");
  if (pairs != nullptr && pairs->boolean() != (networks.gnn.n_pair > 0))
    throw ConfigError("pair_features: got another value in the card, expected that of the weights");
}

Json card_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError(path + ": got no readable file, expected the card of the weights");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return Json::parse(text);
}

constexpr float kWidening = 5.0f;  // mm
constexpr double kOfGap = 0.49;    // largest widening of two layers as a share of the gap between them

/// How far two boxes are apart in r or in z, whichever is more.
float gap(const float* a, const float* b) {
  return std::max(std::max(a[0] - b[1], b[0] - a[1]), std::max(a[2] - b[3], b[2] - a[3]));
}

}  // namespace

int PipelineSpec::chain_hits() const {
  constexpr int kOfComponents = 4;
  return segmentation == Segmentation::kComponents ? std::min(min_hits, kOfComponents) : min_hits;
}

PipelineSpec PipelineSpec::parse(const std::string& text) { return spec_of(Json::parse(text)); }

float logit_of(double cut) {
  if (cut > 0 && cut < 1) return static_cast<float>(std::log(cut / (1 - cut)));
  return cut <= 0 ? -kInfinity : kInfinity;
}

float lowest_logit(double cut) {
  const auto rounded = static_cast<float>(cut);
  if (rounded <= 0) return -kInfinity;
  std::uint32_t infinity;
  std::memcpy(&infinity, &kInfinity, sizeof infinity);
  std::int64_t below = -std::int64_t{infinity}, enough = infinity;  // scores 0 and 1
  while (enough - below > 1) {
    const std::int64_t middle = below + (enough - below) / 2;
    (score_of(float_at(middle)) >= rounded ? enough : below) = middle;
  }
  return float_at(enough);
}

Cuts Cuts::parse(const Json& config) {
  above_0(config, "max_neighbours");
  return {static_cast<float>(above_0(config, "radius")),
          config.at("max_neighbours").whole(),
          static_cast<float>(above_0(config, "kappa_max")),
          static_cast<float>(above_0(config, "z0_max")),
          logit_of(score(config, "filter_cut")),
          lowest_logit(score(config, "score_cut"))};
}

std::vector<int> widths(const Mlp& mlp) {
  std::vector<int> all = {mlp.front().n_in()};
  for (const Layer& layer : mlp) all.push_back(layer.n_out());
  return all;
}

void pack(const Mlp& mlp, bool by_output, std::vector<float>& packed) {
  for (const Layer& layer : mlp) {
    if (by_output) packed.insert(packed.end(), layer.weight.begin(), layer.weight.end());
    for (int in = 0; !by_output && in < layer.n_in(); ++in)
      for (int out = 0; out < layer.n_out(); ++out) packed.push_back(layer.weight[out * layer.n_in() + in]);
    packed.insert(packed.end(), layer.bias.begin(), layer.bias.end());
  }
}

Networks Networks::load(const std::string& stem) {
  const Safetensors file(stem + ".safetensors");
  try {
    const Json card = card_of(stem + ".json");
    const Json& config = card.at("config");
    Networks networks{Cuts::parse(config), embedding_of(file), filter_of(file), gnn_of(file)};
    require_sizes(config, networks);
    return networks;
  } catch (const ConfigError& error) {
    throw ConfigError(stem + ": " + error.what());
  }
}

Crossings crossings_of(const float* layers, int n_layers) {
  constexpr int kSlopes = 512;
  Crossings crossings{std::vector<std::int32_t>(n_layers, kNoLine), std::vector<std::int32_t>(n_layers, 0),
                      std::vector<std::int32_t>(static_cast<std::size_t>(n_layers) * n_layers, kNoLine)};
  std::vector<std::pair<double, int>> crossed;  // radius and layer
  for (const double z0 : {-100.0, 0.0, 100.0})  // mm
    for (int k = 0; k < kSlopes; ++k) {
      const double along = (2.0 * k + 1 - kSlopes) / kSlopes, cot = along / (1 - std::fabs(along));
      crossed.clear();
      for (int l = 0; l < n_layers; ++l) {
        const double r_min = layers[4 * l], r_max = layers[4 * l + 1], z_min = layers[4 * l + 2] - z0,
                     z_max = layers[4 * l + 3] - z0;
        const bool barrel = r_max - r_min < z_max - z_min;
        const double r = barrel ? 0.5 * (r_min + r_max) : 0.5 * (z_min + z_max) / cot, z = cot * r;
        if (barrel ? z >= z_min && z <= z_max : r >= r_min && r <= r_max) crossed.emplace_back(r, l);
      }
      std::sort(crossed.begin(), crossed.end());
      for (int j = 0; j < static_cast<int>(crossed.size()); ++j) {
        const int outer = crossed[j].second;
        if (z0 == 0) {
          crossings.before[outer] = std::min(crossings.before[outer], j);
          crossings.most_before[outer] = std::max(crossings.most_before[outer], j);
        }
        for (int i = 0; i < j; ++i) {
          std::int32_t& between = crossings.between[crossed[i].second * n_layers + outer];
          between = std::min(between, j - i - 1);
        }
      }
    }
  return crossings;
}

WindowTables WindowTables::widened() const {
  float least = std::numeric_limits<float>::infinity();
  for (std::size_t a = 0; a < layers_.size(); a += 4)
    for (std::size_t b = 0; b < a; b += 4) least = std::min(least, gap(&layers_[a], &layers_[b]));
  const auto by = static_cast<float>(std::max(std::min<double>(kWidening, kOfGap * least), 0.0));
  WindowTables wide = *this;
  for (std::size_t side = 0; side < layers_.size(); ++side) wide.layers_[side] += side % 2 == 0 ? -by : by;
  wide.crossings_ = crossings_of(wide.layers_.data(), static_cast<int>(wide.layers_.size() / 4));
  return wide;
}

WindowTables WindowTables::load(const std::string& stem) {
  const Safetensors file(stem + ".safetensors");
  const std::int64_t n_layers = rows_in(file, "layers"), n_pairs = rows_in(file, "pairs");
  try {
    return {numbers<float>(file, "layers", {n_layers, 4}), numbers<std::int32_t>(file, "pairs", {n_pairs, 2}),
            numbers<float>(file, "pair_windows", {n_pairs, 3}),
            numbers<std::int32_t>(file, "out_begin", {n_layers + 1}),
            numbers<float>(file, "triplet_windows", {n_pairs, kMaxOut, 4})};
  } catch (const ConfigError& error) {
    throw ConfigError(stem + ": " + error.what());
  }
}

WindowTables::WindowTables(std::vector<float> layers, std::vector<std::int32_t> pairs, std::vector<float> pair_windows,
                           std::vector<std::int32_t> out_begin, std::vector<float> triplet_windows)
    : layers_(std::move(layers)),
      pairs_(std::move(pairs)),
      pair_windows_(std::move(pair_windows)),
      out_begin_(std::move(out_begin)),
      triplet_windows_(std::move(triplet_windows)),
      crossings_(crossings_of(layers_.data(), static_cast<int>(layers_.size() / 4))) {
  const std::size_t n_layers = layers_.size() / 4, n_pairs = pairs_.size() / 2;
  const auto refuse = [](const std::string& got, const std::string& expected) {
    throw ConfigError("got " + got + ", expected " + expected);
  };
  for (const std::int32_t layer : pairs_)
    if (layer < 0 || static_cast<std::size_t>(layer) >= n_layers)
      refuse("layer " + std::to_string(layer) + " in pairs", "one of the " + std::to_string(n_layers) + " layers");
  for (std::size_t layer = 0; layer < n_layers; ++layer) {
    const std::int32_t first = out_begin_[layer], last = out_begin_[layer + 1];
    if (first < 0 || last < first || last - first > kMaxOut || static_cast<std::size_t>(last) > n_pairs)
      refuse("an impossible out_begin of layer " + std::to_string(layer), "at most 16 pairs that start there");
    for (std::int32_t pair = first; pair < last; ++pair)
      if (static_cast<std::size_t>(pairs_[2 * pair]) != layer)
        refuse("pair " + std::to_string(pair) + " in the place of another", "pairs sorted by their inner layer");
  }
}

WindowTables WindowTables::up_to(float curvature) && {
  for (std::size_t pair = 0; pair < pair_windows_.size(); pair += 3) pair_windows_[pair] *= curvature;
  return std::move(*this);
}

Windows WindowTables::view() const {
  return {static_cast<int>(layers_.size() / 4),
          static_cast<int>(pairs_.size() / 2),
          layers_.data(),
          pairs_.data(),
          pair_windows_.data(),
          out_begin_.data(),
          triplet_windows_.data(),
          &crossings_};
}

}  // namespace beampipe
