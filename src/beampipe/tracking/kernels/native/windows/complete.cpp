// Completes tracks with the free hits beyond their ends, and drops those that are short for their chi2.
//
// A walk stops where hits are missing on more layers in a row than the windows skip. An existing path fixes its
// curvature and its slope: few free hits agree with its last two, so that layers further away can be searched.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "geometry.hpp"
#include "graphs/blocks.hpp"
#include "kernels.hpp"
#include "windows/search.hpp"

namespace beampipe {
namespace {

using Window = TripletWindow<float>;

/// A layer to look on beyond the end of a path, and the window of its last two hits with one there.
struct Target {
  int layer;
  Window window;
};

/// The layers to search beyond a path, by the pair of layers of its last two hits, nearest first: those of learned
/// triples, then those one layer further, within the widest window of the learned ones.
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

  /// The window of three layers in a row, or nullptr if neither side has one.
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
    for (const Target& t : targets) widest = wider(widest, t.window);
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

constexpr int kRounds = 4;          // most hits that are added at each end of a track
constexpr float kManyHits = 1e5f;   // hits of an event that the lowest score is meant for
constexpr float kDenseHits = 2e5f;  // from here on it grows twice as fast
constexpr float kSteepest = 1e4f;   // larger than any slope

/// The end of a path: its last hit, and the doublet of its last two.
struct End {
  float r, phi, z;
  float kappa, cot, inverse_d2;
  bool outward;
};

End end_of(const float* last, const float* before, bool outward) {
  const float *in = outward ? before : last, *out = outward ? last : before;
  const Vec r = splat(in[0]), other = splat(out[0]), dr = other - r;
  const Arc arc = arc_on(chord_of(r, other, dr, wrap(splat(out[1] - in[1]))), r, other, dr);
  return {last[0], last[1], last[2], arc.kappa[0], arc.cot(splat(out[2] - in[2]))[0], arc.inverse_d2[0], outward};
}

/// Where on a layer the hits that agree with the end of a path may lie: a little more than that.
struct Region {
  float r_low, r_high, z_low, z_high, phi_low, phi_high;
};

float arc_length(float r, float kappa) { return r * (1 + kArcSeries * kappa * kappa * r * r); }

/// Curvatures that agree with that of the end, seen from a hit at radius `r`.
std::pair<float, float> curvatures(const End& end, const Window& w, float r) {
  const float d = std::max(std::fabs(r - end.r), 5.0f);
  const float slack = 1.05f * std::sqrt(w.a * (end.inverse_d2 + 1 / (d * d)) + w.b * end.kappa * end.kappa);
  return {end.kappa - slack, end.kappa + slack};
}

/// Slopes that agree with that of the end.
std::pair<float, float> slopes(const End& end, const Window& w) {
  const float turn = 1.05f * std::sqrt(w.c + w.d * end.kappa * end.kappa);
  const float down = 1 + end.cot * turn, up = 1 - end.cot * turn;
  return {down > 0.02f ? (end.cot - turn) / down : -kSteepest, up > 0.02f ? (end.cot + turn) / up : kSteepest};
}

/// Angle at radius `r` of the circle through the beam line and the end that has this curvature.
float phi_at(const End& end, float kappa, float r) {
  return end.phi + std::asin(0.5f * kappa * r) - std::asin(0.5f * kappa * end.r);
}

Region region_of(const End& end, const Window& w, const LayerGrid& layer) {
  Region region{layer.r_min, layer.r_max, layer.z_min, layer.z_max, 1e3f, -1e3f};
  (end.outward ? region.r_low : region.r_high) =
      end.outward ? std::max(layer.r_min, end.r) : std::min(layer.r_max, end.r);
  const auto [cot_low, cot_high] = slopes(end, w);
  const auto [kappa_low, kappa_high] = curvatures(end, w, region.r_low);
  const float most = std::max(std::fabs(kappa_low), std::fabs(kappa_high));
  if (layer.barrel) {
    const float far = 1.01f * (arc_length(region.r_high, most) - arc_length(end.r, most)),
                near = 1.01f * (arc_length(region.r_low, most) - arc_length(end.r, most));
    const float straight_far = 0.99f * (region.r_high - end.r), straight_near = 0.99f * (region.r_low - end.r);
    const auto [low, high] =
        std::minmax({near * cot_low, near * cot_high, far * cot_low, far * cot_high, straight_near * cot_low,
                     straight_near * cot_high, straight_far * cot_low, straight_far * cot_high});
    region.z_low = end.z + low - 1, region.z_high = end.z + high + 1;
  } else if (cot_low * cot_high > 0) {
    const float a = layer.z_min - end.z, b = layer.z_max - end.z;
    const auto [low, high] = std::minmax({a / cot_low, a / cot_high, b / cot_low, b / cot_high});
    const float s_low = std::max(end.r + low, 0.0f), s_high = std::max(arc_length(end.r, most) + high, 0.0f);
    region.r_low = std::max(region.r_low, s_low / (1 + kArcSeries * most * most * s_low * s_low) - 1);
    region.r_high = std::min(region.r_high, s_high + 1);
  }
  const float slack = 0.002f + 0.75f * std::sqrt(w.a);
  for (const float r : {region.r_low, region.r_high}) {
    const auto [least, greatest] = curvatures(end, w, r);
    for (const float kappa : {least, greatest}) {
      const bool turns_back = 0.5f * std::fabs(kappa) * std::max(r, end.r) > 0.85f;  // may be met on its way back, too
      const float phi = turns_back ? end.phi : phi_at(end, kappa, r), about = turns_back ? kMaxDphi : slack;
      region.phi_low = std::min(region.phi_low, phi - about);
      region.phi_high = std::max(region.phi_high, phi + about);
    }
  }
  return region;
}

/// A hit that may be added to an end of a track.
struct Proposal {
  float chi2 = 1;
  std::int32_t hit = -1;

