#include "filler.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "loops.hpp"

namespace calibration {

/// Number of events whose weights are fetched into the cache in advance.
constexpr std::size_t kAhead = 8;

void RegionRule::assign(Pairs& pairs) const {
  for (std::int64_t e = 0; e < pairs.n; ++e) {
    const float first = std::fabs(pairs.eta[0][e]), second = std::fabs(pairs.eta[1][e]);
    const bool apart = split_by_eta || !(min_gap > 0 && std::fabs(first - second) < min_gap);
    const bool leading = split_by_eta ? first < split : first < second;
    const bool subleading = split_by_eta ? second < split : !leading;
    pairs.region[0][e] = apart ? leading : -1;
    pairs.region[1][e] = apart ? subleading : -1;
  }
}

Filler::Filler(Selection selection, Histograms histograms, Sums sums, std::int64_t table_rows)
    : selection_(std::move(selection)), histograms_(std::move(histograms)), sums_(sums), table_rows_(table_rows) {
  n_weights_ = std::max<std::int64_t>(static_cast<std::int64_t>(selection_.weights.size()), 1);
  for (std::size_t k = 0; k < selection_.weights.size(); ++k)
    first_columns_ &= selection_.weights[k] == static_cast<std::int64_t>(k);
  for (TaggerBins& tagger : histograms_.taggers) tagger.look_up(1024);
  for (const std::int64_t index : histograms_.scores) scored_ |= index >= 0;
  for (const Variation& each : histograms_.variations) shifts_ |= each.kind != Variation::kTracks;
  const std::int64_t n_blocks = (histograms_.n_replicas + 3) / 4;
  for (std::int64_t b = 0; b < n_blocks; ++b) blocks_.push_back(mix(histograms_.seed + static_cast<std::uint64_t>(b)));
  times_.resize(4 * n_blocks);
  const std::size_t n_bins = 2 * kBlock * histograms_.taggers.size();
  nominal_.assign(kBlock, 1.0F), units_.resize(kBlock), squares_.resize(kBlock);
  weights_.resize(kBlock * padded(n_weights_)), largest_.resize(kBlock), kept_.reserve(kBlock);
  bins_.resize(n_bins), varied_bins_.resize(n_bins);
  for (auto* each : {&cells_.row, &cells_.of_group, &cells_.pair}) each->resize(n_bins);
  cells_.next.resize(n_bins);
  if (n_weights_ > 1) last_cells_.assign(sums_.n_rows * histograms_.n_groups, -1);
}

const char* Filler::add(const Segment& segment) {
  falling_ = selection_.done || falls(segment);
  for (begin_ = 0; begin_ < segment.n; begin_ += kBlock) {
    const std::int64_t n = std::min(kBlock, segment.n - begin_);
    note_numbers(segment, n);
    const char* wrong = read_nominal(segment, n);
    const bool big = segment.pt.big && segment.eta.big && segment.n_trk.big;
    if (wrong == nullptr) wrong = big ? read_pairs<true>(segment, n) : read_pairs<false>(segment, n);
    if (wrong == nullptr) choose_pairs();
    if (wrong == nullptr) wrong = read_kept(segment);
    if (wrong != nullptr) return wrong;
    if (table_rows_ > 0) append(segment);
    if (sums_.n_rows > 0) fill(segment);
    counts.all += n;
  }
  return nullptr;
}

std::uint32_t Filler::run_of(const Segment& segment, std::int64_t event) const {
  return segment.run.data == nullptr ? 1 : segment.run.at<std::uint32_t>(begin_ + event);
}

/// Whether there is one run with rising event numbers, and its first and last one.
void Filler::note_numbers(const Segment& segment, std::int64_t n) {
  if (!counts.any) {
    counts.any = true;
    counts.run = run_of(segment, 0);
    counts.first = segment.event.at<std::uint64_t>(begin_);
    counts.ordered = true;
  } else {
    counts.ordered &= segment.event.at<std::uint64_t>(begin_) > counts.last;
  }
  bool ordered = run_of(segment, 0) == counts.run;
  std::uint64_t last = segment.event.at<std::uint64_t>(begin_);
  for (std::int64_t i = 1; i < n; ++i) {
    const auto number = segment.event.at<std::uint64_t>(begin_ + i);
    ordered &= (run_of(segment, i) == counts.run) & (number > last);
    last = number;
  }
  counts.ordered &= ordered;
  counts.last = last;
}

/// Whether the jets of each event are sorted by falling pT, as in most files; the leading ones then come first.
bool Filler::falls(const Segment& segment) const {
  const std::int64_t first = segment.offsets[0], n = segment.offsets[segment.n] - first;
  std::int64_t between = 0;
  for (std::int64_t i = 1; i < segment.n; ++i) {
    const std::int64_t start = segment.offsets[i] - first;
    if (start > segment.offsets[i - 1] - first && start < n)
      between += rises(segment.pt.at<float>(start - 1), segment.pt.at<float>(start));
  }
  return count_rises(segment.pt.data + 4 * first, segment.pt.big, n) == between;
}

const char* Filler::read_nominal(const Segment& segment, std::int64_t n) {
  float largest = 1;
  bool finite = true;
  if (!selection_.weights.empty())
    for (std::int64_t i = 0; i < n; ++i) {
      const float weight = segment.weight.at<float>((begin_ + i) * segment.n_weights), size = std::fabs(weight);
      nominal_[i] = weight;
      finite &= std::isfinite(weight);
      largest = size > largest ? size : largest;
    }
  quantise(nominal_.data(), n, largest, selection_.scale, selection_.square_scale, units_.data(), squares_.data());
  return finite ? nullptr : "a weight is not finite";
}

/// Count an event by the last cut that it passes.
void Filler::count(int last, std::int64_t event) {
  counts.events[last] += 1;
  calibration::add(counts.weights[last], units_[event]);
}

/// kBig: pT, eta and n_trk are big-endian, as in ROOT files.
template <bool kBig>
const char* Filler::read_pairs(const Segment& segment, std::int64_t n) {
  Pairs& pairs = *pairs_;
  const std::int64_t first = segment.offsets[0];
  const auto pt_of = [&](std::int64_t jet) { return segment.pt.at<float, kBig>(jet); };
  std::int64_t m = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool triggered = segment.trigger.data == nullptr || segment.trigger.at<std::uint8_t>(begin_ + i) != 0;
    const std::int64_t from = segment.offsets[begin_ + i] - first, to = segment.offsets[begin_ + i + 1] - first;
    if (!triggered || to - from < 2) {
      count(triggered ? kTrigger : kAll, i);
      continue;
    }
    std::int64_t jets[2] = {from, from + 1};
    if (!falling_) leading_pair(from, to, pt_of, jets);
    bool clean = true;
    for (int j = 0; j < 2; ++j) {
      const std::int64_t jet = pairs.jets[j][m] = jets[j];
      pairs.pt[j][m] = pt_of(jet);
      pairs.eta[j][m] = segment.eta.at<float, kBig>(jet);
      if (!std::isfinite(pairs.pt[j][m]) || !std::isfinite(pairs.eta[j][m]))
        return "a pT or eta of a leading jet is not finite";
      if (segment.clean.data != nullptr) clean &= segment.clean.at<std::uint8_t>(jet) != 0;
      pairs.n_trk[j][m] = segment.n_trk.at<std::uint16_t, kBig>(jet);
      pairs.flavour[j][m] = 0;
      if (selection_.flavours.empty()) continue;
      const std::int8_t flavour = selection_.flavours[segment.label.at<std::int8_t>(jet) + 128];
      if (flavour < -1) return "the layout does not expect the label of a leading jet";
      pairs.flavour[j][m] = flavour;
    }
    pairs.clean[m] = clean;
    pairs.weight[m] = nominal_[i];
    pairs.event[m++] = i;
  }
  pairs.n = m;
  return nullptr;
}

