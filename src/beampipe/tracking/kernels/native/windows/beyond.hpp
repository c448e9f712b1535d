// The layers to look on beyond the ends of a path.
#pragma once

#include <algorithm>
#include <vector>

#include "arc.hpp"
#include "windows/windows.hpp"

namespace beampipe {

using Window = TripletWindow<float>;

/// A layer to look on beyond the end of a path, and the window of its last two hits with one there.
struct Target {
  int layer;
  Window window;
};

/// The layers to look on beyond a path, by the pair of layers of its last two hits, nearest first: those of known
/// triples, then those one layer further, within the widest window of the known ones.
class Reach {
public:
  explicit Reach(const Windows& w) : n_layers_(w.n_layers), pair_of_(pairs_by_layers(w)) {
    for (auto& side : targets_) side.resize(w.n_pairs);
    for (int p = 0; p < w.n_pairs; ++p) {
      const int middle = w.pairs[2 * p + 1];
      for (int q = w.out_begin[middle]; q < w.out_begin[middle + 1]; ++q) {
        const float* row = w.triplet_windows + 4 * (p * kMaxOut + q - w.out_begin[middle]);
        if (row[0] <= 0) continue;
        const Window window{row[0], row[1], row[2], row[3]};
        targets_[1][p].push_back({w.pairs[2 * q + 1], window});
        targets_[0][q].push_back({w.pairs[2 * p], window});
      }
    }
    for (int outward = 0; outward < 2; ++outward)
      for (auto& targets : targets_[outward]) add_further(w, outward, targets);
  }

  /// The layers beyond the pair (inner, outer); none if no particle was seen to cross these one after the other.
  const std::vector<Target>& beyond(int inner, int outer, bool outward) const {
    const int pair = pair_of_[inner * n_layers_ + outer];
    return pair < 0 ? none_ : targets_[outward][pair];
  }

  /// The window of three layers in a row, or nullptr if it is not known from either side.
  const Window* window(int inner, int middle, int outer) const {
    for (const Target& target : beyond(inner, middle, true))
      if (target.layer == outer) return &target.window;
    for (const Target& target : beyond(middle, outer, false))
      if (target.layer == inner) return &target.window;
    return nullptr;
  }

private:
  static void add_further(const Windows& w, int outward, std::vector<Target>& targets) {
    if (targets.empty()) return;
    Window widest = targets.front().window;
    for (const Target& t : targets)
      widest = {std::max(widest.a, t.window.a), std::max(widest.b, t.window.b), std::max(widest.c, t.window.c),
                std::max(widest.d, t.window.d)};
    const std::size_t n_near = targets.size();
    for (std::size_t near = 0; near < n_near; ++near) {
      for (int p = 0; p < w.n_pairs; ++p) {
        if (w.pairs[2 * p + 1 - outward] != targets[near].layer) continue;
        const int layer = w.pairs[2 * p + outward];
        const auto same = [layer](const Target& t) { return t.layer == layer; };
        if (std::none_of(targets.begin(), targets.end(), same)) targets.push_back({layer, widest});
      }
    }
  }

  int n_layers_;
  std::vector<std::int32_t> pair_of_;
  std::vector<std::vector<Target>> targets_[2];  // inwards, outwards; by pair
  std::vector<Target> none_;
};

}  // namespace beampipe
