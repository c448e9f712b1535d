// One pass over the events of a file or of a table: leading pair, cuts and cut flow; then a table of the selected
// events, their histograms for all weights, variations of jets and bootstrap replicas, or both.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "loops.hpp"
#include "numbers.hpp"
#include "selection.hpp"

namespace calibration {

/// Numbers of a column, as in a file or a table; those of the segment begin at index `first`.
struct Column {
  const std::uint8_t* data = nullptr;  // nullptr: no such column
  bool big = false;
  std::int64_t first = 0;

  /// Number k of the segment. kBig: the column is big-endian, which the compiler then knows.
  template <typename T, bool kBig = false>
  T at(std::int64_t k) const {
    return load<T>(data + static_cast<std::int64_t>(sizeof(T)) * (first + k), kBig || big);
  }
};

/// Consecutive events.
struct Segment {
  std::int64_t n = 0;
  Column run, event, trigger, weight, pt, eta, clean, n_trk, label, region;
  std::vector<Column> varied_n_trk;
  std::vector<Column> floats;             // other columns of jets: scores, and columns for the table
  const std::int64_t* offsets = nullptr;  // (n + 1,) first jet of each event in `pt`
  std::int64_t n_weights = 0;             // number of weights of an event in the column
};

/// Rule that assigns jets to regions; see `Regions`. Limits are float32, for the same comparisons as in numpy.
struct RegionRule {
  bool split_by_eta;
  float min_gap, split;
  void assign(Pairs& pairs) const;
};

/// Settings of the selection.
struct Selection {
  Cuts cuts;
  double margin, scale, square_scale;  // scales: units in a weight of 1, and in a squared weight of 1
  RegionRule regions;
  std::vector<std::int8_t> flavours;  // by code of a label, from -128 on: -1 no parton, -2 an error; empty: no labels
  std::vector<std::int64_t> weights;  // indices of the weights to keep, nominal first; empty: weights of 1
  float low_pt, high_pt;              // pT [GeV] below and above which the unit is probably wrong
  bool done;                          // whether the events are already selected: a table of pairs
};

/// Axes and variations of the histograms.
struct Histograms {
  Axes axes;
  std::vector<TaggerBins> taggers;
  std::vector<std::int64_t> scores;  // (1 + n_variations, n_taggers): index in `floats`; -1: the tagger is n_trk
  EnergyModel energy;
  std::vector<Variation> variations;
  std::uint64_t dataset, seed;
  std::int64_t n_replicas, n_groups;  // n_groups: at least 1
  const std::uint8_t* poisson;
};

/// Output arrays, as in `Filled`; sums of weights have the rows of all groups of events, one group after the other.
struct Sums {
  std::int64_t n_rows;
  std::int64_t *sumw, *sumw2, *varied_sumw, *varied_sumw2, *replicas, *entries;
};

/// The selected events, as in `Dijets` without runs; columns of jets have two numbers per event.
struct Table {
  std::vector<std::uint64_t> event;
  std::vector<std::uint32_t> entry;
  std::vector<std::uint16_t> jet;
  std::vector<float> weight, pt, eta;
  std::vector<std::uint16_t> n_trk;
  std::vector<std::int8_t> label, region;
  std::vector<std::vector<std::uint16_t>> varied_n_trk;
  std::vector<std::vector<float>> floats;
};

/// Counts over all events.
struct Counts {
  std::int64_t events[kNCuts] = {}, weights[kNCuts] = {};  // by the last cut that an event passes
  std::int64_t all = 0, selected = 0, pairs = 0, labels = 0, unmatched = 0, low = 0, high = 0;
  std::uint32_t run = 0;
  std::uint64_t first = 0, last = 0;
  bool any = false, ordered = true;  // ordered: one run with rising event numbers
  double size = 0, square = 0;       // sums over selected events of the largest |weight| and of its square
};

class Filler {
public:
  /// Without rows in `sums` no histograms are filled. table_rows: the largest number of rows of the table; 0: no table.
  Filler(Selection selection, Histograms histograms, Sums sums, std::int64_t table_rows);

  /// Add a segment. Returns nullptr, or why an event is refused; the filler cannot be used after that.
  const char* add(const Segment& segment);

  /// Complete the sums of the variations and the cut flow; call it once, at the end.
  void finish();

  Counts counts;
  Table table;

private:
  std::uint32_t run_of(const Segment& segment, std::int64_t event) const;
  std::uint64_t key_of(const Segment& segment, std::uint64_t dataset, std::int64_t e) const;
  void note_numbers(const Segment& segment, std::int64_t n);
  bool falls(const Segment& segment) const;
  const char* read_nominal(const Segment& segment, std::int64_t n);
  template <bool kBig>
  const char* read_pairs(const Segment& segment, std::int64_t n);
  void count(int last, std::int64_t event);
  void choose_pairs();
  const char* read_kept(const Segment& segment);
  void append(const Segment& segment);
  void fill(const Segment& segment);
  void find_bins(const Segment& segment, std::size_t variation, const Pairs& pairs, std::int64_t k, std::int64_t e,
                 std::int64_t* bins) const;
  void add_all_weights(std::size_t n_cells);
  void add_replicas(const Segment& segment, std::size_t n_cells);
  void fill_variations(const Segment& segment);
  void move(std::size_t variation, std::int64_t e, std::int64_t i, std::int64_t group);

  Selection selection_;
  Histograms histograms_;
  Sums sums_;
  bool first_columns_ = true, shifts_ = false, scored_ = false, falling_ = false;
  std::int64_t table_rows_, n_weights_;
  std::vector<std::uint64_t> blocks_;
  std::vector<std::int64_t> times_;

  // Of a block of events, whose first one is event `begin_` of the segment.
  std::int64_t begin_ = 0;
  std::vector<float> nominal_;
  std::vector<std::int64_t> units_, squares_;

  // Of the pairs of jets of the block, and of those that are kept.
  std::unique_ptr<Pairs> pairs_ = std::make_unique<Pairs>(), varied_ = std::make_unique<Pairs>();
  std::vector<float> weights_, largest_;  // weights: padded with zeros
  std::vector<std::int64_t> kept_, groups_, bins_, varied_bins_;
  struct {
    std::vector<std::int64_t> row, of_group, pair;  // in the sums of all events and of a group; index in `kept_`
    std::vector<std::int32_t> next;                 // another cell with the same row of a group; -1: none
  } cells_;                                         // of their jets, if they are counted
  std::vector<std::int32_t> last_cells_;            // of each row of the groups; -1: none
  std::vector<CellEvents> occupied_;
  std::vector<std::int64_t> events_;
};

}  // namespace calibration
