// The native backend with a server that is only what it needs here, and a model that answers when it is released:
// TRITONBACKEND_ModelInstanceReady before, during and after a call that lasts for longer than PATIENCE.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

#include "triton/pipeline.hpp"

#define REQUIRE(condition)                                                \
  if (!(condition)) {                                                     \
    std::printf("line %d: expected %s\n", __LINE__, #condition), exit(1); \
  }

namespace {

std::mutex mutex;
std::condition_variable changed;
bool released = false;
std::string device;

struct Blocked final : beampipe::ServedModel {
  const std::vector<beampipe::TensorSpec>& inputs() const override {
    static const std::vector<beampipe::TensorSpec> none;
    return none;
  }
  const std::vector<beampipe::TensorSpec>& outputs() const override { return inputs(); }
  void run(const std::vector<beampipe::ModelRequest*>&, const beampipe::Call&) const override {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [] { return released; });
  }
};

const std::string config = R"({"parameters": {"PATIENCE": {"string_value": "0.05"}}})";
void *model_state, *instance_state;
int requests_released = 0;

template <typename Handle>
Handle* handle() {
  static char target;
  return reinterpret_cast<Handle*>(&target);
}

}  // namespace

std::unique_ptr<beampipe::ServedModel> beampipe::make_model(const ModelSettings& settings) {
  device = settings.device;
  return std::make_unique<Blocked>();
}

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};

// The server's side. What is not here is not called.
TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message) {
  return new TRITONSERVER_Error{code, message};
}
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error) { delete error; }
TRITONSERVER_Error_Code TRITONSERVER_ErrorCode(TRITONSERVER_Error* error) { return error->code; }
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) { return error->message.c_str(); }
TRITONSERVER_Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel, const char*, int, const char* message) {
  std::printf("log: %s\n", message);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message*, const char** text, size_t* size) {
  *text = config.data(), *size = config.size();
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message*) { return nullptr; }
TRITONSERVER_Error* TRITONBACKEND_ModelName(TRITONBACKEND_Model*, const char** name) {
  *name = "blocked";
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelVersion(TRITONBACKEND_Model*, uint64_t* version) {
  *version = 1;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelRepository(TRITONBACKEND_Model*, TRITONBACKEND_ArtifactType*,
                                                  const char** location) {
  *location = "/nonexistent";
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelConfig(TRITONBACKEND_Model*, uint32_t, TRITONSERVER_Message** message) {
  *message = handle<TRITONSERVER_Message>();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelState(TRITONBACKEND_Model*, void** state) {
  *state = model_state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelSetState(TRITONBACKEND_Model*, void* state) {
  model_state = state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceName(TRITONBACKEND_ModelInstance*, const char** name) {
  *name = "blocked_0";
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceKind(TRITONBACKEND_ModelInstance*,
                                                    TRITONSERVER_InstanceGroupKind* kind) {
  *kind = TRITONSERVER_INSTANCEGROUPKIND_GPU;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceDeviceId(TRITONBACKEND_ModelInstance*, int32_t* number) {
  *number = 3;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance*, TRITONBACKEND_Model** model) {
  *model = handle<TRITONBACKEND_Model>();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceState(TRITONBACKEND_ModelInstance*, void** state) {
  *state = instance_state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance*, void* state) {
  instance_state = state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance*, TRITONBACKEND_Request*,
                                                                bool, uint64_t, uint64_t, uint64_t, uint64_t) {
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(TRITONBACKEND_ModelInstance*, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t) {
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request*, uint32_t* count) {
  *count = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestTrace(TRITONBACKEND_Request*, TRITONSERVER_InferenceTrace** trace) {
  *trace = nullptr;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request*, uint32_t) {
  ++requests_released;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response, TRITONBACKEND_Request*) {
  *response = handle<TRITONBACKEND_Response>();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response*, uint32_t, TRITONSERVER_Error*) {
  return nullptr;
}

int main() {
  auto* model = handle<TRITONBACKEND_Model>();
  auto* instance = handle<TRITONBACKEND_ModelInstance>();
  REQUIRE(TRITONBACKEND_ModelInitialize(model) == nullptr);
  REQUIRE(TRITONBACKEND_ModelInstanceInitialize(instance) == nullptr);
  REQUIRE(device == "cuda:3");
  REQUIRE(TRITONBACKEND_ModelInstanceReady(instance) == nullptr);

  std::thread call([&] {
    auto* request = handle<TRITONBACKEND_Request>();
    REQUIRE(TRITONBACKEND_ModelInstanceExecute(instance, &request, 1) == nullptr);
  });
  TRITONSERVER_Error* error = nullptr;
  while (error == nullptr) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    error = TRITONBACKEND_ModelInstanceReady(instance);
  }
  REQUIRE(error->code == TRITONSERVER_ERROR_UNAVAILABLE);
  REQUIRE(error->message.find("expected at most 0.05 s") != std::string::npos);
  TRITONSERVER_ErrorDelete(error);
  REQUIRE(requests_released == 0);

  {
    const std::lock_guard<std::mutex> lock(mutex);
    released = true;
  }
  changed.notify_all();
  call.join();
  REQUIRE(requests_released == 1);
  REQUIRE(TRITONBACKEND_ModelInstanceReady(instance) == nullptr);
  REQUIRE(TRITONBACKEND_ModelInstanceFinalize(instance) == nullptr);
  REQUIRE(TRITONBACKEND_ModelFinalize(model) == nullptr);
  std::puts("ready, hangs, ready");
}
