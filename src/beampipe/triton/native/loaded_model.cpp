#include "triton/native/loaded_model.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "native/json.hpp"
#include "native/safetensors.hpp"
#include "triton/native/errors.hpp"

namespace beampipe {
namespace {

// Parameters of a model, as in beampipe.triton.model.contract.
constexpr const char* kExecutionModelPath = "EXECUTION_MODEL_PATH";
constexpr const char* kModelDirectory = "$$TRITON_MODEL_DIRECTORY";
constexpr const char* kThreads = "THREADS";
constexpr const char* kPatience = "PATIENCE";
constexpr double kUsualPatience = 60;  // as for a model that works, in beampipe.triton.supervision.hangs

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

/// The number in the parameter THREADS, by default that of the cores.
int threads_of(const std::map<std::string, std::string>& parameters) {
  const auto entry = parameters.find(kThreads);
  if (entry == parameters.end() || entry->second == "auto") return cores();
  std::size_t used = 0;
  int threads = 0;
  try {
    threads = std::stoi(entry->second, &used);
  } catch (const std::exception&) {
  }
  if (threads < 1 || used != entry->second.size())
    throw std::invalid_argument("THREADS: got '" + entry->second + "', expected a number from 1 on, or auto");
  return threads;
}

/// The time [s] in the parameter PATIENCE.
double patience_of(const std::map<std::string, std::string>& parameters) {
  const auto entry = parameters.find(kPatience);
  if (entry == parameters.end()) return kUsualPatience;
  char* end = nullptr;
  const double seconds = std::strtod(entry->second.c_str(), &end);
  if (*end != '\0' || !(seconds > 0))
    throw std::invalid_argument("PATIENCE: got '" + entry->second + "', expected a time in seconds, more than 0");
  return seconds;
}

std::string weights_of(const std::map<std::string, std::string>& parameters, const std::string& folder) {
  const auto entry = parameters.find(kExecutionModelPath);
  std::string path = entry == parameters.end() ? kModelDirectory : entry->second;
  const std::size_t at = path.find(kModelDirectory);
  return at == std::string::npos ? path : path.replace(at, std::string_view(kModelDirectory).size(), folder);
}

constexpr const char* kFile = "canary.safetensors";
constexpr const char *kInput = "in.", *kOutput = "out.";

const char* const kAdvice =
    "; export it again on this machine, and if that differs from what the model gives without a server, do not serve "
    "it";

/// The stored request. It has no client; its answers are kept for the comparison.
class StoredRequest final : public ModelRequest {
public:
  StoredRequest(const ServedModel& model, const Safetensors& stored) : model_(model), answers_(model.outputs().size()) {
    for (const TensorSpec& spec : model.inputs()) {
      const std::string name = std::string(kInput) + spec.name;
      if (spec.optional && !stored.has(name)) {
        inputs_.push_back({{}, nullptr});
        continue;
      }
      const TensorView& tensor = stored.at(name);
      // Copied, because a tensor in the file may not be aligned.
      const char* bytes = reinterpret_cast<const char*>(tensor.data);
      arrays_.emplace_back(bytes, bytes + tensor.bytes);
      inputs_.push_back({tensor.shape, arrays_.back().data()});
    }
  }

  const Tensor& input(std::size_t index) const override { return inputs_[index]; }
  bool wants(std::size_t) const override { return true; }
  void* output(std::size_t index, const Shape& shape) override {
    std::size_t bytes = model_.outputs()[index].item;
    for (const std::int64_t length : shape) bytes *= static_cast<std::size_t>(length);
    answers_[index].resize(bytes);
    return answers_[index].data();
  }
  void fail(const std::exception_ptr& exception) override { std::rethrow_exception(exception); }
  const std::vector<char>& answer(std::size_t index) const { return answers_[index]; }

private:
  const ServedModel& model_;
  std::vector<Tensor> inputs_;
  std::vector<std::vector<char>> arrays_, answers_;
};

}  // namespace

LoadedModel::LoadedModel(TRITONBACKEND_Model* handle) {
  const char *name = nullptr, *folder = nullptr;
  std::uint64_t version = 0;
  TRITONBACKEND_ArtifactType type{};
  check(TRITONBACKEND_ModelName(handle, &name));
  check(TRITONBACKEND_ModelVersion(handle, &version));
  check(TRITONBACKEND_ModelRepository(handle, &type, &folder));
  const Json config = config_of(handle);

  name_ = name;
  version_folder_ = std::string(folder) + "/" + std::to_string(version);
  if (const Json* parameters = config.find("parameters"))
    for (const auto& [key, value] : parameters->members()) settings_.parameters[key] = value.at("string_value").text();
  settings_.weights = weights_of(settings_.parameters, folder);
  const Json* batch = config.find("max_batch_size");
  batches_ = batch != nullptr && batch->whole() > 0;
  threads_ = threads_of(settings_.parameters);
  patience_ = patience_of(settings_.parameters);
}

const ServedModel& LoadedModel::on(const std::string& device) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<ServedModel>& model = models_[device];
  if (model == nullptr) {
    settings_.device = device;
    model = make_model(settings_);
  }
  return *model;
}

void LoadedModel::check_canary(const ServedModel& model) const {
  const std::string path = version_folder_ + "/" + kFile;
  if (!std::ifstream(path).good()) return;
  const Safetensors stored(path);
  StoredRequest request(model, stored);
  model.run({&request}, {threads_, [] {}, [](const char*, double, const char*) {}, [](const std::string&) {}});
  for (std::size_t index = 0; index < model.outputs().size(); ++index) {
    const std::string name = std::string(kOutput) + model.outputs()[index].name;
    if (!stored.has(name)) continue;  // such as a measured time
    const TensorView& expected = stored.at(name);
    const std::vector<char>& got = request.answer(index);
    if (got.size() != expected.bytes || std::memcmp(got.data(), expected.data, expected.bytes) != 0)
      throw std::runtime_error(std::string("the canary got another ") + model.outputs()[index].name +
                               " than when the model was exported" + kAdvice);
  }
}

}  // namespace beampipe
