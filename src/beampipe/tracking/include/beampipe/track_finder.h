/* Track finding for C programs: positions of hits in, one label per hit out. For C++ see track_finder.hpp.
 *
 * The library finds the tracks that beampipe.tracking.load_pipeline finds in Python, and needs no Python. See
 * docs/cpp_and_acts.md.
 */
#ifndef BEAMPIPE_TRACK_FINDER_H
#define BEAMPIPE_TRACK_FINDER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Number of this interface; a library with another number cannot be used. */
#define BEAMPIPE_ABI 1

/* A pipeline with the weights of a tracker model. Several threads may use it at once. */
typedef struct beampipe_track_finder beampipe_track_finder;

/* Options of a finder. All zero stands for the defaults. */
typedef struct beampipe_options {
  int32_t threads;         /* number of threads of one call; 0 for one. The tracks do not depend on it. */
  int32_t accept_any_hits; /* if not 0, hits of another detector and events of any size are accepted */
  const double* beam_line; /* expected beam line: x, y [mm] at z = 0, dx/dz, dy/dz; NULL for that of the model */
} beampipe_options;

/* Number of the interface of the library. */
int32_t beampipe_abi(void);

/* Version of the package that the library comes from. */
const char* beampipe_version(void);

/* Message of the last error in this thread; empty if there was none. It is valid until the next call of this thread. */
const char* beampipe_last_error(void);

/* Opens a pipeline; NULL if that failed.
 *
 * model: folder of a tracker model, as `beampipe tracking train` writes it, or the name of a shipped one, such as
 *   "generic".
 * pipeline: name, such as "module_map", or a specification of your own in JSON, as PipelineSpec.to_json writes it.
 * options: NULL for the defaults.
 */
beampipe_track_finder* beampipe_open(const char* model, const char* pipeline, const beampipe_options* options);

/* Closes a finder; NULL is ignored. */
void beampipe_close(beampipe_track_finder* finder);

/* Finds the tracks of one event; returns their number, or -1 if that failed.
 *
 * x, y, z: position of each hit [mm].
 * track_id: memory for n_hits labels. Tracks are numbered 0, 1, ... by their first hit; -1 stands for no track.
 */
int64_t beampipe_find(const beampipe_track_finder* finder, int64_t n_hits, const double* x, const double* y,
                      const double* z, int64_t* track_id);

/* The same for cylindrical coordinates, as Python stores them.
 *
 * position: r [mm], phi [rad], z [mm] of the first hit, then of the second one, and so on: 3 n_hits numbers.
 */
int64_t beampipe_find_cylindrical(const beampipe_track_finder* finder, int64_t n_hits, const float* position,
                                  int64_t* track_id);

/* The same for hits with their measurements. If the detector of the model has double-sided strips, the measurements of
 * their space points are compared with the tracks, as Python does; other models use the positions only.
 *
 * geometry_id: identifier of the module of each hit, as ACTS gives it; of a space point the module of its first strip.
 * local: position on the module [mm], two numbers per hit; of a space point across the strips of both sensors.
 * variance: variance of `local` [mm^2], two numbers per hit.
 */
int64_t beampipe_find_measured(const beampipe_track_finder* finder, int64_t n_hits, const float* position,
                               const uint64_t* geometry_id, const float* local, const float* variance,
                               int64_t* track_id);

#ifdef __cplusplus
}
#endif

#endif
