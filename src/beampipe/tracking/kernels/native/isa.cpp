#include "isa.hpp"

#include <dlfcn.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "native/errors.hpp"

namespace beampipe {

std::vector<std::string> supported_isas() {
#if defined(__aarch64__)
  std::vector<std::string> names = {"neon"};
  if ((getauxval(AT_HWCAP) & HWCAP_SVE) != 0) {
    const int bytes = prctl(PR_SVE_GET_VL) & PR_SVE_VL_LEN_MASK;
    if (bytes == 32) names.push_back("sve256");
    if (bytes == 64) names.push_back("sve512");
  }
#else
  std::vector<std::string> names = {"baseline"};
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    names.push_back("avx2");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
      names.push_back("avx512");
  }
#endif
  return names;
}

std::string chosen_isa(const std::string& wish) {
  const std::vector<std::string> names = supported_isas();
  if (wish.empty()) return names.back();
  if (std::find(names.begin(), names.end(), wish) == names.end())
    throw std::invalid_argument("BEAMPIPE_ISA: got '" + wish + "', which this CPU does not have; the best here is '" +
                                names.back() + "'");
  return wish;
}

const Table& open_kernels(const std::string& folder, const std::string& isa) {
  const std::string path = folder + "/_kernels_" + chosen_isa(isa) + ".so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* table = library == nullptr ? nullptr : dlsym(library, "beampipe_table");
  if (table == nullptr)
    throw FileError(path + ": got no kernels (" + dlerror() + "), expected the library built with the package");
  return *reinterpret_cast<const Table* (*)(SpareMemory*)>(table)(spare_memory());
}

std::string folder_of_this_library() {
  Dl_info self;
  dladdr(reinterpret_cast<const void*>(&folder_of_this_library), &self);
  const std::string path = self.dli_fname;
  return path.substr(0, path.rfind('/'));
}

const Table& kernels_of_this_library() {
  const char* requested = std::getenv("BEAMPIPE_ISA");
  return open_kernels(folder_of_this_library(), requested == nullptr ? "" : requested);
}

}  // namespace beampipe
