// A library that Triton's program is started with (LD_PRELOAD). It gives the program two things that it lacks:
//
// - Arguments from a file: `@FILE` stands for the lines of FILE. What stands in a command line is read by every user of
//   the machine (/proc/PID/cmdline), and Triton takes the secret of its restricted interfaces nowhere else.
// - Larger stacks of threads ($BEAMPIPE_STACK bytes): its parser of JSON calls itself once per bracket. Only addresses
//   are set aside, memory is used as far down as a stack has been.
//
// Only the C library is used: another library of C++ in Triton's program might not be its own.
// What Triton starts itself (the processes of Python models) inherits neither.
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

/// The arguments that the program sees; they live as long as it does.
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

/// This library is the last in the list of those to load first.
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

/// The first function of a program, in the place of the C library's, which it calls.
extern "C" __attribute__((visibility("default"))) int __libc_start_main(Main main, int count, char** given,
                                                                        void (*init)(), void (*fini)(),
                                                                        void (*loader_fini)(), void* stack_end) {
  program_main = main;
  const auto start = reinterpret_cast<Start>(dlsym(RTLD_NEXT, "__libc_start_main"));
  return start(main_with_arguments, count, given, init, fini, loader_fini, stack_end);
}
