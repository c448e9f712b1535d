#include <cstdlib>

#include "triton/pipeline.hpp"

namespace beampipe {

const std::string& ModelSettings::text(const std::string& name) const {
  const auto entry = parameters.find(name);
  if (entry == parameters.end())
    throw ConfigError(name + ": got no such parameter in the model's configuration, expected one");
  return entry->second;
}

std::string ModelSettings::text(const std::string& name, const std::string& otherwise) const {
  const auto entry = parameters.find(name);
  return entry == parameters.end() ? otherwise : entry->second;
}

std::int64_t ModelSettings::whole(const std::string& name) const {
  const std::string& written = text(name);
  char* end = nullptr;
  const long long number = std::strtoll(written.c_str(), &end, 10);
  if (written.empty() || *end != '\0' || number < 0)
    throw ConfigError(name + ": got '" + written + "', expected a whole number from 0 on");
  return number;
}

std::int64_t ModelSettings::whole(const std::string& name, std::int64_t otherwise) const {
  return parameters.count(name) == 0 ? otherwise : whole(name);
}

}  // namespace beampipe
