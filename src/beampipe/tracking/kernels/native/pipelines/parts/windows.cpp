#include "pipelines/parts/windows.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

#include "pipelines/parts/tensors.hpp"

namespace beampipe {
namespace {

constexpr float kWidening = 5.0f;  // mm
constexpr double kOfGap = 0.49;    // largest widening of two layers as a share of the gap between them

/// How far two boxes are apart in r or in z, whichever is more.
float gap(const float* a, const float* b) {
  return std::max(std::max(a[0] - b[1], b[0] - a[1]), std::max(a[2] - b[3], b[2] - a[3]));
}

}  // namespace

WindowTables WindowTables::widened() const {
  float least = std::numeric_limits<float>::infinity();
  for (std::size_t a = 0; a < layers_.size(); a += 4)
    for (std::size_t b = 0; b < a; b += 4) least = std::min(least, gap(&layers_[a], &layers_[b]));
  const auto by = static_cast<float>(std::max(std::min<double>(kWidening, kOfGap * least), 0.0));
  WindowTables wide = *this;
  for (std::size_t side = 0; side < layers_.size(); ++side) wide.layers_[side] += side % 2 == 0 ? -by : by;
  return wide;
}

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
  tables.require_layers(stem);
  return tables;
}

void WindowTables::require_layers(const std::string& stem) const {
  const std::size_t n_layers = layers_.size() / 4, n_pairs = pairs_.size() / 2;
  const auto refuse = [&](const std::string& got, const std::string& expected) {
    throw ConfigError(stem + ": got " + got + ", expected " + expected);
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
          triplet_windows_.data()};
}

}  // namespace beampipe