  bool operator<(const Proposal& other) const { return chi2 != other.chi2 ? chi2 < other.chi2 : hit < other.hit; }
};

/// A layer on the way of a track: its first hit there, and the second one where modules overlap, or -1.
struct Crossing {
  std::int32_t hit, twin;
};
using Path = std::vector<Crossing>;

/// Completes the tracks of one event.
class Completion {
public:
  Completion(const Hits& hits, const Windows& w, const Reach& reach, const std::int16_t* layer, std::int64_t* label)
      : hits_(hits), reach_(reach), layer_(layer), label_(label), grid_(free_hits(w)) {
    make_paths();
  }

  void run() {
    const int n_tracks = static_cast<int>(paths_.size());
    std::vector<char> open(2 * n_tracks, 1);  // of each track, inner end and outer end
    std::vector<Proposal> proposals(2 * n_tracks);
    for (int round = 0; round < kRounds; ++round) {
#pragma omp parallel for num_threads(hits_.threads) schedule(dynamic, 64)
      for (int end = 0; end < 2 * n_tracks; ++end)
        if (open[end]) proposals[end] = proposal(end / 2, end % 2 == 1);
      if (!accept(proposals, open)) return;
    }
  }

  /// Frees the hits of the tracks that have fewer than `min_hits`, or a score below `min_score`. The score is
  /// meant for kManyHits: among ten times fewer, chance has to be one layer shorter to be as rare; in dense events two
  /// layers longer among ten times more.
  void drop(float penalty, float min_score, int min_hits) {
    const auto n = static_cast<float>(hits_.n);
    min_score += std::log10(n / kManyHits) + std::max(std::log10(n / kDenseHits), 0.0f);
    std::vector<int> size(paths_.size(), 0);
    for (std::int64_t i = 0; i < hits_.n; ++i)
      if (label_[i] >= 0) ++size[label_[i] - first_];
    std::vector<char> stays;
    for (std::size_t track = 0; track < paths_.size(); ++track)
      stays.push_back(size[track] >= min_hits && score(paths_[track], penalty) >= min_score);
    for (std::int64_t i = 0; i < hits_.n; ++i)
      if (label_[i] >= 0 && !stays[label_[i] - first_]) label_[i] = -1;
  }

private:
  /// Where the path crosses a layer, or its end.
  template <typename SomePath>
  auto crossing(SomePath& path, int layer) const {
    return std::find_if(path.begin(), path.end(), [&](const Crossing& c) { return layer_[c.hit] == layer; });
  }

