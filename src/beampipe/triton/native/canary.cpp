#include "triton/native/canary.hpp"

#include <cstring>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "native/safetensors.hpp"

namespace beampipe {
namespace {

constexpr const char* kFile = "canary.safetensors";
constexpr const char *kInput = "in.", *kOutput = "out.";

const char* const kAdvice =
    "; export it again on this machine, and if that differs from what the model gives without a server, do not serve "
    "it";

/// The stored request. It has no client: its answers stay here.
class StoredQuestion final : public Question {
public:
  StoredQuestion(const ServedModel& model, const Safetensors& stored)
      : model_(model), answers_(model.outputs().size()) {
    for (const TensorSpec& spec : model.inputs()) {
      const TensorView& tensor = stored.at(std::string(kInput) + spec.name);
      // Copied, because a tensor may lie on any address in its file.
      const char* bytes = reinterpret_cast<const char*>(tensor.data);
      arrays_.emplace_back(bytes, bytes + tensor.bytes);
      inputs_.push_back({tensor.shape, arrays_.back().data()});
    }
  }

  const Tensor& input(std::size_t place) const override { return inputs_[place]; }
  bool wants(std::size_t) const override { return true; }
  void* output(std::size_t place, const Shape& shape) override {
    std::size_t bytes = model_.outputs()[place].item;
    for (const std::int64_t length : shape) bytes *= static_cast<std::size_t>(length);
    answers_[place].resize(bytes);
    return answers_[place].data();
  }
  void fail(const std::exception_ptr& exception) override { std::rethrow_exception(exception); }
  const std::vector<char>& answer(std::size_t place) const { return answers_[place]; }

private:
  const ServedModel& model_;
  std::vector<Tensor> inputs_;
  std::vector<std::vector<char>> arrays_, answers_;
};

}  // namespace

void check_canary(const ServedModel& model, const std::string& version_folder, const Call& call) {
  const std::string path = version_folder + "/" + kFile;
  if (!std::ifstream(path).good()) return;
  const Safetensors stored(path);
  StoredQuestion question(model, stored);
  model.run({&question}, call);
  for (std::size_t place = 0; place < model.outputs().size(); ++place) {
    const std::string name = std::string(kOutput) + model.outputs()[place].name;
    if (!stored.has(name)) continue;  // a measured time, say
    const TensorView& expected = stored.at(name);
    const std::vector<char>& got = question.answer(place);
    if (got.size() != expected.bytes || std::memcmp(got.data(), expected.data, expected.bytes) != 0)
      throw std::runtime_error(std::string("the canary got another ") + model.outputs()[place].name +
                               " than when the model was exported" + kAdvice);
  }
}

}  // namespace beampipe
