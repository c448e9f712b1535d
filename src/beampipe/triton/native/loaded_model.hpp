// A model of the repository: read from its configuration, checked by its canary.
#pragma once

#include <memory>
#include <string>

#include "triton/native/served_model.hpp"
#include "triton/native/triton.h"

namespace beampipe {

/// A model of the repository. All its instances share it, so its weights are in memory only once.
struct LoadedModel {
  std::string name;
  std::string version_folder;  // with the canary
  bool batches;                // whether tensors have one more axis of length 1 in front
  int threads;                 // largest number for one call
  std::unique_ptr<ServedModel> model;

  /// Sends the model the request that is stored in the folder of its version, if there is one. Throws if the answer
  /// is not the stored one, byte for byte; see beampipe.triton.model.canary.
  void check_canary() const;
};

/// Makes a model from its configuration.
LoadedModel load_model(TRITONBACKEND_Model* handle);

}  // namespace beampipe