  /// The hits of each track from the beam outwards, the first one on each layer.
  void make_paths() {
    std::int64_t last = -1;
    first_ = hits_.n > 0 ? std::numeric_limits<std::int64_t>::max() : 0;
    for (std::int64_t i = 0; i < hits_.n; ++i)
      if (label_[i] >= 0) first_ = std::min(first_, label_[i]), last = std::max(last, label_[i]);
    paths_.resize(last < 0 ? 0 : last - first_ + 1);
    std::vector<std::vector<std::int32_t>> hits(paths_.size());
    for (std::int64_t i = 0; i < hits_.n; ++i)
      if (label_[i] >= 0 && layer_[i] >= 0) hits[label_[i] - first_].push_back(static_cast<std::int32_t>(i));
    const auto rho2 = [this](std::int32_t i) {
      const float* p = hits_.position + 3 * i;
      return p[0] * p[0] + p[2] * p[2];
    };
    for (std::size_t track = 0; track < paths_.size(); ++track) {
      std::stable_sort(hits[track].begin(), hits[track].end(), [&](auto a, auto b) { return rho2(a) < rho2(b); });
      Path& path = paths_[track];
      for (const std::int32_t hit : hits[track]) {
        const auto there = crossing(path, layer_[hit]);
        if (there == path.end())
          path.push_back({hit, -1});
        else if (there->twin < 0)
          there->twin = hit;
      }
    }
  }

  Grid free_hits(const Windows& w) const {
    Array<std::int16_t> free(hits_.n);
    for (std::int64_t i = 0; i < hits_.n; ++i) free[i] = label_[i] < 0 ? layer_[i] : std::int16_t{-1};
    return make_grid(hits_, free, w, std::vector<int>(w.n_layers, 0));
  }

  /// The best hit on the nearest layer that has one.
  Proposal proposal(int track, bool outward) const {
    const Path& path = paths_[track];
    const std::size_t n = path.size();
    if (n < 2) return {};
    const std::int32_t last = outward ? path[n - 1].hit : path[0].hit, before = outward ? path[n - 2].hit : path[1].hit;
    const std::int32_t inner = outward ? before : last, outer = outward ? last : before;
    const End end = end_of(hits_.position + 3 * last, hits_.position + 3 * before, outward);
    for (const Target& target : reach_.beyond(layer_[inner], layer_[outer], outward)) {
      if (crossing(path, target.layer) != path.end()) continue;
      const Proposal best = best_on(end, target);
      if (best.hit >= 0) return best;
    }
    return {};
  }

  Proposal best_on(const End& end, const Target& target) const {
    const LayerGrid& layer = grid_.layers[target.layer];
    const Region region = region_of(end, target.window, layer);
    Proposal best;
    if (region.r_low > region.r_high || region.z_low > layer.z_max || region.z_high < layer.z_min) return best;
    const int row_low = row_of(layer, layer.barrel ? region.z_low : region.r_low),
              row_high = row_of(layer, layer.barrel ? region.z_high : region.r_high);
    for (int row = row_low; row <= row_high; ++row) {
      const std::int32_t* begin = grid_.begin.data() + layer.cell + row * layer.n_phi;
      const auto between = [&](float low, float high) {  // angles, either may lie beyond the turn
        if (high > -kPi && low < kPi)
          scan(end, target, begin[phi_bin(layer, low)], begin[phi_bin(layer, high) + 1], best);
      };
      between(region.phi_low, region.phi_high);
      if (region.phi_low < -kPi) between(region.phi_low + kTwoPi, kPi);
      if (region.phi_high > kPi) between(-kPi, region.phi_high - kTwoPi);
    }
    return best;
  }

  /// The best of the free hits [first, last) of one row, if it is better than `best`.
  void scan(const End& end, const Target& target, std::int32_t first, std::int32_t last, Proposal& best) const {
    const float sign = end.outward ? 1.0f : -1.0f;
    for (std::int32_t j = first; j < last; j += kLanes) {
      const Vec r = load(grid_.r.data() + j), z = load(grid_.z.data() + j);
      const Vec dr = (r - end.r) * sign, dphi = wrap((load(grid_.phi.data() + j) - end.phi) * sign);
      const Arc arc = arc_on(chord_of(splat(end.r), r, dr, dphi), end.r, r, dr);
      const Vec cot = (z - end.z) * sign / arc.ds;
      const Chi2 x = triplet_chi2(target.window, end.kappa, end.cot, end.inverse_d2, arc.kappa, cot, arc.inverse_d2);
      unsigned pass =
          less_mask(x.top, x.bottom) & less_mask(splat(kMinDr), dr) & less_mask(absolute(dphi), splat(kMaxDphi));
      if (last - j < kLanes) pass &= (1u << (last - j)) - 1;
      const Vec chi2 = x.top / x.bottom;
      for (; pass != 0; pass &= pass - 1) {
        const int lane = __builtin_ctz(pass);
        const Proposal candidate{chi2[lane], grid_.hit[j + lane]};
        if (label_[candidate.hit] < 0 && (best.hit < 0 || candidate < best)) best = candidate;
      }
    }
  }

