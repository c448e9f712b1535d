#include "filler.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "loops.hpp"
#include "numbers.hpp"

namespace calibration {

void RegionRule::assign(const float* eta, std::int8_t* region) const {
  const float first = std::fabs(eta[0]), second = std::fabs(eta[1]);
  if (split_by_eta) {
    region[0] = first < split, region[1] = second < split;
    return;
  }
  region[0] = first < second;
  region[1] = static_cast<std::int8_t>(1 - region[0]);
  if (min_gap > 0 && std::fabs(first - second) < min_gap) region[0] = region[1] = -1;
}

Filler::Filler(Selection selection, Histograms histograms, Sums sums, bool with_table)
    : selection_(std::move(selection)), histograms_(std::move(histograms)), sums_(sums), with_table_(with_table) {
  const auto n = std::max<std::size_t>(selection_.weights.size(), 1), n_taggers = histograms_.taggers.size();
  for (std::size_t k = 0; k < selection_.weights.size(); ++k)
    first_columns_ &= selection_.weights[k] == static_cast<std::int64_t>(k);
  weights_.resize(n), units_.resize(n), squares_.resize(n);
  bins_.resize(2 * n_taggers), varied_bins_.resize(2 * n_taggers);
  for (TaggerBins& tagger : histograms_.taggers) tagger.look_up(1024);
  for (const std::int64_t index : histograms_.scores) scored_ |= index >= 0;
  for (const Variation& each : histograms_.variations) shifts_ |= each.kind != Variation::kTracks;
  const std::int64_t n_blocks = (histograms_.n_replicas + 3) / 4;
  for (std::int64_t b = 0; b < n_blocks; ++b) blocks_.push_back(mix(histograms_.seed + static_cast<std::uint64_t>(b)));
  times_.resize(4 * n_blocks);
}

const char* Filler::add(const Segment& segment) {
  falling_ = selection_.done || falls(segment);
  for (std::int64_t i = 0; i < segment.n; ++i) {
    Event event;
    note_event(segment, i, event);
    float weight = 1;
    if (!selection_.weights.empty()) {
      weight =
          load<float>(segment.weight.data + 4 * (segment.weight.first + i) * segment.n_weights, segment.weight.big);
      if (!std::isfinite(weight)) return "a weight is not finite";
    }
    const std::uint8_t* trigger = segment.trigger.data;
    int last = trigger == nullptr || trigger[segment.trigger.first + i] ? kTrigger : kAll;
    const char* wrong = nullptr;
    if (last == kTrigger && segment.offsets[i + 1] - segment.offsets[i] >= 2) {
      wrong = read_pair(segment, i, event);
      if (wrong != nullptr) return wrong;
      bool kept = true;
      if (!selection_.done) {
        last = last_cut_passed(event.pair, weight, selection_.cuts, kept);
        kept = kept && within_margin(event.pair, selection_.cuts, selection_.margin);
      }
      if (kept) wrong = keep(segment, i, weight, event);
      if (wrong != nullptr) return wrong;
    }
    counts.events[last] += 1;
    calibration::add(counts.weights[last], whole(static_cast<double>(weight) * selection_.scale));
  }
  return nullptr;
}

void Filler::note_event(const Segment& segment, std::int64_t i, Event& event) {
  event.run = segment.run.data == nullptr
                  ? 1
                  : load<std::uint32_t>(segment.run.data + 4 * (segment.run.first + i), segment.run.big);
  event.number = load<std::uint64_t>(segment.event.data + 8 * (segment.event.first + i), segment.event.big);
  if (!counts.any) {
    counts.any = true;
    counts.run = event.run;
    counts.first = event.number;
  } else if (event.run != counts.run || event.number <= counts.last) {
    counts.ordered = false;
  }
  counts.last = event.number;
  counts.all += 1;
}

/// Whether the jets of each event are sorted by falling pT, as in most files; the leading ones then come first.
bool Filler::falls(const Segment& segment) const {
  const std::int64_t first = segment.offsets[0], last = segment.offsets[segment.n];
  const std::uint8_t* pt = segment.pt.data;
  const auto pt_of = [&](std::int64_t j) { return load<float>(pt + 4 * j, segment.pt.big); };
  std::int64_t between = 0;
  for (std::int64_t i = 1; i < segment.n; ++i) {
    const std::int64_t start = segment.offsets[i];
    if (start > segment.offsets[i - 1] && start > first && start < last)
      between += rises(pt_of(start - 1), pt_of(start));
  }
  return count_rises(pt + 4 * first, segment.pt.big, last - first) == between;
}

const char* Filler::read_pair(const Segment& segment, std::int64_t i, Event& event) {
  const std::int64_t begin = segment.offsets[0];
  const auto pt_of = [&](std::int64_t j) { return load<float>(segment.pt.data + 4 * j, segment.pt.big); };
  if (falling_)
    jets_[0] = segment.offsets[i], jets_[1] = jets_[0] + 1;
  else
    leading_pair(segment.offsets[i], segment.offsets[i + 1], pt_of, jets_);
  Pair& pair = event.pair;
  pair.clean = pair.labelled = true;
  for (int j = 0; j < 2; ++j) {
    pair.pt[j] = pt_of(jets_[j]);
    const std::int64_t jet = jets_[j] -= begin;
    pair.eta[j] = load<float>(segment.eta.data + 4 * (segment.eta.first + jet), segment.eta.big);
    if (!std::isfinite(pair.pt[j]) || !std::isfinite(pair.eta[j])) return "a pT or eta of a leading jet is not finite";
    if (segment.clean.data != nullptr) pair.clean &= segment.clean.data[segment.clean.first + jet] != 0;
    pair.n_trk[j] = load<std::uint16_t>(segment.n_trk.data + 2 * (segment.n_trk.first + jet), segment.n_trk.big);
    event.flavour[j] = 0;
    if (selection_.flavours.empty()) continue;
    const auto code = static_cast<std::int8_t>(segment.label.data[segment.label.first + jet]);
    event.flavour[j] = selection_.flavours[code + 128];
    if (event.flavour[j] < -1) return "the layout does not expect the label of a leading jet";
    pair.labelled &= event.flavour[j] >= 0;
  }
  if (!selection_.flavours.empty() && pair.pt[1] > static_cast<float>(selection_.cuts.min_subleading_pt)) {
    counts.labels += 2;
    counts.unmatched += (event.flavour[0] < 0) + (event.flavour[1] < 0);
  }
  counts.pairs += 1;
  counts.low += pair.pt[0] < selection_.low_pt;
  counts.high += pair.pt[0] > selection_.high_pt;
  return nullptr;
}

/// Add a selected event to the table, the histograms, or both.
const char* Filler::keep(const Segment& segment, std::int64_t i, float weight, Event& event) {
  const auto n = static_cast<std::int64_t>(weights_.size());
  counts.selected += 1;
  if (segment.region.data == nullptr) {
    selection_.regions.assign(event.pair.eta, event.region);
  } else {
    for (int j = 0; j < 2; ++j) {
      event.region[j] = static_cast<std::int8_t>(segment.region.data[segment.region.first + jets_[j]]);
      if (event.region[j] < -1 || event.region[j] > 1) return "a region is neither 0, 1 nor -1";
    }
  }
  weights_[0] = weight;
  float largest = std::fabs(weight);
  if (n > 1) {
    const std::uint8_t* weights = segment.weight.data + 4 * (segment.weight.first + i) * segment.n_weights;
    largest = load_weights(weights, segment.weight.big, first_columns_ ? nullptr : selection_.weights.data(), n,
                           weights_.data());
    if (!std::isfinite(largest)) return "a weight is not finite";
  }
  for (const Column& each : segment.floats)
    for (int j = 0; j < 2; ++j)
      if (!std::isfinite(load<float>(each.data + 4 * (each.first + jets_[j]), each.big)))
        return "a number of a leading jet is not finite";
  const double size = largest;
  counts.size += size;
  counts.square += size * size;
  if (with_table_) append(segment, i, event);
  if (sums_.n_rows > 0) {
    quantise(weights_.data(), n, largest, selection_.scale, selection_.square_scale, units_.data(), squares_.data());
    fill(segment, event);
  }
  return nullptr;
}

void Filler::append(const Segment& segment, std::int64_t i, const Event& event) {
  const Pair& pair = event.pair;
  const auto add_pair = [](auto& column, const auto* values) { column.insert(column.end(), values, values + 2); };
  table.run.push_back(event.run);
  table.event.push_back(event.number);
  table.entry.push_back(static_cast<std::uint32_t>(counts.all - 1));
  for (const std::int64_t jet : jets_)
    table.jet.push_back(static_cast<std::uint16_t>(jet - (segment.offsets[i] - segment.offsets[0])));
  table.weight.insert(table.weight.end(), weights_.begin(), weights_.end());
  add_pair(table.pt, pair.pt);
  add_pair(table.eta, pair.eta);
  add_pair(table.n_trk, pair.n_trk);
  add_pair(table.label, event.flavour);
  add_pair(table.region, event.region);
  table.varied_n_trk.resize(segment.varied_n_trk.size());
  for (std::size_t k = 0; k < segment.varied_n_trk.size(); ++k) {
    const Column& column = segment.varied_n_trk[k];
    for (const std::int64_t jet : jets_)
      table.varied_n_trk[k].push_back(load<std::uint16_t>(column.data + 2 * (column.first + jet), column.big));
  }
  table.floats.resize(segment.floats.size());
  for (std::size_t k = 0; k < segment.floats.size(); ++k) {
    const Column& column = segment.floats[k];
    for (const std::int64_t jet : jets_)
      table.floats[k].push_back(load<float>(column.data + 4 * (column.first + jet), column.big));
  }
}

void Filler::fill(const Segment& segment, Event& event) {
  const auto n = static_cast<std::int64_t>(weights_.size());
  const std::size_t n_taggers = histograms_.taggers.size();
  event.unit = units_[0], event.square = squares_[0];
  const Pair& pair = event.pair;
  histograms_.axes.rows(pair.pt, pair.eta, pair.n_trk, event.region, event.flavour, selection_.cuts, event.rows);
  find_bins(segment, 0, pair.n_trk, bins_.data());
  const bool counts = event.rows[0] >= 0 || event.rows[1] >= 0;
  const bool keyed = histograms_.n_groups > 1 || (histograms_.n_replicas > 0 && counts);
  const std::uint64_t key = keyed ? event_key(histograms_.dataset, event.run, event.number) : 0;
  event.group = static_cast<std::int64_t>((key >> 32) % static_cast<std::uint64_t>(histograms_.n_groups));
  for (int j = 0; j < 2; ++j) {
    if (event.rows[j] < 0) continue;
    for (std::size_t t = 0; t < n_taggers; ++t) {
      const std::int64_t row = event.rows[j] + bins_[j * n_taggers + t], of_group = event.group * sums_.n_rows + row;
      sums_.entries[row] += 1;
      if (n == 1) {
        calibration::add(sums_.sumw[of_group], event.unit);
        calibration::add(sums_.sumw2[row], event.square);
      } else {
        add_all(sums_.sumw + of_group * n, units_.data(), n);
        add_all(sums_.sumw2 + row * n, squares_.data(), n);
      }
    }
  }
  if (histograms_.n_replicas > 0 && counts) fill_replicas(event, key);
  if (!histograms_.variations.empty()) fill_variations(segment, event);
}

/// Bins of both jets for every tagger, by n_trk or by the scores of a variation; variation 0 is the nominal case.
void Filler::find_bins(const Segment& segment, std::size_t variation, const std::uint16_t* n_trk,
                       std::int64_t* bins) const {
  const std::size_t n_taggers = histograms_.taggers.size();
  for (int j = 0; j < 2; ++j)
    for (std::size_t t = 0; t < n_taggers; ++t) {
      const TaggerBins& tagger = histograms_.taggers[t];
      const std::int64_t index = scored_ ? histograms_.scores[variation * n_taggers + t] : -1;
      if (index < 0) {
        bins[j * n_taggers + t] = tagger.of_tracks(n_trk[j]);
      } else {
        const Column& column = segment.floats[index];
        bins[j * n_taggers + t] = tagger.of(load<float>(column.data + 4 * (column.first + jets_[j]), column.big));
      }
    }
}

void Filler::fill_replicas(const Event& event, std::uint64_t key) {
  const std::size_t n_taggers = histograms_.taggers.size();
  draw(key, blocks_.data(), static_cast<std::int64_t>(blocks_.size()), histograms_.poisson, event.unit, times_.data());
  for (int j = 0; j < 2; ++j) {
    if (event.rows[j] < 0) continue;
    for (std::size_t t = 0; t < n_taggers; ++t)
      add_all(sums_.replicas + (event.rows[j] + bins_[j * n_taggers + t]) * histograms_.n_replicas, times_.data(),
              histograms_.n_replicas);
  }
}

void Filler::fill_variations(const Segment& segment, const Event& event) {
  const Pair& pair = event.pair;
  const EnergyModel& model = histograms_.energy;
  Shifts shifts[2] = {Shifts(model), Shifts(model)};
  std::uint64_t key = 0;
  if (shifts_) {
    for (int j = 0; j < 2; ++j) shifts[j].at(pair.pt[j], pair.eta[j]);
    key = event_key(0, event.run, event.number);
  }
  for (std::size_t k = 0; k < histograms_.variations.size(); ++k) {
    const Variation& each = histograms_.variations[k];
    if (each.kind == Variation::kTracks) {
      const Column& column = segment.varied_n_trk[each.number];
      std::uint16_t n_trk[2];
      for (int j = 0; j < 2; ++j)
        n_trk[j] = load<std::uint16_t>(column.data + 2 * (column.first + jets_[j]), column.big);
      move(segment, k, event, pair.pt, n_trk);
      continue;
    }
    // Most parameters do not change most jets.
    const bool scale = each.kind == Variation::kScale;
    double height[2];
    for (int j = 0; j < 2; ++j)
      height[j] = scale ? shifts[j].scale_height(each.number) : shifts[j].widening(each.number);
    if (!scored_ && height[0] == 0 && height[1] == 0) continue;
    float pt[2];
    for (int j = 0; j < 2; ++j) {
      const double factor = scale
                                ? shifts[j].scaled(each.sign, height[j])
                                : shifts[j].smeared(each.sign, height[j], noise(key, each.number, j, model.noise_seed));
      pt[j] = static_cast<float>(static_cast<double>(pair.pt[j]) * factor);
    }
    move(segment, k, event, pt, pair.n_trk);
  }
}

/// Move an event from its nominal bins, which `finish` adds to all variations, to its bins in variation k.
void Filler::move(const Segment& segment, std::size_t k, const Event& event, const float* pt,
                  const std::uint16_t* n_trk) {
  const std::size_t n_taggers = histograms_.taggers.size();
  std::int64_t rows[2];
  histograms_.axes.rows(pt, event.pair.eta, n_trk, event.region, event.flavour, selection_.cuts, rows);
  const auto same = [&](int j) { return rows[j] == event.rows[j] && n_trk[j] == event.pair.n_trk[j]; };
  if (!scored_ && same(0) && same(1)) return;
  find_bins(segment, k + 1, n_trk, varied_bins_.data());
  const std::int64_t group = event.group * sums_.n_rows;
  std::int64_t* sumw = sums_.varied_sumw + k * histograms_.n_groups * sums_.n_rows + group;
  std::int64_t* sumw2 = sums_.varied_sumw2 + k * sums_.n_rows;
  for (int j = 0; j < 2; ++j)
    for (std::size_t t = 0; t < n_taggers; ++t) {
      const std::int64_t before = bins_[j * n_taggers + t], now = varied_bins_[j * n_taggers + t];
      if (rows[j] == event.rows[j] && before == now) continue;
      if (event.rows[j] >= 0) {
        calibration::add(sumw[event.rows[j] + before], -event.unit);
        calibration::add(sumw2[event.rows[j] + before], -event.square);
      }
      if (rows[j] >= 0) {
        calibration::add(sumw[rows[j] + now], event.unit);
        calibration::add(sumw2[rows[j] + now], event.square);
      }
    }
}

void Filler::finish() {
  const auto n = static_cast<std::int64_t>(weights_.size());
  const std::int64_t of_groups = histograms_.n_groups * sums_.n_rows;
  for (std::size_t k = 0; k < histograms_.variations.size(); ++k) {
    std::int64_t *sumw = sums_.varied_sumw + k * of_groups, *sumw2 = sums_.varied_sumw2 + k * sums_.n_rows;
    for (std::int64_t row = 0; row < of_groups; ++row) calibration::add(sumw[row], sums_.sumw[row * n]);
    for (std::int64_t row = 0; row < sums_.n_rows; ++row) calibration::add(sumw2[row], sums_.sumw2[row * n]);
  }
  // An event that passes a cut has passed all cuts before it.
  for (int cut = kNCuts - 1; cut > 0; --cut) {
    counts.events[cut - 1] += counts.events[cut];
    calibration::add(counts.weights[cut - 1], counts.weights[cut]);
  }
}

}  // namespace calibration
