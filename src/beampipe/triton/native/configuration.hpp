// A model as its configuration in Triton's repository describes it.
#pragma once

#include <cstdint>
#include <string>

#include "triton/native/api/triton.h"
#include "triton/native/served_model.hpp"

namespace beampipe {

struct Configuration {
  std::string name;
  std::string version_folder;  // with the canary
  bool batches;                // whether tensors have one more axis of length 1 in front
  int threads;                 // most of one call
  ModelSettings settings;
};

/// Reads the configuration of a model.
Configuration configuration_of(TRITONBACKEND_Model* model);

}  // namespace beampipe
