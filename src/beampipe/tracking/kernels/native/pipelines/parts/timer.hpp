// Takes the time of each stage, and asks before it whether anybody still waits.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace beampipe {

/// Called before each stage; what it throws ends the work.
using Between = void (*)(void* context);

class Timer {
public:
  Timer(const std::vector<std::string>& steps, Between between, void* context)
      : steps_(steps), seconds_(steps.size()), between_(between), context_(context) {}

  /// What a stage gives; its time is added to that of its step.
  template <typename Stage>
  auto operator()(const char* step, Stage&& stage) {
    if (between_ != nullptr) between_(context_);
    const auto start = std::chrono::steady_clock::now();
    auto result = stage();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    seconds_[std::find(steps_.begin(), steps_.end(), step) - steps_.begin()] += taken.count();
    return result;
  }

  /// Time of each step so far [s].
  const std::vector<double>& seconds() const { return seconds_; }

private:
  const std::vector<std::string>& steps_;
  std::vector<double> seconds_;
  Between between_;
  void* context_;
};

}  // namespace beampipe
