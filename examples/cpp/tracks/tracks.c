/* Tracks of one event: ./tracks_in_c MODEL PIPELINE event.csv, a file with the header x,y,z [mm] and one hit per line.
 * Prints one label per hit, -1 for a hit on no track. */
#include <beampipe/track_finder.h>
#include <inttypes.h>
#include <stdio.h>

enum { MOST_HITS = 1000000 };
static double x[MOST_HITS], y[MOST_HITS], z[MOST_HITS];
static int64_t track_id[MOST_HITS];

int main(int count, char** arguments) {
  if (count != 4) return fprintf(stderr, "usage: tracks_in_c MODEL PIPELINE event.csv\n"), 1;
  beampipe_track_finder* finder = beampipe_open(arguments[1], arguments[2], NULL);
  if (finder == NULL) return fprintf(stderr, "tracks_in_c: %s\n", beampipe_last_error()), 1;

  FILE* file = fopen(arguments[3], "r");
  if (file == NULL) return perror(arguments[3]), 1;
  int64_t n = 0;
  int header = 0;
  if (fscanf(file, "x,y,z%n", &header) != EOF && header)
    while (n < MOST_HITS && fscanf(file, "%lf,%lf,%lf", &x[n], &y[n], &z[n]) == 3) ++n;
  if (!header || !feof(file))
    return fprintf(stderr, "tracks_in_c: expected the header x,y,z and up to %d lines x,y,z\n", MOST_HITS), 1;
  fclose(file);

  const int64_t n_tracks = beampipe_find(finder, n, x, y, z, track_id);
  if (n_tracks < 0) return fprintf(stderr, "tracks_in_c: %s\n", beampipe_last_error()), 1;
  fprintf(stderr, "%" PRId64 " hits, %" PRId64 " tracks\n", n, n_tracks);
  for (int64_t hit = 0; hit < n; ++hit) printf("%" PRId64 "\n", track_id[hit]);
  beampipe_close(finder);
  return 0;
}
