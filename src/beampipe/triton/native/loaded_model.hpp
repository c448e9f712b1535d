// A model of the repository as its configuration describes it, checked by its canary.
#pragma once

#include <memory>
#include <string>

#include "triton/native/served_model.hpp"
#include "triton/native/triton.h"

namespace beampipe {

/// A model of the repository: its weights are there once, whatever the number of its instances.
struct LoadedModel {
  std::string name;
  std::string version_folder;  // with the canary
  bool batches;                // whether tensors have one more axis of length 1 in front
  int threads;                 // most of one call
  std::unique_ptr<ServedModel> model;

  /// Sends the model the request that is stored in the folder of its version, if there is one. Throws if the answer
  /// is not the stored one, byte for byte; see beampipe.triton.model.canary.
  void check_canary() const;
};

/// Makes a model from its configuration.
LoadedModel load_model(TRITONBACKEND_Model* handle);

}  // namespace beampipe
