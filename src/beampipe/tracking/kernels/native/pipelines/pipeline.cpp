#include "pipelines/pipeline.hpp"

#include <charconv>

#include "native/errors.hpp"
#include "pipelines/hits.hpp"

namespace beampipe {
namespace {

constexpr double kMemoryLimit = 8e9;          // of events found together [B]
constexpr std::int64_t kWorthAThread = 4000;  // hits; below, waking a thread costs more than it saves

std::string gigabytes(double bytes) {
  char text[400];
  return {text, std::to_chars(text, text + sizeof text, bytes / 1e9, std::chars_format::fixed, 1).ptr};
}

}  // namespace

Pipeline::Pipeline(const Table& kernels, const std::string& spec, const std::string& weights)
    : Pipeline(kernels, PipelineSpec::parse(spec), weights) {}

Pipeline::Pipeline(const Table& kernels, const PipelineSpec& spec, const std::string& weights)
    : name_(spec.name), passes_(kernels, spec, weights) {}

int Pipeline::useful_threads(int threads, std::int64_t n_hits) {
  return static_cast<int>(std::min<std::int64_t>(threads, 1 + n_hits / kWorthAThread));
}

Found Pipeline::find(const float* position, const std::int64_t* begin, std::int64_t n_events, int threads,
                     Between between, void* context) const {
  const Blocks events{begin, n_events};
  require_memory(events);
  const std::int64_t n = begin[n_events];
  const Array<float> copy = all_turned(position, n) ? Array<float>() : turned(position, n);
  const float* between_pi = copy.size() > 0 ? copy.data() : position;
  return passes_.run({between_pi, n, events, useful_threads(threads, n)}, between, context);
}

void Pipeline::require_memory(const Blocks& events) const {
  const std::string limit = "expected at most " + gigabytes(kMemoryLimit) + " GB; ";
  double total = 0;
  for (std::int64_t k = 0; k < events.n; ++k) {
    const double need = memory(events.size(k));
    total += need;
    if (need <= kMemoryLimit) continue;
    const std::string where = " in event " + std::to_string(k) + " of " + std::to_string(events.n);
    throw TooLargeError(name() + ": got " + std::to_string(events.size(k)) + " hits" + (events.n > 1 ? where : "") +
                        ", which would need " + gigabytes(need) + " GB, " + limit +
                        "cut the event into regions in phi or z");
  }
  if (total <= kMemoryLimit) return;
  throw TooLargeError(name() + ": got " + std::to_string(events.n) + " events, which would need " + gigabytes(total) +
                      " GB together, " + limit + "find fewer of them at a time");
}

}  // namespace beampipe
