#include "isa.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "cpu.hpp"
#include "native/errors.hpp"

namespace beampipe {
namespace {

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::vector<std::string> compiled_isas() { return {BEAMPIPE_COMPILED_ISAS}; }

std::vector<std::string> supported_isas() {
  std::vector<std::string> names = isas_of_this_cpu();
  const std::vector<std::string> compiled = compiled_isas();
  names.erase(std::remove_if(names.begin(), names.end(), [&](const auto& name) { return !has(compiled, name); }),
              names.end());
  return names;
}

std::string chosen_isa(const std::string& wish) {
  const std::vector<std::string> names = supported_isas();
  if (names.empty())
    throw std::invalid_argument(
        "the kernels were built for other CPUs than this one, which has none of the "
        "instruction sets that they are for; build the package here, or with all of them");
  if (wish.empty()) return names.back();
  if (has(names, wish)) return wish;
  const bool left_out = has(isas_of_this_cpu(), wish);
  throw std::invalid_argument("BEAMPIPE_ISA: got '" + wish + "', " +
                              (left_out ? "for which the kernels were not built" : "which this CPU does not have") +
                              "; the best here is '" + names.back() + "'");
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
