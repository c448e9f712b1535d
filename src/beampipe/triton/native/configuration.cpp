#include "triton/native/configuration.hpp"

#include <stdexcept>
#include <string_view>

#include "native/json.hpp"
#include "triton/native/api/errors.hpp"
#include "triton/native/cores.hpp"

namespace beampipe {
namespace {

// Parameters of a model, as in beampipe.triton.model.contract.
constexpr const char* kExecutionModelPath = "EXECUTION_MODEL_PATH";
constexpr const char* kModelDirectory = "$$TRITON_MODEL_DIRECTORY";
constexpr const char* kThreads = "THREADS";

Json config_of(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  check(TRITONBACKEND_ModelConfig(model, 1, &message));
  const char* text = nullptr;
  std::size_t size = 0;
  TRITONSERVER_Error* error = TRITONSERVER_MessageSerializeToJson(message, &text, &size);
  if (error != nullptr) {
    log_refusal(TRITONSERVER_MessageDelete(message));
    throw ServerError(error);
  }
  const std::string copy(text, size);
  check(TRITONSERVER_MessageDelete(message));
  return Json::parse(copy);
}

/// As the parameter says, else as many as there are cores.
int threads_of(const std::map<std::string, std::string>& parameters) {
  const auto given = parameters.find(kThreads);
  if (given == parameters.end() || given->second == "auto") return cores();
  std::size_t used = 0;
  int threads = 0;
  try {
    threads = std::stoi(given->second, &used);
  } catch (const std::exception&) {
  }
  if (threads < 1 || used != given->second.size())
    throw std::invalid_argument("THREADS: got '" + given->second + "', expected a number from 1 on, or auto");
  return threads;
}

std::string weights_of(const std::map<std::string, std::string>& parameters, const std::string& folder) {
  const auto given = parameters.find(kExecutionModelPath);
  std::string path = given == parameters.end() ? kModelDirectory : given->second;
  const std::size_t at = path.find(kModelDirectory);
  return at == std::string::npos ? path : path.replace(at, std::string_view(kModelDirectory).size(), folder);
}

}  // namespace

Configuration configuration_of(TRITONBACKEND_Model* model) {
  const char *name = nullptr, *folder = nullptr;
  std::uint64_t version = 0;
  TRITONBACKEND_ArtifactType type{};
  check(TRITONBACKEND_ModelName(model, &name));
  check(TRITONBACKEND_ModelVersion(model, &version));
  check(TRITONBACKEND_ModelRepository(model, &type, &folder));
  const Json config = config_of(model);

  Configuration made{};
  made.name = name;
  made.version_folder = std::string(folder) + "/" + std::to_string(version);
  const Json* batch = config.find("max_batch_size");
  made.batches = batch != nullptr && batch->whole() > 0;
  if (const Json* parameters = config.find("parameters"))
    for (const auto& [key, value] : parameters->members())
      made.settings.parameters[key] = value.at("string_value").text();
  made.settings.weights = weights_of(made.settings.parameters, folder);
  made.threads = threads_of(made.settings.parameters);
  return made;
}

}  // namespace beampipe
