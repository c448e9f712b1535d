// Everything that becomes of the events of a file, in one pass over them: choice of the pair, cuts, cut flow,
// histograms of all weights, of all variations of jets and of all replicas.
#pragma once

#include <cstdint>
#include <vector>

#include "axes.hpp"
#include "cuts.hpp"
#include "energy.hpp"

namespace calibration {

/// Numbers of a column as a file holds them. `first` is where those of the segment begin.
struct Column {
  const std::uint8_t* data = nullptr;  // nullptr: the file has no such column
  bool big = false;
  std::int64_t first = 0;
};

/// Events that follow each other in a file. Of columns of jets only those of `pt` have their offsets here.
struct Segment {
  std::int64_t n = 0;
  Column run, event, trigger, weight, pt, eta, clean, n_trk, label;
  std::vector<Column> varied_n_trk;
  const std::int64_t* offsets = nullptr;  // (n + 1,) of `pt`
  std::int64_t n_weights = 0;             // of an event, in the file
};

/// Which jet of a pair is forward; see `Regions`. Limits are of float32, as numpy compares them.
struct RegionRule {
  bool split_by_eta;
  float min_gap, split;
  void assign(const float* eta, std::int8_t* region) const;
};

/// A variation of the jets: another n_trk, or a shift of the jet energy.
struct Variation {
  enum Kind : int { kTracks, kScale, kResolution } kind;
  std::int64_t number;  // of the column of n_trk, or of the parameter
  double sign;
};

struct Settings {
  Cuts cuts;
  double margin, scale;
  Axes axes;
  std::vector<TaggerBins> taggers;
  RegionRule regions;
  std::vector<std::int8_t> flavours;  // by code of the label, from -128 on: -1 none, -2 refused; empty: no labels
  std::vector<std::int64_t> weights;  // places of the wanted weights, nominal first; empty: all weigh 1
  EnergyModel energy;
  std::vector<Variation> variations;
  float low_pt, high_pt;  // limits of pT [GeV] of what looks like another unit
  std::uint64_t dataset, seed;
  std::int64_t n_replicas;
  const std::uint8_t* poisson;
};

/// Arrays to add to; as in `Filled`.
struct Sums {
  std::int64_t n_rows;
  std::int64_t *sumw, *sumw2, *varied_sumw, *varied_sumw2, *replicas, *entries;
};

/// What was seen on the way.
struct Seen {
  std::int64_t events[kNCuts] = {}, weights[kNCuts] = {};  // whose last passed cut this is
  std::int64_t selected = 0, pairs = 0, labels = 0, unmatched = 0, low = 0, high = 0;
  std::uint32_t run = 0;
  std::uint64_t first = 0, last = 0;
  bool any = false, ordered = true;  // ordered: one run, and event numbers rise
  double size = 0, square = 0;       // sums over selected events of their largest weight in size, and of its square
};

class Filler {
public:
  Filler(Settings settings, Sums sums);

  /// Add a segment. False, and of no use from then on, if it needs a closer look: what is wrong is for others to say.
  bool add(const Segment& segment);

  /// Complete the sums of the variations and the cut flow. To be called once.
  void finish();

  Seen seen;

private:
  /// A selected event.
  struct Event {
    Pair pair;
    std::int8_t region[2], flavour[2];
    std::uint32_t run;
    std::uint64_t number;
    std::int64_t rows[2], unit, square;
  };

  void note_event(const Segment& segment, std::int64_t i, Event& event);
  bool falls(const Segment& segment) const;
  bool read_pair(const Segment& segment, std::int64_t i, Event& event);
  bool fill(const Segment& segment, std::int64_t i, float weight, Event& event);
  void fill_replicas(const Event& event);
  void fill_variations(const Segment& segment, const Event& event);
  void move(std::int64_t k, const Event& event, const float* pt, const std::uint16_t* n_trk);

  Settings settings_;
  Sums sums_;
  bool first_columns_, shifts_, falling_ = false;
  std::int64_t place_[2] = {};  // of the pair in the columns of jets, from the segment's first jet on
  std::vector<std::int64_t> units_, squares_, times_;
  std::vector<std::uint32_t> room_;
  std::vector<std::uint64_t> blocks_;
};

}  // namespace calibration
