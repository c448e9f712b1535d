// The functions that Triton calls: for a model of this backend, its instances, and their requests.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "triton/native/errors.hpp"
#include "triton/native/loaded_model.hpp"
#include "triton/native/metrics.hpp"
#include "triton/native/request.hpp"
#include "triton/native/triton.h"
#include "triton/pipeline.hpp"

namespace beampipe {
namespace {

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

/// One copy of a model, which answers one call at a time.
class Instance {
public:
  Instance(TRITONBACKEND_ModelInstance* handle, const std::string& name, const LoadedModel& loaded,
           const ServedModel& model)
      : handle_(handle), loaded_(loaded), model_(model), counters_(loaded.name(), name, model.counters()) {
    loaded.check_canary(model);
  }

  /// Answers and releases each request. Throws only while all of them still belong to the server.
  void execute(TRITONBACKEND_Request** handles, std::uint32_t count) {
    const std::uint64_t begin = now_ns();
    executing_since_ = begin;
    std::vector<std::optional<Request>> requests(count);
    for (std::uint32_t i = 0; i < count; ++i) requests[i].emplace(handles[i], model_, loaded_.batches());
    try {
      answer(requests, begin);
    } catch (const std::exception& error) {
      log_error(error.what());
    }
    executing_since_ = kIdle;
  }

  /// Time [s] for which the present call has lasted, 0 between two calls. Other threads call it.
  double executing() const {
    const std::uint64_t begin = executing_since_;
    return begin == kIdle ? 0.0 : 1e-9 * static_cast<double>(now_ns() - begin);
  }
  const LoadedModel& loaded() const { return loaded_; }

private:
  static constexpr std::uint64_t kIdle = 0;

  void answer(std::vector<std::optional<Request>>& requests, std::uint64_t begin) {
    std::vector<ModelRequest*> good;
    for (auto& request : requests) {
      try {
        request->read();
        good.push_back(&*request);
      } catch (...) {
        request->fail(std::current_exception());
      }
    }
    const std::uint64_t computing = now_ns();
    if (loaded_.batches())
      run(good);
    else
      for (ModelRequest* request : good) run({request});
    const std::uint64_t computed = now_ns();
    report(requests, begin, computing, computed);
    for (auto& request : requests) request->send();
  }

  /// Reported before the answers are sent, so that a client with an answer finds it in the statistics; perf_analyzer
  /// relies on that.
  void report(const std::vector<std::optional<Request>>& requests, std::uint64_t begin, std::uint64_t computing,
              std::uint64_t computed) {
    const std::uint64_t end = now_ns();
    for (const auto& request : requests)
      log_refusal(TRITONBACKEND_ModelInstanceReportStatistics(handle_, request->raw(), !request->failed(), begin,
                                                              computing, computed, end));
    log_refusal(
        TRITONBACKEND_ModelInstanceReportBatchStatistics(handle_, requests.size(), begin, computing, computed, end));
  }

  void run(const std::vector<ModelRequest*>& requests) {
    if (requests.empty()) return;
    const std::uint64_t begin = now_ns();
    const auto checkpoint = [&] {
      const std::uint64_t spent = (now_ns() - begin) / 1000;
      for (const ModelRequest* request : requests)
        if (!static_cast<const Request*>(request)->abandoned(spent)) return;
      throw Cancelled();
    };
    const auto observe = [this](const char* name, double amount, const char* stage) {
      counters_.add(name, amount, stage);
    };
    std::vector<TRITONSERVER_InferenceTrace*> traces;
    for (const ModelRequest* request : requests)
      if (TRITONSERVER_InferenceTrace* trace = static_cast<const Request*>(request)->trace()) traces.push_back(trace);
    std::uint64_t marked = begin;
    const auto mark = [&traces, &marked](const std::string& stage) {
      if (traces.empty()) return;
      // Triton makes a span of two activities with these endings, below that of the model.
      const std::string first = stage + "_START", last = stage + "_END";
      const std::uint64_t now = now_ns();
      for (TRITONSERVER_InferenceTrace* trace : traces) {
        log_refusal(TRITONSERVER_InferenceTraceReportActivity(trace, marked, first.c_str()));
        log_refusal(TRITONSERVER_InferenceTraceReportActivity(trace, now, last.c_str()));
      }
      marked = now;
    };
    try {
      model_.run(requests, {loaded_.threads(), checkpoint, observe, mark});
    } catch (...) {
      for (ModelRequest* request : requests) request->fail(std::current_exception());
    }
  }

