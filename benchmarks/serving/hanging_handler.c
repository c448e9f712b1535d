/* A heap that is corrupt, and a signal handler that hangs on it, simulated: for faults.py, by LD_PRELOAD.
 *
 * What was seen in Triton 2.51 after some 130,000 requests: the C library finds its heap corrupt and aborts, with the lock
 * of the heap held; Triton's handler of the signal wants memory for a stack trace, and waits for that lock for ever. From
 * then on every thread that allocates hangs, too, while the process lives and its ports are open.
 *
 * Here this happens to a process `tritonserver` once the file $BEAMPIPE_BENCH_HANG is there; the file is removed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void __libc_free(void* memory);

static volatile int corrupt;

static void wait_for_the_lock(void) {
  while (corrupt) pause();
}

void* malloc(size_t size) {
  wait_for_the_lock();
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  wait_for_the_lock();
  return __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) {
  wait_for_the_lock();
  return __libc_realloc(old, size);
}

void free(void* memory) {
  wait_for_the_lock();
  __libc_free(memory);
}

static void* wait_for_the_file(void* name) {
  static const char words[] =
      "malloc_consolidate(): unaligned fastbin chunk detected\nSignal (6) received.\n";
  while (unlink(name) != 0) usleep(20000);
  if (write(STDERR_FILENO, words, sizeof words - 1) < 0) return NULL;
  corrupt = 1;
  for (;;) pause();
}

__attribute__((constructor)) static void begin(void) {
  pthread_t thread;
  char* name = getenv("BEAMPIPE_BENCH_HANG");
  if (name != NULL && strcmp(program_invocation_short_name, "tritonserver") == 0 &&
      pthread_create(&thread, NULL, wait_for_the_file, name) == 0)
    pthread_detach(thread);
}
