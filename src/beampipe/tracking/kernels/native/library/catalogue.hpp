// The named pipelines, from beampipe.tracking.catalogue when the library is built (catalogue.cpp.in).
#pragma once

#include <map>
#include <string>

namespace beampipe {

/// Name -> specification as JSON.
extern const std::map<std::string, std::string> kCatalogue;

}  // namespace beampipe