/// Choose the pairs that some variation may select, and count events by cuts.
void Filler::choose_pairs() {
  Pairs& pairs = *pairs_;
  const auto low_pt = static_cast<float>(selection_.cuts.min_subleading_pt);
  for (std::int64_t e = 0; e < pairs.n; ++e) {
    const bool looked_at = !selection_.flavours.empty() && pairs.pt[1][e] > low_pt;
    counts.labels += 2 * looked_at;
    counts.unmatched += looked_at * ((pairs.flavour[0][e] < 0) + (pairs.flavour[1][e] < 0));
    counts.low += pairs.pt[0][e] < selection_.low_pt;
    counts.high += pairs.pt[0][e] > selection_.high_pt;
  }
  counts.pairs += pairs.n;
  std::int32_t last[kBlock], kept[kBlock];
  choose(pairs, selection_.cuts, selection_.margin, last, kept);
  kept_.resize(pairs.n);
  std::int64_t n = 0;
  for (std::int64_t e = 0; e < pairs.n; ++e) {
    count(last[e], pairs.event[e]);
    kept_[n] = e;
    n += selection_.done || kept[e];
  }
  kept_.resize(n);
  counts.selected += n;
}

/// Read what is needed of kept pairs only.
const char* Filler::read_kept(const Segment& segment) {
  Pairs& pairs = *pairs_;
  selection_.regions.assign(pairs);
  const int n_checked = segment.floats.empty() && segment.region.data == nullptr ? 0 : 2;
  for (std::size_t k = 0; k < kept_.size(); ++k) {
    const std::int64_t e = kept_[k];
    for (int j = 0; j < n_checked; ++j) {
      const std::int64_t jet = pairs.jets[j][e];
      for (const Column& each : segment.floats)
        if (!std::isfinite(each.at<float>(jet))) return "a number of a leading jet is not finite";
      if (segment.region.data == nullptr) continue;
      pairs.region[j][e] = segment.region.at<std::int8_t>(jet);
      if (pairs.region[j][e] < -1 || pairs.region[j][e] > 1) return "a region is neither 0, 1 nor -1";
    }
    double size = std::fabs(pairs.weight[e]);
    if (n_weights_ > 1) {
      const auto weights_of = [&](std::size_t i) {
        return segment.weight.data + 4 * (segment.weight.first + (begin_ + pairs.event[kept_[i]]) * segment.n_weights);
      };
      const std::uint8_t* ahead = weights_of(std::min(k + kAhead, kept_.size() - 1));
      for (std::int64_t byte = 0; byte < 4 * n_weights_; byte += 64) __builtin_prefetch(ahead + byte);
      size = largest_[k] =
          load_weights(weights_of(k), segment.weight.big, first_columns_ ? nullptr : selection_.weights.data(),
                       n_weights_, weights_.data() + k * padded(n_weights_));
      if (!std::isfinite(size)) return "a weight is not finite";
    }
    counts.size += size;
    counts.square += size * size;
  }
  return nullptr;
}

