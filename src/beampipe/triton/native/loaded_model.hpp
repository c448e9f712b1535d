// A model of the repository: read from its configuration, checked by its canary.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "triton/native/triton.h"
#include "triton/pipeline.hpp"

namespace beampipe {

/// A model of the repository. Its instances on one device share its weights.
class LoadedModel {
public:
  /// Reads the configuration.
  explicit LoadedModel(TRITONBACKEND_Model* handle);

  const std::string& name() const { return name_; }
  /// Whether tensors have one more axis of length 1 in front.
  bool batches() const { return batches_; }
  /// Largest number of threads for one call.
  int threads() const { return threads_; }
  /// Time [s] after which a call that has not ended counts as hanging.
  double patience() const { return patience_; }

  /// The model on a device, made when it is first needed.
  const ServedModel& on(const std::string& device);

  /// Sends a model the request that is stored in the folder of its version, if there is one. Throws if the answer is not
  /// the stored one, byte for byte; see beampipe.triton.model.canary.
  void check_canary(const ServedModel& model) const;

private:
  std::string name_, version_folder_;
  bool batches_;
  int threads_;
  double patience_;
  ModelSettings settings_;
  std::mutex mutex_;  // instances are made in parallel
  std::map<std::string, std::unique_ptr<ServedModel>> models_;
};

}  // namespace beampipe
