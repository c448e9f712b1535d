#include "pipelines/layout/check.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "native/errors.hpp"
#include "pipelines/layout/guess.hpp"

namespace beampipe {
namespace {

constexpr std::int64_t kFewestHits = 20;  // fewer are not judged: one particle beside some noise looks like anything
constexpr std::int64_t kManyHits = 50;    // of a layer; so many lie all over it
constexpr float kThin = 2;           // mm: little more than the margin of a box; hits of thin layers do not fill it
constexpr float kFilled = 0.5;       // part of a layer's extent in r and z
constexpr float kTurn = 6.2831855f;  // [rad]
constexpr float kMostTurns = 2;      // phi counted from anywhere spans one turn, a track that winds a little more
constexpr float kDegrees = 361, kMilliradians = 6300;  // what a turn spans in them, and a little more

struct Range {
  float least, most;
};

/// Least and most of each coordinate.
std::array<Range, 3> ranges(const float* position, std::int64_t n) {
  std::array<Range, 3> found;
  for (int c = 0; c < 3; ++c) found[c] = {position[c], position[c]};
  for (std::int64_t i = 1; i < n; ++i)
    for (int c = 0; c < 3; ++c) {
      const float value = position[3 * i + c];
      found[c].least = std::min(found[c].least, value);
      found[c].most = std::max(found[c].most, value);
    }
  return found;
}

/// The hits on one layer.
struct Filling {
  std::int64_t hits = 0;
  Range r{}, z{};

  void add(float r_hit, float z_hit) {
    if (hits++ == 0) {
      r = {r_hit, r_hit};
      z = {z_hit, z_hit};
      return;
    }
    r = {std::min(r.least, r_hit), std::max(r.most, r_hit)};
    z = {std::min(z.least, z_hit), std::max(z.most, z_hit)};
  }

  /// Whether they fill the layer's box: r_min, r_max, z_min, z_max. A few may lie anywhere.
  bool fills(const float* box) const {
    if (hits < kManyHits) return hits > 0;
    const auto filled = [](const Range& range, float extent) {
      return extent <= kThin || range.most - range.least >= kFilled * extent;
    };
    return filled(r, box[1] - box[0]) && filled(z, box[3] - box[2]);
  }
};

std::string one_digit(float value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

/// An event and what is known of it.
struct Judged {
  const std::string& name;
  const Windows& windows;
  const float* position;
  std::int64_t hits, outside;
  std::string where;  // " in event 2 of 5", where there are several

  /// Such as "7 of 10 hits".
  std::string some() const { return std::to_string(outside) + " of " + std::to_string(hits) + " hits"; }
};

std::string hint_of_phi(const Judged& event, float span) {
  const std::string order = order_that_fits(event.windows, event.position, event.hits);
  if (!order.empty()) return order;
  if (span <= kDegrees) return "these look like degrees: multiply by pi / 180";
  if (span <= kMilliradians) return "these look like mrad: divide by 1000";
  return "is another column taken for phi?";
}

[[noreturn]] void refuse(const Judged& event, const std::string& seen, const std::string& expected,
                         const std::string& hint) {
  throw LayoutError("layout: got " + seen + ", expected " + expected + "; " + hint, event.hits, event.outside, hint);
}

void judge(const Judged& event) {
  const std::string no_layer = " on no layer of " + event.name + event.where;
  const std::string beside = " (" + event.some() + no_layer + ")";
  const std::array<Range, 3> range = ranges(event.position, event.hits);
  const std::array<const char*, 3> names = {"r", "phi", "z"};
  for (int c = 0; c < 3; ++c)
    if (range[c].least == range[c].most)
      refuse(event, std::string(names[c]) + " = " + one_digit(range[c].least) + " in each hit" + beside, "it to vary",
             "was that column read?");
  if (2 * event.outside > event.hits) {
    const std::int64_t percent = (200 * event.outside + event.hits) / (2 * event.hits);
    refuse(event, event.some() + " (" + std::to_string(percent) + " %)" + no_layer, "most of them on its layers",
           what_would_fit(event.windows, event.position, event.hits));
  }
  const float span = range[1].most - range[1].least;
  if (span > kMostTurns * kTurn)
    refuse(event, "phi from " + one_digit(range[1].least) + " to " + one_digit(range[1].most) + beside,
           "rad within one turn", hint_of_phi(event, span));
}

}  // namespace

std::vector<Fit> fits_of(const Windows& windows, const float* position, const std::int16_t* layer,
                         const Blocks& events) {
  std::vector<Fit> fits;
  std::vector<Filling> fillings;
  for (std::int64_t k = 0; k < events.n; ++k) {
    fillings.assign(windows.n_layers, {});
    Fit fit{};
    for (std::int64_t i = events.begin[k]; i < events.begin[k + 1]; ++i) {
      if (layer[i] < 0)
        ++fit.outside;
      else
        fillings[layer[i]].add(position[3 * i], position[3 * i + 2]);
    }
    for (int l = 0; l < windows.n_layers; ++l) fit.unfilled += !fillings[l].fills(windows.layers + 4 * l);
    fits.push_back(fit);
  }
  return fits;
}

void require_layout(const std::string& name, const Windows& windows, const float* position, const Blocks& events,
                    const std::vector<Fit>& fits) {
  for (std::int64_t k = 0; k < events.n; ++k) {
    if (events.size(k) < kFewestHits) continue;
    const std::string where = " in event " + std::to_string(k) + " of " + std::to_string(events.n);
    judge({name, windows, position + 3 * events.begin[k], events.size(k), fits[k].outside, events.n > 1 ? where : ""});
  }
}

}  // namespace beampipe
