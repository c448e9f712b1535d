// Weights of networks as the kernels read them: one row of floats. The layouts are those that each kernel states.
#pragma once

#include <vector>

namespace beampipe {

/// One linear layer, y = W x + b.
struct Layer {
  std::vector<float> weight;  // (out, in), row by row
  std::vector<float> bias;    // (out,)

  int n_out() const { return static_cast<int>(bias.size()); }
  int n_in() const { return bias.empty() ? 0 : static_cast<int>(weight.size() / bias.size()); }
};

/// Linear layers with SiLU between them and nothing after the last one.
using Mlp = std::vector<Layer>;

/// Lengths of the input and of each layer's output.
std::vector<int> widths(const Mlp& mlp);

/// Adds all layers to `packed`: each matrix transposed, so that outputs are neighbours in memory, then its bias.
void pack_by_input(const Mlp& mlp, std::vector<float>& packed);

/// Adds all layers to `packed`: each matrix as it is, then its bias. The filter keeps edges, not outputs, in its
/// vectors.
void pack_by_output(const Mlp& mlp, std::vector<float>& packed);

}  // namespace beampipe
