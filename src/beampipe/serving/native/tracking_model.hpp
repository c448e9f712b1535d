// A whole tracking pipeline as one served model: hits in, labels out. The C++ side of beampipe.serving.tracking_model.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "array.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/policy.hpp"
#include "pipelines/track_fitter.hpp"
#include "triton/pipeline.hpp"

namespace beampipe {

class TrackingModel final : public ServedModel {
public:
  /// Throws ConfigError or FileError if the parameters or the weights make no pipeline.
  explicit TrackingModel(const ModelSettings& settings);

  const std::vector<TensorSpec>& inputs() const override;
  const std::vector<TensorSpec>& outputs() const override;
  const std::map<std::string, std::string>& counters() const override;
  /// Labels of each event; several run as one graph of blocks, up to the hit budget.
  void run(const std::vector<ModelRequest*>& requests, const Call& call) const override;

private:
  /// The hits of one request, in its own memory or in a copy.
  struct Event {
    ModelRequest* request;
    std::int64_t n_hits;
    const float* position;
    Array<float> copy;
    Measurements measured;
  };
  using Events = std::vector<Event>;

  Event read(ModelRequest& request) const;
  template <typename T>
  const T* measured(ModelRequest& request, std::size_t index, std::int64_t n) const;
  void find(Events& events, std::size_t first, std::size_t last, const Call& call) const;
  Found find_tracks(const Events& events, std::size_t first, std::size_t last, const Call& call) const;
  void answer(const Event& event, const Found& tracks, std::size_t row, std::int64_t begin, const Call& call) const;
  void fit(const Event& event, const Found& tracks, std::size_t row, std::int64_t begin, const Call& call) const;
  /// Tracks as lists of hits, each closed by -1.
  void list(const Event& event, const Found& tracks, std::size_t row, std::int64_t begin) const;

  TrackFinder finder_;
  bool athena_;                        // whether FEATURES may be wide and TRACKS is an output
  std::optional<TrackFitter> fitter_;  // none where the tracker model has no tables of the fit, or for Athena
  BeamLine beam_spot_;
  std::string scale_name_;
  Scale scale_;
  bool check_layout_;
  std::int64_t max_hits_, hit_budget_;
  std::vector<std::string> stage_names_, count_names_;
  std::vector<std::uint8_t> digest_;
};

}  // namespace beampipe
