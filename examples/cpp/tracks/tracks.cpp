// Tracks of one event: ./tracks_in_cpp MODEL PIPELINE event.csv, a file with the header x,y,z [mm] and one hit per line.
// Prints one label per hit, -1 for a hit on no track.
#include <beampipe/track_finder.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

int main(int count, char** arguments) try {
  if (count != 4) throw std::runtime_error("usage: tracks_in_cpp MODEL PIPELINE event.csv");
  const beampipe::TrackFinder finder(arguments[1], arguments[2]);

  std::ifstream file(arguments[3]);
  if (!file) throw std::runtime_error(std::string(arguments[3]) + ": cannot be read");
  std::vector<double> x, y, z;
  std::string line;
  if (!std::getline(file, line) || line.rfind("x,y,z", 0) != 0)
    throw std::runtime_error("got '" + line + "', expected the header x,y,z");
  while (std::getline(file, line)) {
    double hit[3];
    if (std::sscanf(line.c_str(), "%lf,%lf,%lf", &hit[0], &hit[1], &hit[2]) != 3)
      throw std::runtime_error("got '" + line + "', expected x,y,z");
    x.push_back(hit[0]), y.push_back(hit[1]), z.push_back(hit[2]);
  }

  const beampipe::EventTracks tracks = finder.find(x, y, z);
  std::fprintf(stderr, "%zu hits, %lld tracks\n", x.size(), static_cast<long long>(tracks.n_tracks));
  for (const std::int64_t label : tracks.track_id) std::printf("%lld\n", static_cast<long long>(label));
} catch (const std::exception& error) {
  std::fprintf(stderr, "tracks_in_cpp: %s\n", error.what());
  return 1;
}
