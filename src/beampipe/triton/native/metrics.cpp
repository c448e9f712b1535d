#include "triton/native/metrics.hpp"

#include <mutex>
#include <vector>

#include "triton/native/errors.hpp"

namespace beampipe {
namespace {

/// Counters of every model, beside its own.
const std::map<std::string, std::string> kCommon = {{"events", "Events answered."},
                                                    {"stage_seconds", "Wall time of each stage [s]."}};

/// The family of a counter. Families are never freed, since the server may read them after a model was unloaded.
TRITONSERVER_MetricFamily* family(const std::string& name, const std::string& description) {
  static std::mutex mutex;
  static auto& families = *new std::map<std::string, TRITONSERVER_MetricFamily*>;
  const std::lock_guard<std::mutex> lock(mutex);
  TRITONSERVER_MetricFamily*& made = families[name];
  if (made == nullptr)
    check(TRITONSERVER_MetricFamilyNew(&made, TRITONSERVER_METRIC_KIND_COUNTER, ("beampipe_" + name + "_total").c_str(),
                                       description.c_str()));
  return made;
}

/// A label; frees it at the end of its scope.
class Label {
public:
  Label(const char* name, const std::string& value)
      : parameter_(TRITONSERVER_ParameterNew(name, TRITONSERVER_PARAMETER_STRING, value.c_str())) {}
  Label(Label&& other) noexcept : parameter_(std::exchange(other.parameter_, nullptr)) {}
  ~Label() {
    if (parameter_ != nullptr) TRITONSERVER_ParameterDelete(parameter_);
  }
  const TRITONSERVER_Parameter* get() const { return parameter_; }

private:
  TRITONSERVER_Parameter* parameter_;
};

}  // namespace

Counters::Counters(std::string model, std::string instance, const std::map<std::string, std::string>& declared)
    : model_(std::move(model)), instance_(std::move(instance)), declared_(declared) {
  declared_.insert(kCommon.begin(), kCommon.end());
}

Counters::~Counters() {
  for (const auto& [key, metric] : metrics_)
    if (metric != nullptr) log_refusal(TRITONSERVER_MetricDelete(metric));
}

TRITONSERVER_Metric* Counters::metric(const char* name, const char* stage) {
  const auto declared = declared_.find(name);
  if (declared == declared_.end()) return nullptr;
  std::vector<Label> labels;
  labels.emplace_back("model", model_);
  labels.emplace_back("instance", instance_);
  if (stage[0] != '\0') labels.emplace_back("stage", stage);
  std::vector<const TRITONSERVER_Parameter*> parameters;
  for (const Label& label : labels) parameters.push_back(label.get());
  TRITONSERVER_Metric* made = nullptr;
  check(TRITONSERVER_MetricNew(&made, family(name, declared->second), parameters.data(), parameters.size()));
  return made;
}

void Counters::add(const char* name, double amount, const char* stage) noexcept {
  try {
    const std::pair<std::string, std::string> key(name, stage);
    auto entry = metrics_.find(key);
    if (entry == metrics_.end()) entry = metrics_.emplace(key, metric(name, stage)).first;
    if (entry->second != nullptr) check(TRITONSERVER_MetricIncrement(entry->second, amount));
  } catch (const std::exception& error) {
    log_error(error.what());
  }
}

}  // namespace beampipe
