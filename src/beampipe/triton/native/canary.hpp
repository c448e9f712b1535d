// A request with a known answer: a model that does not give it, byte for byte, is not served.
#pragma once

#include <string>

#include "triton/native/served_model.hpp"

namespace beampipe {

/// Asks the model what is stored in the folder of its version, if anything is; see beampipe.triton.model.canary.
void check_canary(const ServedModel& model, const std::string& version_folder, const Call& call);

}  // namespace beampipe
