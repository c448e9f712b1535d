#include "pipelines/parts/packing.hpp"

namespace beampipe {

std::vector<int> widths(const Mlp& mlp) {
  std::vector<int> all = {mlp.front().n_in()};
  for (const Layer& layer : mlp) all.push_back(layer.n_out());
  return all;
}

void pack_by_input(const Mlp& mlp, std::vector<float>& packed) {
  for (const Layer& layer : mlp) {
    for (int in = 0; in < layer.n_in(); ++in)
      for (int out = 0; out < layer.n_out(); ++out) packed.push_back(layer.weight[out * layer.n_in() + in]);
    packed.insert(packed.end(), layer.bias.begin(), layer.bias.end());
  }
}

void pack_by_output(const Mlp& mlp, std::vector<float>& packed) {
  for (const Layer& layer : mlp) {
    packed.insert(packed.end(), layer.weight.begin(), layer.weight.end());
    packed.insert(packed.end(), layer.bias.begin(), layer.bias.end());
  }
}

}  // namespace beampipe