/// Add the kept pairs to the table; if they are also filled, without the columns of variations.
void Filler::append(const Segment& segment) {
  const Pairs& pairs = *pairs_;
  const bool alone = sums_.n_rows > 0;
  const std::size_t n_weights = alone ? 1 : n_weights_, stride = padded(n_weights_);
  const auto of_pairs = [&](auto& column, std::size_t width, auto number) {
    const std::size_t before = column.size();
    column.reserve(width * table_rows_);
    column.resize(before + width * kept_.size());
    auto* out = column.data() + before;
    for (std::size_t k = 0; k < kept_.size(); ++k)
      for (std::size_t i = 0; i < width; ++i) *out++ = static_cast<std::decay_t<decltype(*out)>>(number(k, i));
  };
  const auto of_events = [&](auto& column, auto number) {
    of_pairs(column, 1, [&](std::size_t k, std::size_t) { return number(pairs.event[kept_[k]]); });
  };
  const auto of_jets = [&](auto& column, const auto& numbers) {
    of_pairs(column, 2, [&](std::size_t k, std::size_t j) { return numbers[j][kept_[k]]; });
  };
  const auto of_columns = [&](auto& columns, const std::vector<Column>& from) {
    columns.resize(from.size());
    for (std::size_t c = 0; c < from.size(); ++c)
      of_pairs(columns[c], 2, [&](std::size_t k, std::size_t j) {
        return from[c].at<typename std::decay_t<decltype(columns[c])>::value_type>(pairs.jets[j][kept_[k]]);
      });
  };
  of_events(table.event, [&](std::int64_t event) { return segment.event.at<std::uint64_t>(begin_ + event); });
  of_events(table.entry, [&](std::int64_t event) { return counts.all + event; });
  of_pairs(table.weight, n_weights, [&](std::size_t k, std::size_t i) {
    return n_weights > 1 ? weights_[k * stride + i] : pairs.weight[kept_[k]];
  });
  of_pairs(table.jet, 2, [&](std::size_t k, std::size_t j) {
    return pairs.jets[j][kept_[k]] + segment.offsets[0] - segment.offsets[begin_ + pairs.event[kept_[k]]];
  });
  of_jets(table.pt, pairs.pt), of_jets(table.eta, pairs.eta), of_jets(table.n_trk, pairs.n_trk);
  of_jets(table.label, pairs.flavour), of_jets(table.region, pairs.region);
  if (!alone) of_columns(table.varied_n_trk, segment.varied_n_trk);
  of_columns(table.floats, segment.floats);
}