  /// Adds hits to tracks, best first; a hit goes to one track. An end without a proposal is closed.
  bool accept(std::vector<Proposal>& proposals, std::vector<char>& open) {
    std::vector<std::pair<Proposal, int>> order;
    for (std::size_t end = 0; end < proposals.size(); ++end) {
      if (proposals[end].hit >= 0) order.push_back({proposals[end], static_cast<int>(end)});
      open[end] = proposals[end].hit >= 0;
      proposals[end] = {};
    }
    std::sort(order.begin(), order.end());
    for (const auto& [proposal, end] : order) {
      const int track = end / 2;
      Path& path = paths_[track];
      if (label_[proposal.hit] >= 0 || crossing(path, layer_[proposal.hit]) != path.end()) continue;
      label_[proposal.hit] = first_ + track;
      path.insert(end % 2 == 1 ? path.end() : path.begin(), Crossing{proposal.hit, -1});
    }
    return !order.empty();
  }

  /// Length of a path in edges less what its bends cost.
  float score(const Path& path, float penalty) const {
    float chi2 = 0;
    for (std::size_t i = 2; i < path.size(); ++i) chi2 += bend(path[i - 2], path[i - 1], path[i]);
    return static_cast<float>(path.size()) - 1 - penalty * chi2;
  }

  /// The smallest chi2 of hits on three layers; 1 where none pass, or the windows have no such triple.
  float bend(const Crossing& a, const Crossing& b, const Crossing& c) const {
    const Window* window = reach_.window(layer_[a.hit], layer_[b.hit], layer_[c.hit]);
    if (window == nullptr) return 1;
    float least = 1;
    for (const std::int32_t inner : {a.hit, a.twin})
      for (const std::int32_t middle : {b.hit, b.twin})
        for (const std::int32_t outer : {c.hit, c.twin}) {
          if (inner < 0 || middle < 0 || outer < 0) continue;
          const End in = end_of(hits_.position + 3 * middle, hits_.position + 3 * inner, true),
                    out = end_of(hits_.position + 3 * outer, hits_.position + 3 * middle, true);
          const Chi2 x = triplet_chi2(*window, in.kappa, in.cot, in.inverse_d2, splat(out.kappa), splat(out.cot),
                                      splat(out.inverse_d2));
          if (x.top[0] < x.bottom[0]) least = std::min(least, x.top[0] / x.bottom[0]);
        }
    return least;
  }

  const Hits hits_;
  const Reach& reach_;
  const std::int16_t* layer_;
  std::int64_t* label_;
  std::int64_t first_ = 0;  // lowest number of a track of this event
  Grid grid_;
  std::vector<Path> paths_;
};

}  // namespace

Array<std::int64_t> complete(Hits hits, const std::int64_t* track_id, const Windows& w, float penalty, float min_score,
                             int min_hits) {
  Array<std::int64_t> label(track_id, track_id + hits.n);
  if (hits.n == 0) return label;
  const Array<std::int16_t> layer = assign_layers(hits, w);
  const Reach reach(w);
  for_each_event(hits, [&](std::int64_t k, const Hits& of_event) {
    const std::int64_t first = hits.events.begin[k];
    Completion tracks(of_event, w, reach, layer.data() + first, label.data() + first);
    tracks.run();
    tracks.drop(penalty, min_score, min_hits);
  });
  std::vector<std::int64_t> number(1 + std::max<std::int64_t>(*std::max_element(label.begin(), label.end()), 0), -1);
  number_by_first_hit(label.data(), hits.n, number);
  return label;
}

}  // namespace beampipe
