#include "pipelines/parts/spec.hpp"

#include <algorithm>

#include <limits>

#include "native/errors.hpp"
#include "native/json.hpp"

namespace beampipe {

namespace {

PipelineSpec spec_of(const Json& json) {
  using Graph = PipelineSpec::Graph;
  using Segmentation = PipelineSpec::Segmentation;
  PipelineSpec spec{};
  spec.name = json.at("name").text();
  const auto refuse = [&](const std::string& got, const std::string& expected) {
    throw ConfigError("pipeline " + spec.name + ": got " + got + ", expected " + expected);
  };
  const std::string& graph = json.at("graph").text();
  if (graph != "neighbours" && graph != "windows") refuse("graph '" + graph + "'", "neighbours or windows");
  spec.graph = graph == "neighbours" ? Graph::kNeighbours : Graph::kWindows;
  spec.scored = json.at("scored").boolean();

  const Json& how = json.at("segmentation");
  const std::string& kind = how.at("kind").text();
  if (kind != "components" && kind != "walk") refuse("segmentation '" + kind + "'", "components or walk");
  spec.segmentation = kind == "walk" ? Segmentation::kWalk : Segmentation::kComponents;
  const auto count = [&](const Json& from, const char* name, const char* of_what) {
    const std::int64_t number = from.at(name).whole();
    if (number < 0 || number > std::numeric_limits<int>::max())
      refuse(name + (" " + std::to_string(number)), std::string("a number of ") + of_what);
    return static_cast<int>(number);
  };
  spec.min_hits = count(how, "min_hits", "hits");
  if (kind == "walk") {
    spec.penalty = how.at("penalty").number();
    spec.score_cut = how.at("score_cut").number();
  }

  spec.windows = json.at("windows").text();
  const bool networks = !json.at("networks").is_null();
  if (networks) spec.networks = json.at("networks").text();
  if (networks != (spec.scored || graph == "neighbours"))
    refuse(networks ? "networks '" + spec.networks + "'" : "no networks",
           networks ? "none" : "the weight file that embeds hits or scores edges");
  if (kind == "components" && !spec.scored) refuse("components of edges without a score", "a walk, or scored edges");
  spec.bytes_per_hit = json.at("bytes_per_hit").number();
  spec.bytes_per_hit2 = json.at("bytes_per_hit2").number();
  spec.curvature = json.at("curvature").number();
  if (!(spec.curvature > 0 && spec.curvature <= 1)) refuse("another curvature", "a share above 0, up to 1");
  spec.curvature_from = json.at("curvature_from").number();
  if (!(spec.curvature_from >= 0 && spec.curvature_from < spec.curvature))
    refuse("another curvature_from", "a share from 0 to below curvature");
  spec.seed_depth = count(json, "seed_depth", "layers");
  const Json &completion = json.at("completion"), &limit = json.at("limit"), &after = json.at("after");
  if (!completion.is_null()) spec.completion = {completion.at("penalty").number(), completion.at("min_score").number()};
  if (!limit.is_null()) spec.limit = {limit.at("hits").whole(), limit.at("instead").text()};
  if (!after.is_null()) spec.after = std::make_shared<const PipelineSpec>(spec_of(after));
  return spec;
}

}  // namespace

int PipelineSpec::chain_hits() const {
  constexpr int kOfComponents = 4;
  return segmentation == Segmentation::kComponents ? std::min(min_hits, kOfComponents) : min_hits;
}

PipelineSpec PipelineSpec::parse(const std::string& text) { return spec_of(Json::parse(text)); }

}  // namespace beampipe