std::uint64_t Filler::key_of(const Segment& segment, std::uint64_t dataset, std::int64_t e) const {
  const std::int64_t event = pairs_->event[e];
  return event_key(dataset, run_of(segment, event), segment.event.at<std::uint64_t>(begin_ + event));
}

/// Bins of both jets of pair k for every tagger, by n_trk or by the scores of a variation of pair e of the block;
/// variation 0 is the nominal case.
inline void Filler::find_bins(const Segment& segment, std::size_t variation, const Pairs& pairs, std::int64_t k,
                              std::int64_t e, std::int64_t* bins) const {
  const std::size_t n_taggers = histograms_.taggers.size();
  for (int j = 0; j < 2; ++j)
    for (std::size_t t = 0; t < n_taggers; ++t) {
      const TaggerBins& tagger = histograms_.taggers[t];
      std::int64_t& bin = bins[(2 * k + j) * n_taggers + t];
      const std::int64_t index = scored_ ? histograms_.scores[variation * n_taggers + t] : -1;
      bin = index < 0 ? tagger.of_tracks(pairs.n_trk[j][k])
                      : tagger.of(segment.floats[index].at<float>(pairs_->jets[j][e]));
    }
}

/// Add the kept pairs to the histograms.
void Filler::fill(const Segment& segment) {
  Pairs& pairs = *pairs_;
  const std::size_t n_taggers = histograms_.taggers.size();
  find_rows(pairs, histograms_.axes, selection_.cuts);
  const auto n_groups = static_cast<std::uint64_t>(histograms_.n_groups);
  groups_.assign(kept_.size(), 0);
  std::size_t n_cells = 0;
  for (std::size_t k = 0; k < kept_.size(); ++k) {
    const std::int64_t e = kept_[k];
    find_bins(segment, 0, pairs, e, e, bins_.data());
    if (n_groups > 1)
      groups_[k] = static_cast<std::int64_t>((key_of(segment, histograms_.dataset, e) >> 32) % n_groups) * sums_.n_rows;
    for (int j = 0; j < 2; ++j)
      for (std::size_t t = 0; t < n_taggers; ++t) {
        // What is written for a jet that is not counted is overwritten by the next one.
        cells_.row[n_cells] = pairs.rows[j][e] + bins_[(2 * e + j) * n_taggers + t];
        cells_.of_group[n_cells] = cells_.row[n_cells] + groups_[k];
        cells_.pair[n_cells] = static_cast<std::int64_t>(k);
        n_cells += pairs.rows[j][e] >= 0;
      }
  }
  for (std::size_t c = 0; c < n_cells; ++c) sums_.entries[cells_.row[c]] += 1;
  if (n_weights_ > 1) {
    add_all_weights(n_cells);
  } else {
    for (std::size_t c = 0; c < n_cells; ++c) {
      const std::int64_t event = pairs.event[kept_[cells_.pair[c]]];
      calibration::add(sums_.sumw[cells_.of_group[c]], units_[event]);
      calibration::add(sums_.sumw2[cells_.row[c]], squares_[event]);
    }
  }
  if (histograms_.n_replicas > 0) add_replicas(segment, n_cells);
  if (!histograms_.variations.empty()) fill_variations(segment);
}

