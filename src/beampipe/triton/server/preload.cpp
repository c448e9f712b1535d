// A library that is loaded into Triton's program first (LD_PRELOAD). It adds two things:
//
// - Arguments from a file: `@FILE` is replaced by the lines of FILE. Every user of the machine can read a command line
//   (/proc/PID/cmdline), and Triton accepts the secret of its restricted interfaces only there.
// - Larger stacks of threads ($BEAMPIPE_STACK bytes): its JSON parser recurses once per bracket. This reserves only
//   addresses; memory is used only as far as a stack grows.
//
// Only the C library is used, since Triton's program may have another version of the C++ library.
// Processes that Triton starts (those of Python models) inherit neither.
#include <dlfcn.h>
#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

using Main = int (*)(int, char**, char**);
using Start = int (*)(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);

constexpr const char* kStack = "BEAMPIPE_STACK";
constexpr const char* kPreload = "LD_PRELOAD";
constexpr int kMostArguments = 4096;

Main program_main;

/// The arguments for the program; they are never freed.
char* arguments[kMostArguments + 1];
int count_of_arguments = 0;

bool append(char* argument) {
  if (argument == nullptr || count_of_arguments == kMostArguments) return false;
  arguments[count_of_arguments++] = argument;
  return true;
}

/// Append the lines of a file; false if it cannot be read.
bool append_lines(const char* path) {
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return false;
  char* line = nullptr;
  std::size_t room = 0;
  bool fits = true;
  while (fits && getline(&line, &room, file) >= 0) {
    line[std::strcspn(line, "\n")] = '\0';
    fits = append(strdup(line));
  }
  std::free(line);
  std::fclose(file);
  return fits;
}

void enlarge_stacks() {
  const char* size = std::getenv(kStack);
  pthread_attr_t attributes;
  if (size == nullptr || pthread_attr_init(&attributes) != 0) return;
  if (pthread_attr_setstacksize(&attributes, std::strtoull(size, nullptr, 10)) == 0) {
    pthread_setattr_default_np(&attributes);
  }
  pthread_attr_destroy(&attributes);
}

/// Remove this library's variables; it is the last one in LD_PRELOAD.
void leave_environment() {
  unsetenv(kStack);
  char* libraries = std::getenv(kPreload);
  char* last = libraries == nullptr ? nullptr : std::strrchr(libraries, ':');
  if (last == nullptr) {
    unsetenv(kPreload);
  } else {
    *last = '\0';
  }
}

int main_with_arguments(int count, char** given, char** environment) {
  for (int i = 0; i < count; ++i) {
    const bool is_file = i > 0 && given[i][0] == '@';
    if (!(is_file ? append_lines(given[i] + 1) : append(given[i]))) {
      std::fprintf(stderr, "%s: cannot be read, expected at most %d arguments, or a file of them\n", given[i],
                   kMostArguments);
      return EXIT_FAILURE;
    }
  }
  enlarge_stacks();
  leave_environment();
  return program_main(count_of_arguments, arguments, environment);
}

}  // namespace

/// Replaces the C library's function of this name, the first one of a program, and calls it.
extern "C" __attribute__((visibility("default"))) int __libc_start_main(Main main, int count, char** given,
                                                                        void (*init)(), void (*fini)(),
                                                                        void (*loader_fini)(), void* stack_end) {
  program_main = main;
  const auto start = reinterpret_cast<Start>(dlsym(RTLD_NEXT, "__libc_start_main"));
  return start(main_with_arguments, count, given, init, fini, loader_fini, stack_end);
}
