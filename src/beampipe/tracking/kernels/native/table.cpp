// The one symbol that each instruction set's library shows.
#include "kernels.hpp"

extern "C" __attribute__((visibility("default"))) const beampipe::Table* beampipe_table(beampipe::SpareMemory* memory) {
  beampipe::spare_memory() = memory;
  static const beampipe::Table table = {
#define BEAMPIPE_ENTRY(name, result, arguments) &beampipe::name,
      BEAMPIPE_KERNELS(BEAMPIPE_ENTRY)
#undef BEAMPIPE_ENTRY
  };
  return &table;
}