/// Add all weights of the kept pairs, one cell after the other: its sums are then read and written once.
void Filler::add_all_weights(std::size_t n_cells) {
  const double scale = selection_.scale, square_scale = selection_.square_scale;
  std::vector<std::int64_t> units(n_weights_), squares(n_weights_);
  for (std::size_t c = 0; c < n_cells; ++c) {
    const std::int64_t k = cells_.pair[c];
    if (fits(largest_[k], scale, square_scale)) {
      std::int32_t& last = last_cells_[cells_.of_group[c]];
      cells_.next[c] = last;
      if (last < 0) occupied_.push_back({cells_.row[c], cells_.of_group[c], 0, 0});
      last = static_cast<std::int32_t>(c);
      continue;
    }
    const float* weights = weights_.data() + k * padded(n_weights_);
    quantise(weights, n_weights_, largest_[k], scale, square_scale, units.data(), squares.data());
    calibration::add_all(sums_.sumw + cells_.of_group[c] * n_weights_, units.data(), n_weights_);
    calibration::add_all(sums_.sumw2 + cells_.row[c] * n_weights_, squares.data(), n_weights_);
  }
  for (CellEvents& each : occupied_) {
    std::int32_t& last = last_cells_[each.of_group];
    each.begin = static_cast<std::int64_t>(events_.size());
    for (; last >= 0; last = cells_.next[last]) events_.push_back(cells_.pair[last]);
    each.end = static_cast<std::int64_t>(events_.size());
  }
  add_weights(occupied_, events_.data(), weights_.data(), n_weights_, scale, square_scale, sums_.sumw, sums_.sumw2);
  occupied_.clear(), events_.clear();
}

void Filler::add_replicas(const Segment& segment, std::size_t n_cells) {
  std::int64_t drawn = -1;
  for (std::size_t c = 0; c < n_cells; ++c) {
    const std::int64_t e = kept_[cells_.pair[c]];
    if (e != drawn)
      draw(key_of(segment, histograms_.dataset, e), blocks_.data(), static_cast<std::int64_t>(blocks_.size()),
           histograms_.poisson, units_[pairs_->event[e]], times_.data());
    drawn = e;
    add_all(sums_.replicas + cells_.row[c] * histograms_.n_replicas, times_.data(), histograms_.n_replicas);
  }
}

