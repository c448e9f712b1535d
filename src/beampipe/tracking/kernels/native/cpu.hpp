// The instruction sets of this CPU. CMakeLists.txt runs it, too, to build the kernels for the machine that builds.
#pragma once

#if defined(__aarch64__)
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif

#include <string>
#include <vector>

namespace beampipe {

/// Names of the instruction sets that this CPU has, worst first.
inline std::vector<std::string> isas_of_this_cpu() {
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

}  // namespace beampipe
