#include "pipelines/parts/windows.hpp"

#include "pipelines/parts/tensors.hpp"

namespace beampipe {

WindowTables WindowTables::load(const std::string& stem) {
  const Safetensors file(stem + ".safetensors");
  const auto rows = [&](const char* name) {
    const std::vector<std::int64_t>& shape = file.at(name).shape;
    return shape.empty() ? 0 : shape[0];
  };
  const std::int64_t n_layers = rows("layers"), n_pairs = rows("pairs");
  WindowTables tables;
  try {
    tables.layers_ = numbers<float>(file, "layers", {n_layers, 4});
    tables.pairs_ = numbers<std::int32_t>(file, "pairs", {n_pairs, 2});
    tables.pair_windows_ = numbers<float>(file, "pair_windows", {n_pairs, 3});
    tables.out_begin_ = numbers<std::int32_t>(file, "out_begin", {n_layers + 1});
    tables.triplet_windows_ = numbers<float>(file, "triplet_windows", {n_pairs, kMaxOut, 4});
  } catch (const ConfigError& error) {
    throw ConfigError(stem + ": " + error.what());
  }
  for (const std::int32_t layer : tables.pairs_)
    if (layer < 0 || layer >= n_layers)
      throw ConfigError(stem + ": got layer " + std::to_string(layer) + " in pairs, expected one of the " +
                        std::to_string(n_layers) + " layers");
  return tables;
}

Windows WindowTables::view() const {
  return {static_cast<int>(layers_.size() / 4),
          static_cast<int>(pairs_.size() / 2),
          layers_.data(),
          pairs_.data(),
          pair_windows_.data(),
          out_begin_.data(),
          triplet_windows_.data()};
}

}  // namespace beampipe
