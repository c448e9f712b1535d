// The track fit: see beampipe.tracking.fitting.
#include "bindings/arrays.hpp"

namespace {

auto fit_tracks(Position position, In<std::int64_t, -1> rows, Offsets begin, In<float, -1, 4> layers,
                In<float, -1, 2> variance, Floats scattering, In<double, 4> beam_line, int threads) {
  const beampipe::Blocks tracks = blocks_of(begin, rows.shape(0));
  require(variance.shape(0) == layers.shape(0) && scattering.shape(0) == layers.shape(0), "tables: one per layer");
  const double* line = beam_line.data();
  const beampipe::FitTables tables = {static_cast<int>(layers.shape(0)),
                                      layers.data(),
                                      variance.data(),
                                      scattering.data(),
                                      line[0],
                                      line[1],
                                      line[2],
                                      line[3]};
  beampipe::Fits fits;
  {
    nb::gil_scoped_release free;
    const std::int64_t n = position.shape(0);
    for (std::size_t k = 0; k < rows.shape(0); ++k)
      require(rows.data()[k] >= 0 && rows.data()[k] < n, "rows: out of range");
    fits = kernels().fit_tracks(position.data(), {tracks.n, tracks.begin, rows.data()}, tables, threads);
  }
  const std::size_t n = fits.chi2.size();
  return nb::make_tuple(numpy(std::move(fits.values), {n, 5}), numpy(std::move(fits.covariance), {n, 5, 5}),
                        numpy(std::move(fits.chi2)), numpy(std::move(fits.n_hits)), numpy(std::move(fits.status)));
}

}  // namespace

void bind_fit(nb::module_& m) {
  m.def("fit_tracks", &fit_tracks, "position"_a, "rows"_a, "begin"_a, "layers"_a, "variance"_a, "scattering"_a,
        "beam_line"_a, "threads"_a);
}
