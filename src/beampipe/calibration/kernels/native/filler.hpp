// Everything that is done with the events of a file or of a table, in one pass over them: choice of the leading pair,
// cuts and cut flow; then a table of the selected events, or their histograms for all weights, variations of jets and
// bootstrap replicas, or both.
#pragma once

#include <cstdint>
#include <vector>

#include "selection.hpp"

namespace calibration {

/// Numbers of a column as a file or a table holds them. `first` is where those of the segment begin.
struct Column {
  const std::uint8_t* data = nullptr;  // nullptr: there is no such column
  bool big = false;
  std::int64_t first = 0;
};

/// Consecutive events. Of the columns of jets only `pt` has its offsets here.
struct Segment {
  std::int64_t n = 0;
  Column run, event, trigger, weight, pt, eta, clean, n_trk, label, region;
  std::vector<Column> varied_n_trk;
  std::vector<Column> floats;             // other numbers of jets: scores, and what only the table keeps
  const std::int64_t* offsets = nullptr;  // (n + 1,) of `pt`
  std::int64_t n_weights = 0;             // of an event, in the column
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

/// What decides which events are selected.
struct Selection {
  Cuts cuts;
  double margin, scale;
  RegionRule regions;
  std::vector<std::int8_t> flavours;  // by code of the label, from -128 on: -1 none, -2 refused; empty: no labels
  std::vector<std::int64_t> weights;  // places of the wanted weights, nominal first; empty: all weigh 1
  float low_pt, high_pt;              // limits of pT [GeV] of what looks like another unit
  bool done;  // whether the events are a table of selected ones, whose pairs are taken as they are
};

/// Axes and variations of the histograms.
struct Histograms {
  Axes axes;
  std::vector<TaggerBins> taggers;
  std::vector<std::int64_t> scores;  // (1 + n_variations, n_taggers): places in `floats`; -1: n_trk is what is counted
  EnergyModel energy;
  std::vector<Variation> variations;
  std::uint64_t dataset, seed;
  std::int64_t n_replicas, n_groups;  // n_groups: at least 1
  const std::uint8_t* poisson;
};

/// Arrays to add to; as in `Filled`, but sums of weights have the rows of one group of events after the other.
struct Sums {
  std::int64_t n_rows;
  std::int64_t *sumw, *sumw2, *varied_sumw, *varied_sumw2, *replicas, *entries;
};

/// The selected events, as in `Dijets`; what is of jets has two numbers per event.
struct Table {
  std::vector<std::uint32_t> run;
  std::vector<std::uint64_t> event;
  std::vector<float> weight, pt, eta;
  std::vector<std::uint16_t> n_trk;
  std::vector<std::int8_t> label, region;
  std::vector<std::vector<std::uint16_t>> varied_n_trk;
  std::vector<std::vector<float>> floats;
};

/// What was seen on the way.
struct Seen {
  std::int64_t events[kNCuts] = {}, weights[kNCuts] = {};  // whose last passed cut this is
  std::int64_t all = 0, selected = 0, pairs = 0, labels = 0, unmatched = 0, low = 0, high = 0;
  std::uint32_t run = 0;
  std::uint64_t first = 0, last = 0;
  bool any = false, ordered = true;  // ordered: one run, and event numbers rise
  double size = 0, square = 0;       // sums over selected events of their largest weight in size, and of its square
};

class Filler {
public:
  /// No histograms are filled if `sums` has no rows.
  Filler(Selection selection, Histograms histograms, Sums sums, bool with_table);

  /// Add a segment. Returns what is wrong with an event, after which the filler is of no use; nullptr if nothing is.
  const char* add(const Segment& segment);

  /// Complete the sums of the variations and the cut flow. To be called once.
  void finish();

  Seen seen;
  Table table;

private:
  /// A selected event.
  struct Event {
    Pair pair;
    std::int8_t region[2], flavour[2];
    std::uint32_t run;
    std::uint64_t number;
    std::int64_t group, rows[2], unit, square;
  };

  void note_event(const Segment& segment, std::int64_t i, Event& event);
  bool falls(const Segment& segment) const;
  const char* read_pair(const Segment& segment, std::int64_t i, Event& event);
  const char* keep(const Segment& segment, std::int64_t i, float weight, Event& event);
  void append(const Segment& segment, const Event& event);
  void fill(const Segment& segment, Event& event);
  void find_bins(const Segment& segment, std::size_t variation, const std::uint16_t* n_trk, std::int64_t* bins) const;
  void fill_replicas(const Event& event, std::uint64_t key);
  void fill_variations(const Segment& segment, const Event& event);
  void move(const Segment& segment, std::size_t k, const Event& event, const float* pt, const std::uint16_t* n_trk);

  Selection selection_;
  Histograms histograms_;
  Sums sums_;
  bool with_table_, first_columns_ = true, shifts_ = false, scored_ = false, falling_ = false;
  std::int64_t place_[2] = {};  // of the pair in the columns of jets, from the segment's first jet on
  std::vector<float> weights_;
  std::vector<std::int64_t> units_, squares_, times_, bins_, varied_bins_;  // bins: those of the first jet come first
  std::vector<std::uint64_t> blocks_;
};

}  // namespace calibration
