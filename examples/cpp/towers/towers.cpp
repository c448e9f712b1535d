// A C++ model for Triton: cells of a calorimeter in, the energy of each tower of a grid in eta and phi out.
#include <beampipe/triton/pipeline.hpp>

#include <cmath>

using namespace beampipe;

namespace {

constexpr double kEtaMax = 5, kPi = 3.141592653589793;
constexpr float kPhiMax = kPi;  // rounded up
enum Column { kEta, kPhi, kEnergy, kColumns };

class Towers final : public ServedModel {
public:
  explicit Towers(const ModelSettings& settings) : n_eta_(settings.whole("N_ETA")), n_phi_(settings.whole("N_PHI")) {}

  const std::vector<TensorSpec>& inputs() const override {
    static const std::vector<TensorSpec> specs = {tensor_of<float>("CELLS", {-1, kColumns})};
    return specs;
  }
  const std::vector<TensorSpec>& outputs() const override {
    static const std::vector<TensorSpec> specs = {tensor_of<double>("TOWERS", {-1, -1})};
    return specs;
  }
  const std::map<std::string, std::string>& counters() const override {
    static const std::map<std::string, std::string> texts = {{"cells", "Cells of the events answered."}};
    return texts;
  }

  void run(const std::vector<ModelRequest*>& requests, const Call& call) const override {
    for (ModelRequest* request : requests) {
      try {
        add_up(*request);
        call.observe("events", 1, "");
        call.observe("cells", static_cast<double>(request->input(0).shape[0]), "");
      } catch (const InputError&) {  // the other requests of a batch are answered
        request->fail(std::current_exception());
      }
    }
  }

private:
  void add_up(ModelRequest& request) const {
    const Tensor& cells = request.input(0);
    std::vector<double> towers(n_eta_ * n_phi_);
    const float* cell = cells.as<float>();
    for (std::int64_t n = 0; n < cells.shape[0]; ++n, cell += kColumns) {
      if (!(std::abs(cell[kEta]) < kEtaMax && std::abs(cell[kPhi]) <= kPhiMax && std::isfinite(cell[kEnergy])))
        throw InputError("CELLS: got eta, phi or energy out of range in row " + std::to_string(n) +
                         ", expected |eta| < 5, |phi| <= pi and a finite energy");
      const auto row = static_cast<std::int64_t>((cell[kEta] + kEtaMax) / (2 * kEtaMax) * n_eta_);
      const auto column = static_cast<std::int64_t>((cell[kPhi] + kPi) / (2 * kPi) * n_phi_) % n_phi_;
      towers[row * n_phi_ + column] += cell[kEnergy];
    }
    std::copy(towers.begin(), towers.end(), static_cast<double*>(request.output(0, {n_eta_, n_phi_})));
  }

  std::int64_t n_eta_, n_phi_;
};

}  // namespace

std::unique_ptr<ServedModel> beampipe::make_model(const ModelSettings& settings) {
  return std::make_unique<Towers>(settings);
}