  TRITONBACKEND_ModelInstance* handle_;
  const LoadedModel& loaded_;
  const ServedModel& model_;
  Counters counters_;
  std::atomic<std::uint64_t> executing_since_{kIdle};  // [ns]
};

void require_version() {
  std::uint32_t major = 0, minor = 0;
  check(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major == BEAMPIPE_TRITON_MAJOR && minor >= BEAMPIPE_TRITON_MINOR) return;
  throw std::runtime_error("beampipe: got a Triton with backend interface " + std::to_string(major) + "." +
                           std::to_string(minor) + ", expected " + std::to_string(BEAMPIPE_TRITON_MAJOR) + "." +
                           std::to_string(BEAMPIPE_TRITON_MINOR) + " or a newer one of the same major version");
}

/// The device of an instance, as in beampipe.triton.model.contract.
std::string device_of(TRITONBACKEND_ModelInstance* instance) {
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
  std::int32_t number = 0;
  check(TRITONBACKEND_ModelInstanceKind(instance, &kind));
  if (kind != TRITONSERVER_INSTANCEGROUPKIND_GPU) return "cpu";
  check(TRITONBACKEND_ModelInstanceDeviceId(instance, &number));
  return "cuda:" + std::to_string(number);
}

template <typename State, typename Handle>
State* state_of(TRITONSERVER_Error* (*get)(Handle*, void**), Handle* handle) {
  void* state = nullptr;
  check(get(handle, &state));
  return static_cast<State*>(state);
}

}  // namespace
}  // namespace beampipe

using namespace beampipe;

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend*) {
  return guarded([] {
    require_version();
    // Idle threads sleep: instances share the cores, and spinning threads would slow down the working ones.
    setenv("OMP_WAIT_POLICY", "passive", 0);
  });
}

TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend*) { return nullptr; }

TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend*,
                                                      TRITONBACKEND_BackendAttribute* attributes) {
  return guarded([&] {
    check(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, TRITONSERVER_INSTANCEGROUPKIND_CPU, 0,
                                                                  nullptr, 0));
    check(TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true));
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return guarded([&] {
    auto loaded = std::make_unique<LoadedModel>(model);
    check(TRITONBACKEND_ModelSetState(model, loaded.get()));
    loaded.release();
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  return guarded([&] { delete state_of<LoadedModel>(TRITONBACKEND_ModelState, model); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) {
  return guarded([&] {
    TRITONBACKEND_Model* model = nullptr;
    const char* name = nullptr;
    check(TRITONBACKEND_ModelInstanceModel(instance, &model));
    check(TRITONBACKEND_ModelInstanceName(instance, &name));
    auto* loaded = state_of<LoadedModel>(TRITONBACKEND_ModelState, model);
    auto made = std::make_unique<Instance>(instance, name, *loaded, loaded->on(device_of(instance)));
    check(TRITONBACKEND_ModelInstanceSetState(instance, made.get()));
    made.release();
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance) {
  return guarded([&] { delete state_of<Instance>(TRITONBACKEND_ModelInstanceState, instance); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests, uint32_t count) {
  // After an error the server still owns the requests, so there must be none once `execute` owns them.
  return guarded([&] { state_of<Instance>(TRITONBACKEND_ModelInstanceState, instance)->execute(requests, count); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReady(TRITONBACKEND_ModelInstance* instance) {
  return guarded([&] {
    const auto& executing = *state_of<Instance>(TRITONBACKEND_ModelInstanceState, instance);
    const double seconds = executing.executing(), patience = executing.loaded().patience();
    if (seconds <= patience) return;
    char message[128];
    std::snprintf(message, sizeof message, "hangs: a call has lasted for %.1f s, expected at most %g s", seconds,
                  patience);
    throw ServerError(TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNAVAILABLE, message));
  });
}
