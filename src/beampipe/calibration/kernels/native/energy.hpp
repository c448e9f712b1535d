// Shifts of the jet energy; the model, and the order of its operations, are those of jets/energy.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "numbers.hpp"

namespace calibration {

/// As `EnergyModel` in jets/energy.py.
struct EnergyModel {
  double scale, resolution, widening, low_pt, high_pt, last_eta;
  std::int64_t pt_nodes, eta_nodes, resolution_nodes;
  std::uint64_t noise_seed;
};

/// Height of node `node` of `n` at x.
inline double triangle(double x, std::int64_t node, std::int64_t n) {
  if (n == 1) return 1.0;
  const double above = x > 0 ? x : 0.0, kept = above < 1 ? above : 1.0;
  const double height = 1 - std::fabs(kept * static_cast<double>(n - 1) - static_cast<double>(node));
  return height > 0 ? height : 0.0;
}

/// What the parameters do to one jet.
class Shifts {
public:
  explicit Shifts(const EnergyModel& model) : model_(model) {}

  void at(float pt, float eta) {
    pt_ = (static_cast<double>(pt) - model_.low_pt) / (model_.high_pt - model_.low_pt);
    eta_ = std::fabs(static_cast<double>(eta)) / model_.last_eta;
  }

  /// 0 where the factor is 1.
  double scale_height(std::int64_t number) const {
    return triangle(pt_, number % model_.pt_nodes, model_.pt_nodes) *
           triangle(eta_, number / model_.pt_nodes, model_.eta_nodes);
  }

  double widening(std::int64_t number) const {
    return model_.widening * triangle(pt_, number, model_.resolution_nodes);
  }

  double scaled(double sign, double height) const { return 1 + sign * model_.scale * height; }

  double smeared(double sign, double widening, double noise) const {
    const double wide = 1 + widening;
    return 1 + sign * model_.resolution * std::sqrt(wide * wide - 1) * noise;
  }

private:
  const EnergyModel& model_;
  double pt_ = 0, eta_ = 0;
};

/// A random number of mean 0 and variance 1 of an event and a jet.
inline double noise(std::uint64_t key, std::int64_t number, int jet, std::uint64_t seed) {
  const std::uint64_t bits = mix(key + mix(static_cast<std::uint64_t>(2 * number + jet) + seed));
  double parts = 0;
  for (int c = 0; c < 4; ++c) parts += static_cast<double>((bits >> (16 * c)) & 0xFFFF);
  return (parts / 65536 - 2 + 2.0 / 65536) * 1.7320508075688772;
}

}  // namespace calibration
