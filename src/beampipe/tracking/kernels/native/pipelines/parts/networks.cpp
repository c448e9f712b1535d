#include "pipelines/parts/networks.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "graphs/radius.hpp"
#include "native/errors.hpp"
#include "native/json.hpp"
#include "native/safetensors.hpp"
#include "pipelines/parts/packing.hpp"
#include "pipelines/parts/tensors.hpp"

namespace beampipe {
namespace {

constexpr int kHitFeatures = 5, kNodeFeatures = 3, kEdgeFeatures = 6, kPairFeatures = 6;
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
  pack_by_input(mlp, weights.packed);
  return weights;
}

FilterWeights filter_of(const Safetensors& file) {
  const Mlp mlp = mlp_of(file, "filter");
  FilterWeights weights{mlp.front().n_out(), {}};
  require_widths("filter", mlp, {kFilterInputs, weights.hidden, 1});
  require_vectors("filter", weights.hidden);
  pack_by_output(mlp, weights.packed);
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
    pack_by_input(mlp, weights.packed);
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

/// What a card also states, for its reader, must be so.
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

}  // namespace

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

}  // namespace beampipe
