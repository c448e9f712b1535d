// Counters on Triton's metrics port; names and labels as in beampipe.triton.model.backend.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "triton/native/triton.h"

namespace beampipe {

/// The counters of one instance; only the instance's own thread changes them.
class Counters {
public:
  /// `declared`: descriptions of the counters by name; other names are ignored.
  Counters(std::string model, std::string instance, const std::map<std::string, std::string>& declared);
  ~Counters();
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;

  /// Adds to beampipe_<name>_total; `stage` is a further label, empty for none. Errors are only logged.
  void add(const char* name, double amount, const char* stage) noexcept;

private:
  TRITONSERVER_Metric* metric(const char* name, const char* stage);

  std::string model_, instance_;
  std::map<std::string, std::string> declared_;
  std::map<std::pair<std::string, std::string>, TRITONSERVER_Metric*> metrics_;
};

}  // namespace beampipe