void Filler::fill_variations(const Segment& segment) {
  const Pairs& pairs = *pairs_;
  Pairs& varied = *varied_;
  const EnergyModel& model = histograms_.energy;
  Points points;
  std::uint64_t keys[kBlock];
  double heights[2][kBlock];
  std::int64_t changed[kBlock], n = 0;
  if (shifts_) {
    find_points(pairs, model, points);
    for (const std::int64_t e : kept_) keys[e] = key_of(segment, 0, e);
  }
  for (std::size_t v = 0; v < histograms_.variations.size(); ++v) {
    const Variation &each = histograms_.variations[v], *previous = v == 0 ? nullptr : &each - 1;
    const bool tracks = each.kind == Variation::kTracks;
    // Most parameters of the jet energy do not change most jets. Up and down change the same ones.
    if (previous == nullptr || each.kind != previous->kind || each.number != previous->number) {
      if (!tracks) find_heights(points, model, each, pairs.n, heights);
      const bool all = tracks || scored_;
      n = 0;
      for (std::size_t k = 0; k < kept_.size(); ++k) {
        changed[n] = static_cast<std::int64_t>(k);
        n += all | (heights[0][kept_[k]] > 0) | (heights[1][kept_[k]] > 0);
      }
    }
    varied.n = n;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t e = kept_[changed[i]];
      for (int j = 0; j < 2; ++j) {
        const float pt = pairs.pt[j][e];
        varied.pt[j][i] = tracks ? pt : shifted_pt(model, each, pt, heights[j][e], keys[e], j);
        varied.n_trk[j][i] =
            tracks ? segment.varied_n_trk[each.number].at<std::uint16_t>(pairs.jets[j][e]) : pairs.n_trk[j][e];
        varied.eta[j][i] = pairs.eta[j][e];
        varied.region[j][i] = pairs.region[j][e];
        varied.flavour[j][i] = pairs.flavour[j][e];
      }
    }
    find_rows(varied, histograms_.axes, selection_.cuts);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t e = kept_[changed[i]];
      const auto same = [&](int j) {
        return varied.rows[j][i] == pairs.rows[j][e] && varied.n_trk[j][i] == pairs.n_trk[j][e];
      };
      if (!scored_ && same(0) && same(1)) continue;
      find_bins(segment, v + 1, varied, i, e, varied_bins_.data());
      move(v, e, i, groups_[changed[i]]);
    }
  }
}

/// Move pair e from its nominal bins, which `finish` adds to all variations, to its bins in a variation as varied pair i.
void Filler::move(std::size_t variation, std::int64_t e, std::int64_t i, std::int64_t group) {
  const std::size_t n_taggers = histograms_.taggers.size();
  const std::int64_t unit = units_[pairs_->event[e]], square = squares_[pairs_->event[e]];
  std::int64_t* sumw = sums_.varied_sumw + variation * histograms_.n_groups * sums_.n_rows + group;
  std::int64_t* sumw2 = sums_.varied_sumw2 + variation * sums_.n_rows;
  for (int j = 0; j < 2; ++j)
    for (std::size_t t = 0; t < n_taggers; ++t) {
      const std::int64_t before = bins_[(2 * e + j) * n_taggers + t], now = varied_bins_[(2 * i + j) * n_taggers + t];
      const std::int64_t row = pairs_->rows[j][e], new_row = varied_->rows[j][i];
      if (row == new_row && before == now) continue;
      if (row >= 0) {
        calibration::add(sumw[row + before], -unit);
        calibration::add(sumw2[row + before], -square);
      }
      if (new_row >= 0) {
        calibration::add(sumw[new_row + now], unit);
        calibration::add(sumw2[new_row + now], square);
      }
    }
}

void Filler::finish() {
  const std::int64_t of_groups = histograms_.n_groups * sums_.n_rows;
  for (std::size_t k = 0; k < histograms_.variations.size(); ++k) {
    std::int64_t *sumw = sums_.varied_sumw + k * of_groups, *sumw2 = sums_.varied_sumw2 + k * sums_.n_rows;
    for (std::int64_t row = 0; row < of_groups; ++row) calibration::add(sumw[row], sums_.sumw[row * n_weights_]);
    for (std::int64_t row = 0; row < sums_.n_rows; ++row) calibration::add(sumw2[row], sums_.sumw2[row * n_weights_]);
  }
  // An event that passes a cut has passed all cuts before it.
  for (int cut = kNCuts - 1; cut > 0; --cut) {
    counts.events[cut - 1] += counts.events[cut];
    calibration::add(counts.weights[cut - 1], counts.weights[cut]);
  }
}

}  // namespace calibration
